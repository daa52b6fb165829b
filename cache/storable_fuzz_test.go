package cache

import (
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/units"
)

func percent(f float64) units.Percent { return units.Percent(f) }

// FuzzDecide checks the promises of Decide against an independent and cruder
// reading of the response: whatever the rule says, what RFC 9111 §3 forbids is
// not stored, and what is stored is fresh and bounded.
func FuzzDecide(f *testing.F) {
	f.Add("GET", 200, "max-age=60", "Foo", "a=b", "5", uint8(0), int64(60), int64(0), uint64(7))
	f.Add("GET", 404, `private="a", x="`, "*", "", "0,1", uint8(255), int64(1), int64(5), uint64(1<<63))
	f.Add("HEAD", 206, "no-store", "", "", "", uint8(7), int64(-1), int64(-1), uint64(0))
	f.Fuzz(func(t *testing.T, method string, status int, cc, vary, cookie, age string, bits uint8, ttl, negative int64, rnd uint64) {
		flag := func(n int) bool { return bits&(1<<n) != 0 }
		in := Input{
			Policy: &Policy{TTL: time.Duration(ttl), NegativeTTL: time.Duration(negative)},
			MaxTTL: time.Hour, MaxObject: 100, Heuristic: flag(0), Method: method, HasAuthorization: flag(1), Protected: flag(2),
			Status: status, Requested: now, Received: now, BodyLen: int64(bits), Complete: flag(3),
			Response: Header{{[]byte("Cache-Control"), []byte(cc)}, {[]byte("Vary"), []byte(vary)}, {[]byte("Age"), []byte(age)}},
		}
		in.Request.NoStore = flag(4)
		in.Scope = []Scope{ScopePublic, ScopeUser, ScopeSession, ""}[bits>>5&3]
		if cookie != "" {
			in.Response = append(in.Response, Field{[]byte("sEt-cOoKiE"), []byte(cookie)})
		}
		d := Decide(&in)
		if !d.Store {
			if d.Reason == "" || d.Reason == ReasonStored || d.Lifetime != 0 {
				t.Fatalf("refused as %+v", d)
			}
			return
		}
		checkStored(t, &in, &d, cc, vary)
		if cookie != "" {
			t.Fatal("a cookie is stored")
		}
		if j := d.Jittered(50, rnd); j > d.Lifetime || j <= d.Age {
			t.Fatalf("jitter makes %v of %v at age %v", j, d.Lifetime, d.Age)
		}
	})
}

func checkStored(t *testing.T, in *Input, d *Decision, cc, vary string) {
	// Without quotes a directive is what stands between commas.
	directives := map[string]bool{}
	if !strings.Contains(cc, `"`) {
		for _, e := range strings.Split(strings.ToLower(cc), ",") {
			name, _, _ := strings.Cut(e, "=")
			directives[strings.Trim(name, " \t")] = true
		}
	}
	s := in.Status
	switch {
	case in.Method != "GET", in.Request.NoStore, !in.Complete, in.BodyLen > in.MaxObject:
		t.Fatalf("stored: %+v", in)
	case s < 200, s > 599, s == 206, s == 304, s == 429:
		t.Fatalf("status %d is stored", s)
	case directives["private"], directives["no-cache"], directives["no-store"] && !directives["must-understand"]:
		t.Fatalf("%q is stored", cc)
	case strings.Contains(vary, "*") && !strings.Contains(vary, `"`) && strings.Trim(vary, "*, \t") == "":
		t.Fatalf("Vary %q is stored", vary)
	}
	shared := in.Scope != ScopeUser && in.Scope != ScopeSession
	if shared && (in.Protected || in.HasAuthorization) && !strings.Contains(strings.ToLower(cc), "public") &&
		!(in.HasAuthorization && !in.Protected && strings.ContainsAny(cc, "sSmM")) {
		t.Fatalf("one user's response is shared: %+v", in)
	}
	if d.Lifetime > in.MaxTTL || d.Age < 0 || !Fresh(d.Age, d.Lifetime) {
		t.Fatalf("lifetime %v at age %v", d.Lifetime, d.Age)
	}
}
