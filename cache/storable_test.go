package cache

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// input is a GET of a public route, answered with 200 and the given lines.
func input(lines ...string) Input {
	return Input{
		Policy: &Policy{}, MaxTTL: 24 * time.Hour, MaxObject: 1000, Method: "GET", Scope: ScopePublic, Status: 200,
		Response: header(lines...), Requested: now, Received: now, BodyLen: 10, Complete: true,
	}
}

func with(in Input, change func(*Input)) Input {
	p := *in.Policy
	in.Policy = &p
	change(&in)
	return in
}

// RFC 9111 §3 and §3.5, and what bit the users of other caches.
func TestDecideReasons(t *testing.T) {
	fresh := "Cache-Control: max-age=60"
	type change = func(*Input)
	ttl := func(in *Input) { in.Policy.TTL = time.Minute }
	for _, tt := range []struct {
		name   string
		lines  []string
		change change
		want   Reason
	}{
		{"fresh", []string{fresh}, nil, ReasonStored},
		{"no policy at all", []string{fresh}, func(in *Input) { in.Policy = nil }, ReasonStored},
		{"off", []string{fresh}, func(in *Input) { in.Policy.Mode = ModeOff }, ReasonOff},
		{"on", []string{fresh}, func(in *Input) { in.Policy.Mode = ModeOn }, ReasonStored},
		{"HEAD", []string{fresh}, func(in *Input) { in.Method = "HEAD" }, ReasonMethod},
		{"POST", []string{fresh}, func(in *Input) { in.Method = "POST" }, ReasonMethod},
		{"request no-store §5.2.1.5", []string{fresh}, func(in *Input) { in.Request.NoStore = true }, ReasonRequestNoStore},
		{"no-store §5.2.2.5", []string{"Cache-Control: max-age=60, no-store"}, nil, ReasonNoStore},
		{"no-store despite ttl", []string{"Cache-Control: no-store"}, ttl, ReasonNoStore},
		{"private §5.2.2.7", []string{"Cache-Control: private, max-age=60"}, nil, ReasonPrivate},
		{"private despite ttl", []string{"Cache-Control: private"}, ttl, ReasonPrivate},
		{"private in a user's scope", []string{"Cache-Control: private, max-age=60"}, func(in *Input) { in.Scope = ScopeUser }, ReasonPrivate},
		{"private qualified", []string{`Cache-Control: private="x", max-age=60`}, nil, ReasonPrivate},
		{"no-cache §5.2.2.4", []string{"Cache-Control: no-cache, max-age=60"}, ttl, ReasonNoCache},
		{"no-cache qualified", []string{`Cache-Control: no-cache="x", max-age=60`}, nil, ReasonNoCache},
		{"must-understand §5.2.2.3", []string{"Cache-Control: no-store, must-understand, max-age=60"}, nil, ReasonStored},
		{"must-understand unknown", []string{"Cache-Control: must-understand, max-age=60"}, func(in *Input) { in.Status = 599 }, ReasonStatus},
		{"Set-Cookie", []string{fresh, "Set-Cookie: a=b"}, nil, ReasonSetCookie},
		{"Set-Cookie despite ttl, public", []string{"Cache-Control: public", "set-cookie: a=b"}, func(in *Input) { ttl(in); in.Policy.Scope = ScopePublic }, ReasonSetCookie},
		{"Set-Cookie named by Connection", []string{fresh, "Connection: set-cookie", "Set-Cookie: a=b"}, nil, ReasonSetCookie},
		{"Vary * §4.1", []string{fresh, "Vary: *"}, nil, ReasonVary},
		{"Vary *, twice", []string{fresh, "Vary:", "Vary: Foo, *"}, ttl, ReasonVary},
		{"Vary", []string{fresh, "Vary: Foo"}, nil, ReasonStored},
		{"Vary garbage", []string{fresh, "Vary: a b"}, nil, ReasonVary},
		{"Vary too long", []string{fresh, "Vary: " + many(MaxVaryNames+1)}, nil, ReasonVary},
		{"Vary at the bound", []string{fresh, "Vary: " + many(MaxVaryNames)}, nil, ReasonStored},
		{"unkeyed coding", []string{fresh, "Vary: Accept-Encoding", "Content-Encoding: dcb"}, nil, ReasonEncoding},
		{"keyed coding", []string{fresh, "Vary: Accept-Encoding", "Content-Encoding: GZIP, br"}, nil, ReasonStored},
		{"coding without Vary", []string{fresh, "Content-Encoding: dcb"}, nil, ReasonStored},
		{"206 §3.3", []string{fresh}, func(in *Input) { in.Status = 206 }, ReasonPartial},
		{"206 despite ttl", []string{fresh}, func(in *Input) { in.Status = 206; ttl(in) }, ReasonPartial},
		{"226", []string{fresh}, func(in *Input) { in.Status = 226 }, ReasonPartial},
		{"200 with a range", []string{fresh, "Content-Range: bytes 0-9/100"}, nil, ReasonPartial},
		{"200 with a meaningless range", []string{fresh, "Content-Range: something"}, nil, ReasonStored},
		{"103", []string{fresh}, func(in *Input) { in.Status = 103 }, ReasonStatus},
		{"304", []string{fresh}, func(in *Input) { in.Status = 304 }, ReasonStatus},
		{"412", []string{fresh}, func(in *Input) { in.Status = 412 }, ReasonStatus},
		{"416", []string{fresh}, func(in *Input) { in.Status = 416 }, ReasonStatus},
		{"429 RFC 6585 §4", []string{fresh}, func(in *Input) { in.Status = 429 }, ReasonStatus},
		{"600", []string{fresh}, func(in *Input) { in.Status = 600 }, ReasonStatus},
		{"unknown status", []string{fresh}, func(in *Input) { in.Status = 599 }, ReasonStored},
		{"temporary redirect", []string{fresh}, func(in *Input) { in.Status = 302 }, ReasonStored},
		{"temporary redirect by ttl", nil, func(in *Input) { in.Status = 302; ttl(in) }, ReasonNoFreshness},
		{"permanent redirect by ttl", nil, func(in *Input) { in.Status = 308; ttl(in) }, ReasonStored},
		{"bad field value", nil, func(in *Input) { ttl(in); in.Response = Header{{[]byte("A"), []byte("x\r\nB: y")}} }, ReasonMalformed},
		{"bad field name", nil, func(in *Input) { ttl(in); in.Response = Header{{[]byte("A "), nil}} }, ReasonMalformed},
		{"nothing", nil, nil, ReasonNoFreshness},
		{"Last-Modified only", []string{"Last-Modified: " + httpDate(-time.Hour)}, nil, ReasonNoFreshness},
		{"heuristic allowed", []string{"Last-Modified: " + httpDate(-time.Hour)}, func(in *Input) { in.Heuristic = true }, ReasonStored},
		{"max-age=0", []string{"Cache-Control: max-age=0"}, nil, ReasonStale},
		{"Age at lifetime", []string{fresh, "Age: 60"}, nil, ReasonStale},
		{"Age below lifetime", []string{fresh, "Age: 59"}, nil, ReasonStored},
		{"Age beyond ttl", []string{"Age: 60"}, ttl, ReasonStale},
		{"no MaxTTL", []string{fresh}, func(in *Input) { in.MaxTTL = 0 }, ReasonStale},
		{"incomplete §3.3", []string{fresh}, func(in *Input) { in.Complete = false }, ReasonIncomplete},
		{"shorter than declared", []string{fresh, "Content-Length: 11"}, nil, ReasonIncomplete},
		{"as declared", []string{fresh, "Content-Length: 10"}, nil, ReasonStored},
		{"contradictory lengths", []string{fresh, "Content-Length: 10", "Content-Length: 11"}, nil, ReasonIncomplete},
		{"contradictory lengths, the last as received", []string{fresh, "Content-Length: 11, 10"}, nil, ReasonIncomplete},
		{"at max_object", []string{fresh}, func(in *Input) { in.BodyLen = 1000 }, ReasonStored},
		{"over max_object", []string{fresh}, func(in *Input) { in.BodyLen = 1001 }, ReasonTooLarge},
		{"declared over max_object", []string{fresh, "Content-Length: 1001"}, func(in *Input) { in.Complete = false }, ReasonTooLarge},
	} {
		in := input(tt.lines...)
		if tt.change != nil {
			in = with(in, tt.change)
		}
		d := Decide(&in)
		if d.Reason != tt.want || d.Store != (tt.want == ReasonStored) {
			t.Errorf("%s: got %v %q, want %q", tt.name, d.Store, d.Reason, tt.want)
		}
		if !d.Store && d.Lifetime != 0 {
			t.Errorf("%s: not stored, for %v", tt.name, d.Lifetime)
		}
	}
}

