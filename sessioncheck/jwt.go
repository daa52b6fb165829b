package sessioncheck

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// JWT is a signed token (RFC 7519) about the session that the application gets in a
// header. It is off while Key is empty.
type JWT struct {
	// Header is the request header that carries it.
	Header string `yaml:"header" env:"HEADER"`
	// Key signs it. For HS256 a secret of at least 32 bytes; for EdDSA an Ed25519 private
	// key, PKCS #8 in PEM, or its seed of 32 bytes in base64.
	Key string `yaml:"key" env:"KEY" secret:"true"`
	// Algorithm is HS256 or EdDSA.
	Algorithm string `yaml:"algorithm" env:"ALGORITHM"`
	// TTL is the life of a token. One is used again up to half of it.
	TTL time.Duration `yaml:"ttl" env:"TTL"`
	// Issuer and Audience are its iss and aud; empty for none.
	Issuer   string `yaml:"issuer" env:"ISSUER"`
	Audience string `yaml:"audience" env:"AUDIENCE"`
	// Claims maps a claim to the session field that it holds.
	Claims map[string]string `yaml:"claims"`
}

// DefaultJWT gives the settings that apply where the user sets none.
func DefaultJWT() JWT {
	return JWT{Header: "X-Pillion-Jwt", Algorithm: "HS256", TTL: time.Minute, Claims: map[string]string{"sub": "user_id"}}
}

// reservedClaims are set by the signer alone.
func reservedClaims() []string { return []string{"iss", "aud", "iat", "nbf", "exp", "jti"} }

const minSecret = 32 // bytes: RFC 7518, section 3.2

func (j *JWT) problems() (ps Problems) {
	if j.Key == "" {
		if unused := *j; !reflect.DeepEqual(unused, JWT{}) && !reflect.DeepEqual(unused, DefaultJWT()) {
			ps.add("jwt.key", "", "is empty", "write a secret of at least 32 bytes, or file:/path of one, or remove session.jwt")
		}
		return ps
	}
	switch j.Algorithm {
	case "HS256":
		if len(j.Key) < minSecret {
			ps.add("jwt.key", "***", fmt.Sprintf("is shorter than the %d bytes that HS256 needs", minSecret), "write a longer random secret, or file:/path of one")
		}
	case "EdDSA":
		if _, err := ed25519Key(j.Key); err != nil {
			ps.add("jwt.key", "***", err.Error(), "write file:/path of a PKCS #8 PEM file with an Ed25519 key, or its seed in base64")
		}
	default:
		ps.add("jwt.algorithm", j.Algorithm, "is not an algorithm that is supported", "write HS256 or EdDSA")
	}
	if j.TTL < time.Second || j.TTL > time.Hour {
		ps.add("jwt.ttl", j.TTL.String(), "is out of range", "write a time from 1s to 1h, such as 60s")
	}
	return append(ps, j.claimProblems()...)
}

func (j *JWT) claimProblems() (ps Problems) {
	for _, claim := range slices.Sorted(maps.Keys(j.Claims)) {
		field := "jwt.claims." + claim
		switch {
		case slices.Contains(reservedClaims(), claim):
			ps.add(field, claim, "is a claim that pillion sets itself", "use another name")
		case claim == "" || len(claim) > 64:
			ps.add(field, claim, "is not a claim's name", "write 1 to 64 bytes, such as role")
		case !isFieldPath(j.Claims[claim]):
			ps.add(field, j.Claims[claim], "is not a field's path", "write names with dots between them, such as user.role")
		}
	}
	return ps
}

// signer makes tokens. A nil signer makes none.
type signer struct {
	prefix []byte // "Header: " and the encoded JOSE header with its dot
	ttl    time.Duration
	fixed  []byte // claims that are the same for all, each behind a comma
	claims []claim
	sign   func(input []byte) []byte
}

type claim struct {
	name string
	path []string
}

// tokenCache is a session's token. It lives and dies with the decoded session, so that
// a changed session has a new one.
type tokenCache struct {
	now    atomic.Pointer[token]
	making sync.Mutex
}

type token struct {
	line        []byte
	renew, ends int64 // Unix milliseconds
}

