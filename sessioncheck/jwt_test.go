package sessioncheck

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// parts verifies a token by hand, as an application's library would.
func parts(t *testing.T, line []byte, verify func(input, signature []byte) bool) (header, claims map[string]any) {
	t.Helper()
	token, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\r\n"), "X-Pillion-Jwt: ")
	p := strings.Split(token, ".")
	if !ok || len(p) != 3 {
		t.Fatalf("no token: %q", line)
	}
	decode := func(s string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !verify([]byte(p[0]+"."+p[1]), decode(p[2])) {
		t.Error("the signature is wrong")
	}
	for s, dst := range map[string]*map[string]any{p[0]: &header, p[1]: &claims} {
		if err := json.Unmarshal(decode(s), dst); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

func TestToken(t *testing.T) {
	secret := strings.Repeat("k", minSecret)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	byKey := func(in, sig []byte) bool { return ed25519.Verify(public, in, sig) }
	for name, tc := range map[string]struct {
		algorithm, key string
		verify         func(in, sig []byte) bool
	}{
		"HS256": {"HS256", secret, func(in, sig []byte) bool {
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write(in)
			return hmac.Equal(mac.Sum(nil), sig)
		}},
		"EdDSA, PEM":  {"EdDSA", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), byKey},
		"EdDSA, seed": {"EdDSA", base64.StdEncoding.EncodeToString(private.Seed()), byKey},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			cfg.JWT = JWT{Header: "X-Pillion-Jwt", Key: tc.key, Algorithm: tc.algorithm, TTL: time.Minute, Issuer: "pillion", Audience: `a"b`,
				Claims: map[string]string{"sub": "user_id", "role": "roles", "admin": "user.admin", "none": "none", "object": "user", "mixed": "mixed", "nul": "nul"}}
			if ps := cfg.Check(); len(ps) > 0 {
				t.Fatal(ps)
			}
			sc := newSchema(&cfg, nil)
			s, _ := sc.decode("session:a", `{"user_id":7,"roles":["a","b"],"user":{"admin":true},"mixed":[1,{}],"nul":null}`, time.Time{})
			header, claims := parts(t, sc.signer.appendToken(nil, s), tc.verify)
			if header["alg"] != tc.algorithm || header["typ"] != "JWT" {
				t.Errorf("header %v", header)
			}
			iat, exp := claims["iat"].(float64), claims["exp"].(float64)
			if age := float64(time.Now().Unix()) - iat; exp-iat != 60 || age < 0 || age > 60 {
				t.Errorf("iat %f, exp %f", iat, exp)
			}
			delete(claims, "iat")
			delete(claims, "exp")
			want := map[string]any{"iss": "pillion", "aud": `a"b`, "sub": "7", "role": []any{"a", "b"}, "admin": true}
			if !reflect.DeepEqual(claims, want) {
				t.Errorf("claims %v, want %v", claims, want)
			}
		})
	}
}

// TestTokenIsSignedOncePerHalfLife: many requests at once have one signature made; at
// half of its life the token is made anew.
func TestTokenIsSignedOncePerHalfLife(t *testing.T) {
	cfg := Default()
	cfg.JWT.Key = strings.Repeat("k", minSecret)
	sc := newSchema(&cfg, nil)
	var signed atomic.Int64
	sign := sc.signer.sign
	sc.signer.sign = func(in []byte) []byte { signed.Add(1); return sign(in) }
	s, _ := sc.decode("session:a", `{"user_id":7}`, time.Time{})
	lines := make([][]byte, 32)
	all := func() {
		var wg sync.WaitGroup
		for i := range lines {
			wg.Go(func() { lines[i] = sc.signer.appendToken(nil, s) })
		}
		wg.Wait()
	}
	all()
	if n := signed.Load(); n != 1 || !bytes.Equal(lines[0], lines[31]) {
		t.Errorf("%d signatures, want 1", n)
	}
	for n, change := range []func(*token){
		func(t *token) { t.renew = 1 },            // half of its life is over
		func(t *token) { t.renew, t.ends = 1, 1 }, // all of it
	} {
		old := *s.token.now.Load()
		change(&old)
		s.token.now.Store(&old)
		all()
		if got := signed.Load(); got != int64(n)+2 {
			t.Errorf("%d signatures, want %d", got, n+2)
		}
	}
}