func many(n int) string {
	names := make([]string, n)
	for i := range names {
		names[i] = "f" + strconv.Itoa(i)
	}
	return strings.Join(names, ", ")
}

// Who may share: RFC 9111 §3.5 for Authorization, and sessions.
func TestDecideSharing(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cc        string
		scope     Scope
		rule      Scope
		protected bool
		auth      bool
		want      Reason
	}{
		{name: "auth", cc: "max-age=60", scope: ScopePublic, auth: true, want: ReasonAuthorization},
		{name: "auth, unknown scope", cc: "max-age=60", scope: "all", auth: true, want: ReasonAuthorization},
		{name: "auth, no scope", cc: "max-age=60", auth: true, want: ReasonAuthorization},
		{name: "auth public", cc: "max-age=60, public", scope: ScopePublic, auth: true, want: ReasonStored},
		{name: "auth s-maxage", cc: "s-maxage=60", scope: ScopePublic, auth: true, want: ReasonStored},
		{name: "auth malformed s-maxage", cc: "s-maxage=x", scope: ScopePublic, auth: true, want: ReasonAuthorization},
		{name: "auth must-revalidate", cc: "max-age=60, must-revalidate", scope: ScopePublic, auth: true, want: ReasonStored},
		{name: "auth proxy-revalidate", cc: "max-age=60, proxy-revalidate", scope: ScopePublic, auth: true, want: ReasonAuthorization},
		{name: "auth rule public", cc: "max-age=60", scope: ScopePublic, rule: ScopePublic, auth: true, want: ReasonStored},
		{name: "auth user", cc: "max-age=60", scope: ScopeUser, auth: true, want: ReasonStored},
		{name: "auth session", cc: "max-age=60", scope: ScopeSession, auth: true, want: ReasonStored},
		{name: "protected", cc: "max-age=60", scope: ScopePublic, protected: true, want: ReasonProtected},
		{name: "protected s-maxage", cc: "s-maxage=60", scope: ScopePublic, protected: true, want: ReasonProtected},
		{name: "protected public", cc: "max-age=60, public", scope: ScopePublic, protected: true, want: ReasonStored},
		{name: "protected rule public", cc: "max-age=60", scope: ScopePublic, rule: ScopePublic, protected: true, want: ReasonStored},
		{name: "protected user", cc: "max-age=60", scope: ScopeUser, protected: true, want: ReasonStored},
		{name: "protected and auth", cc: "max-age=60, must-revalidate", scope: ScopePublic, protected: true, auth: true, want: ReasonProtected},
	} {
		in := with(input("Cache-Control: "+tt.cc), func(in *Input) {
			in.Scope, in.Policy.Scope, in.Protected, in.HasAuthorization = tt.scope, tt.rule, tt.protected, tt.auth
			in.Policy.TTL = time.Minute // a lifetime is no permission
		})
		if d := Decide(&in); d.Reason != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, d.Reason, tt.want)
		}
	}
}