// newSigner takes settings in which problems has found nothing.
func newSigner(cfg *JWT) *signer {
	if cfg.Key == "" {
		return nil
	}
	g := &signer{ttl: cfg.TTL, sign: hs256([]byte(cfg.Key))}
	if cfg.Algorithm == "EdDSA" {
		key, _ := ed25519Key(cfg.Key)
		g.sign = func(input []byte) []byte { return ed25519.Sign(key, input) }
	}
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"` + cfg.Algorithm + `","typ":"JWT"}`))
	g.prefix = []byte(cfg.Header + ": " + head + ".")
	for _, c := range []struct{ name, value string }{{"iss", cfg.Issuer}, {"aud", cfg.Audience}} {
		if c.value != "" {
			g.fixed = appendClaim(g.fixed, c.name, c.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Claims)) {
		g.claims = append(g.claims, claim{name, strings.Split(cfg.Claims[name], ".")})
	}
	return g
}

func hs256(key []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		mac := hmac.New(sha256.New, key)
		mac.Write(input)
		return mac.Sum(nil)
	}
}

func ed25519Key(text string) (ed25519.PrivateKey, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := parsed.(ed25519.PrivateKey); ok && err == nil {
			return key, nil
		}
		return nil, errors.New("is a PEM block without an Ed25519 private key")
	}
	seed, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("is no Ed25519 private key")
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// appendClaim leaves a value out that is no JSON, or too long for a header.
func appendClaim(dst []byte, name string, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil || len(text) > maxValueBytes {
		return dst
	}
	key, _ := json.Marshal(name)
	return append(append(append(append(dst, ','), key...), ':'), text...)
}

// claimsOf renders a session's claims once. Scalars and lists of them keep their JSON
// type, but for sub, which is always a text (RFC 7519, section 4.1.2).
func (g *signer) claimsOf(doc map[string]any) (out []byte) {
	if g == nil {
		return nil
	}
	for _, c := range g.claims {
		found := walk(doc, c.path)
		text, isScalar := scalar(found)
		list, isList := found.([]any)
		switch {
		case isScalar && !distinct(text):
		case isScalar && c.name == "sub":
			out = appendClaim(out, c.name, text)
		case isScalar && c.name != "sub", isList && c.name != "sub" && !slices.ContainsFunc(list, noScalar):
			out = appendClaim(out, c.name, found)
		}
	}
	return out
}

func noScalar(v any) bool {
	_, ok := scalar(v)
	return !ok
}

// tokenSize is about what a token takes in memory beside its claims.
const tokenSize = 512

func (g *signer) size() int {
	if g == nil {
		return 0
	}
	return tokenSize
}

// appendToken appends the header line with the session's token. One is made when there
// is none, and again at half of its life: then by one request, while others go on with
// the old one.
func (g *signer) appendToken(dst []byte, s *Session) []byte {
	if g == nil {
		return dst
	}
	now := time.Now().UnixMilli()
	t := s.token.now.Load()
	switch {
	case t != nil && now < t.renew:
		return append(dst, t.line...)
	case t != nil && now < t.ends && !s.token.making.TryLock():
		return append(dst, t.line...)
	case t == nil || now >= t.ends:
		s.token.making.Lock()
	}
	defer s.token.making.Unlock()
	if t = s.token.now.Load(); t == nil || now >= t.renew {
		t = g.make(s, now)
		s.token.now.Store(t)
	}
	return append(dst, t.line...)
}

// make signs: a JWS in compact serialisation (RFC 7515, section 7.1).
func (g *signer) make(s *Session, now int64) *token {
	ttl := g.ttl.Milliseconds()
	payload := append([]byte(`{"iat":`), strconv.FormatInt(now/1000, 10)...)
	payload = append(append(payload, `,"exp":`...), strconv.FormatInt((now+ttl)/1000, 10)...)
	payload = append(append(append(payload, g.fixed...), s.claims...), '}')
	line := base64.RawURLEncoding.AppendEncode(slices.Clone(g.prefix), payload)
	name := strings.Index(string(line), ": ") + 2
	signature := g.sign(line[name:])
	line = base64.RawURLEncoding.AppendEncode(append(line, '.'), signature)
	return &token{append(line, "\r\n"...), now + ttl/2, now + ttl}
}
