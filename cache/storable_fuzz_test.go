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
		// What is left of the bits of rnd turns on the rest.
		in.Validates, in.Policy.Override, in.Policy.Heuristic = rnd&1 != 0, rnd&2 != 0, rnd&4 != 0
		in.Policy.SetCookie = []CookieMode{"", CookieStrip, CookieRefuse, CookieStore}[rnd>>3&3]
		in.Policy.StaleIfError, in.Policy.DefaultTTL = time.Duration(negative), time.Duration(ttl)
		if rnd&32 != 0 {
			in.Response = append(in.Response, Field{[]byte("ETag"), []byte(`"a"`)})
		}
		if rnd&64 != 0 {
			in.Targets = []string{"Vary"} // no such field, but any bytes
		}
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
		if len(in.Targets) == 0 || !ReadDirectives(in.Response, in.Targets).Targeted {
			checkStored(t, &in, &d, cc, vary)
		}
		if AppendStoredExcept(nil, in.Response, d.Omit).Has("Set-Cookie") && in.Policy.SetCookie != CookieStore {
			t.Fatal("a cookie is stored")
		}
		checkTimes(t, &in, &d, rnd)
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
	case directives["private"], directives["no-store"] && !directives["must-understand"]:
		t.Fatalf("%q is stored", cc)
	case directives["no-cache"] && d.Flags&FlagValidate == 0 && !in.Policy.Override:
		t.Fatalf("%q is stored for use without validation", cc)
	case directives["no-cache"] && !in.Validates && !in.Policy.Override:
		t.Fatalf("%q is stored by a caller that does not validate", cc)
	case directives["must-revalidate"] && (d.Flags&FlagMustRevalidate == 0 || d.StaleIfError+d.StaleWhileRevalidate > 0):
		t.Fatalf("%q may be served stale", cc)
	case strings.Contains(vary, "*") && !strings.Contains(vary, `"`) && strings.Trim(vary, "*, \t") == "":
		t.Fatalf("Vary %q is stored", vary)
	}
	shared := in.Scope != ScopeUser && in.Scope != ScopeSession
	if shared && (in.Protected || in.HasAuthorization) && !strings.Contains(strings.ToLower(cc), "public") &&
		!(in.HasAuthorization && !in.Protected && strings.ContainsAny(cc, "sSmM")) {
		t.Fatalf("one user's response is shared: %+v", in)
	}
}

func checkTimes(t *testing.T, in *Input, d *Decision, rnd uint64) {
	fresh := Fresh(d.Age, d.Lifetime)
	if d.Lifetime > in.MaxTTL || d.Age < 0 || !fresh && !d.Validator || d.Validator && !in.Validates {
		t.Fatalf("lifetime %v at age %v", d.Lifetime, d.Age)
	}
	if j := d.Jittered(50, rnd); j > d.Lifetime || fresh && j <= d.Age {
		t.Fatalf("jitter makes %v of %v at age %v", j, d.Lifetime, d.Age)
	}
	if kept := d.Retention(d.Lifetime, time.Hour); kept > in.MaxTTL+MaxStale || kept <= 0 {
		t.Fatalf("kept for %v: %+v", kept, d)
	}
	if d.StaleIfError < 0 || d.StaleIfError > MaxStale || d.StaleWhileRevalidate < 0 {
		t.Fatalf("windows of %+v", d)
	}
}