func TestDecideLifetime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cc      string
		status  int
		ttl, nt time.Duration
		want    time.Duration
		source  Source
	}{
		{"origin", "max-age=60", 200, 0, 0, time.Minute, SourceMaxAge},
		{"rule longer", "max-age=60", 200, time.Hour, 0, time.Hour, SourceRule},
		{"rule shorter", "s-maxage=60", 200, time.Second, 0, time.Second, SourceRule},
		{"rule over max-age=0", "max-age=0", 200, time.Second, 0, time.Second, SourceRule},
		{"rule alone", "", 301, time.Second, 0, time.Second, SourceRule},
		{"capped", "max-age=99999999999", 200, 0, 0, 24 * time.Hour, SourceMaxAge},
		{"rule capped", "", 200, 48 * time.Hour, 0, 24 * time.Hour, SourceRule},
		{"rule is not for errors", "max-age=60", 404, time.Hour, 0, time.Minute, SourceMaxAge},
		{"negative", "", 404, time.Hour, time.Minute, time.Minute, SourceNegative},
		{"negative over origin", "max-age=5", 410, 0, time.Minute, time.Minute, SourceNegative},
		{"negative for servers, a second", "", 503, 0, time.Minute, time.Second, SourceNegative},
		{"negative for servers, less", "", 500, 0, time.Second / 2, time.Second / 2, SourceNegative},
		{"negative not for 403", "max-age=5", 403, 0, time.Minute, 5 * time.Second, SourceMaxAge},
		{"negative not for success", "max-age=5", 200, 0, time.Minute, 5 * time.Second, SourceMaxAge},
		{"origin for errors", "max-age=5", 500, 0, 0, 5 * time.Second, SourceMaxAge},
	} {
		in := with(input("Cache-Control: "+tt.cc), func(in *Input) {
			in.Status, in.Policy.TTL, in.Policy.NegativeTTL = tt.status, tt.ttl, tt.nt
		})
		d := Decide(&in)
		if !d.Store || d.Lifetime != tt.want || d.Source != tt.source {
			t.Errorf("%s: got %+v, want %v", tt.name, d, tt.want)
		}
	}
	for _, status := range []int{400, 404, 405, 410, 414, 422, 451, 501, 500, 502, 503, 504} {
		in := with(input(), func(in *Input) { in.Status, in.Policy.NegativeTTL = status, time.Minute })
		if !Decide(&in).Store {
			t.Errorf("%d is not covered by negative_ttl", status)
		}
	}
}

func TestDecideDetails(t *testing.T) {
	in := input("Cache-Control: max-age=60, must-revalidate", "Vary: Foo, accept-encoding", "Vary: BAR, foo", "Age: 7")
	d := Decide(&in)
	if got := string(AppendHeader(nil, namesOf(d.VaryNames))); got != "accept-encoding: \r\nbar: \r\nfoo: \r\n" {
		t.Errorf("names %q", got)
	}
	if d.Flags != FlagMustRevalidate|FlagVariant|FlagShared || d.Age != 7*time.Second {
		t.Errorf("got %+v", d)
	}
	for _, cc := range []string{"s-maxage=5", "proxy-revalidate, max-age=5"} {
		in := input("Cache-Control: " + cc)
		if Decide(&in).Flags&FlagMustRevalidate == 0 {
			t.Errorf("%s may be served stale", cc)
		}
	}
	in = input("Cache-Control: max-age=60")
	in.Complete, in.BodyLen = false, -1
	if !DecideHead(&in).Store || Decide(&in).Store {
		t.Error("DecideHead looks at the body, or Decide does not")
	}
}

func namesOf(names [][]byte) (h Header) {
	for _, n := range names {
		h = append(h, Field{Name: n})
	}
	return h
}

func TestReasonsAreTokens(t *testing.T) {
	all := Reasons()
	for i, r := range all {
		if !isSFToken(string(r)) || slices.Contains(all[:i], r) {
			t.Errorf("%q is no token, or twice in the list", r)
		}
	}
}

func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		life time.Duration
		pct  float64
		rnd  uint64
		want time.Duration
	}{
		{100, 0, 1<<64 - 1, 100},
		{100, 10, 0, 100},
		{100, 10, 1 << 63, 95},
		{100, 10, 1<<64 - 1, 91},
		{100, 100, 1<<64 - 1, 1},
		{1, 100, 1<<64 - 1, 1},
		{0, 50, 1 << 63, 0},
		{-5, 50, 1 << 63, -5},
	} {
		if got := Jitter(tt.life, percent(tt.pct), tt.rnd); got != tt.want {
			t.Errorf("Jitter(%d, %v%%, %x) = %d, want %d", tt.life, tt.pct, tt.rnd, got, tt.want)
		}
	}
	d := Decision{Lifetime: 100, Age: 99}
	if got := d.Jittered(100, 1<<64-1); got != 100 {
		t.Errorf("Jittered leaves %v with an age of 99", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	in := input("Content-Type: text/html", "Date: "+httpDate(0), "Cache-Control: public, max-age=3600", "ETag: x", "Content-Length: 10")
	b.ReportAllocs()
	for b.Loop() {
		if !Decide(&in).Store {
			b.Fatal("not stored")
		}
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	in := input("Content-Type: text/html", "Date: "+httpDate(0), "Cache-Control: public, max-age=3600", "ETag: x", "Content-Length: 10")
	if a := testing.AllocsPerRun(100, func() { Decide(&in) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
