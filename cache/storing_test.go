package cache

import (
	"testing"
	"time"
)

// validating is an input of a caller that validates.
func validating(lines ...string) Input {
	in := input(lines...)
	in.Validates = true
	return in
}

// What has a validator is stored to be validated (RFC 9111 §3, §4.3, §5.2.2.4).
func TestDecideToValidate(t *testing.T) {
	etag, modified := `ETag: "a"`, "Last-Modified: "+httpDate(-time.Hour)
	type change = func(*Input)
	for _, tt := range []struct {
		name   string
		lines  []string
		change change
		want   Reason
		flags  Flags
		fresh  bool
	}{
		{name: "no-cache", lines: []string{"Cache-Control: no-cache", etag}, want: ReasonStored, flags: FlagValidate},
		{name: "no-cache, fresh", lines: []string{"Cache-Control: no-cache, max-age=60", modified}, want: ReasonStored, flags: FlagValidate, fresh: true},
		{name: "no-cache without a validator", lines: []string{"Cache-Control: no-cache, max-age=60"}, want: ReasonNoCache},
		{name: "no-cache 404", lines: []string{"Cache-Control: no-cache", etag}, change: func(in *Input) { in.Status = 404 }, want: ReasonNoCache},
		{name: "max-age=0", lines: []string{"Cache-Control: max-age=0", etag}, want: ReasonStored},
		{name: "max-age=0, no validator", lines: []string{"Cache-Control: max-age=0"}, want: ReasonStale},
		{name: "stale on arrival", lines: []string{"Cache-Control: max-age=60", "Age: 61", modified}, want: ReasonStored},
		{name: "nothing but a validator", lines: []string{modified}, want: ReasonStored},
		{name: "nothing at all", want: ReasonNoFreshness},
		{name: "202 and a validator", lines: []string{etag}, change: func(in *Input) { in.Status = 202 }, want: ReasonNoFreshness},
		{name: "202, no-cache", lines: []string{etag, "Cache-Control: no-cache"}, change: func(in *Input) { in.Status = 202 }, want: ReasonStored, flags: FlagValidate},
		{name: "503 and a validator", lines: []string{etag, "Cache-Control: max-age=0"}, change: func(in *Input) { in.Status = 503 }, want: ReasonStale},
		{name: "bad date", lines: []string{"Last-Modified: yesterday"}, want: ReasonNoFreshness},
		{name: "two tags", lines: []string{etag, `ETag: "b"`}, want: ReasonNoFreshness},
		{name: "no-store", lines: []string{"Cache-Control: no-store, no-cache", etag}, want: ReasonNoStore},
		{name: "private", lines: []string{"Cache-Control: private, no-cache", etag}, want: ReasonPrivate},
		{name: "authorization", lines: []string{etag}, change: func(in *Input) { in.HasAuthorization = true }, want: ReasonAuthorization},
		{name: "ttl does not undo no-cache", lines: []string{"Cache-Control: no-cache", etag}, change: func(in *Input) { in.Policy.TTL = time.Hour }, want: ReasonStored, flags: FlagValidate, fresh: true},
		{name: "ttl 0 for the status", lines: []string{etag, "Cache-Control: max-age=60"}, change: func(in *Input) { in.Policy.StatusTTL = map[int]time.Duration{200: 0} }, want: ReasonNoFreshness},
	} {
		in := validating(tt.lines...)
		if tt.change != nil {
			in = with(in, tt.change)
		}
		d := Decide(&in)
		if d.Reason != tt.want || d.Store != (tt.want == ReasonStored) {
			t.Errorf("%s: got %v %q, want %q", tt.name, d.Store, d.Reason, tt.want)
			continue
		}
		if d.Store && (d.Flags&FlagValidate != tt.flags || !d.Validator || Fresh(d.Age, d.Lifetime) != tt.fresh) {
			t.Errorf("%s: got %+v", tt.name, d)
		}
	}
}

func TestDecideOverride(t *testing.T) {
	override := func(in *Input) { in.Policy.TTL, in.Policy.Override = time.Minute, true }
	for _, tt := range []struct {
		name, cc string
		status   int
		want     Reason
		flags    Flags
	}{
		{"no-cache", "no-cache", 200, ReasonStored, 0},
		{"no-cache, max-age=0", "no-cache, max-age=0", 200, ReasonStored, 0},
		{"qualified no-cache", `no-cache="x"`, 200, ReasonStored, 0},
		{"s-maxage", "s-maxage=0", 200, ReasonStored, FlagShared},
		{"must-revalidate stays", "must-revalidate, no-cache", 200, ReasonStored, FlagMustRevalidate | FlagShared},
		{"proxy-revalidate stays", "proxy-revalidate", 200, ReasonStored, FlagMustRevalidate},
		{"no-store stays", "no-store", 200, ReasonNoStore, 0},
		{"private stays", "private", 200, ReasonPrivate, 0},
		{"no-cache of an error", "no-cache, max-age=60", 404, ReasonNoCache, 0},
	} {
		in := with(input("Cache-Control: "+tt.cc), override)
		in.Status = tt.status
		d := Decide(&in)
		if d.Reason != tt.want || d.Flags != tt.flags || d.Store && d.Lifetime != time.Minute {
			t.Errorf("%s: got %+v", tt.name, d)
		}
	}
	in := with(input("Cache-Control: no-cache"), override)
	in.Policy.TTL = 0
	if d := Decide(&in); d.Store {
		t.Error("override without a lifetime stores")
	}
	in.Response = header("Cache-Control: no-cache, max-age=60")
	if d := Decide(&in); d.Reason != ReasonNoCache {
		t.Errorf("override without a lifetime of its own wins: %+v", d)
	}
	in = with(input("Cache-Control: max-age=60", "Set-Cookie: a=b"), override)
	if d := Decide(&in); d.Reason != ReasonSetCookie {
		t.Errorf("override stores a cookie: %+v", d)
	}
}

func TestDecideStatusTTL(t *testing.T) {
	for _, tt := range []struct {
		status int
		cc     string
		want   time.Duration
	}{
		{404, "max-age=5", time.Minute}, // the rule's
		{302, "", time.Second},
		{503, "", time.Minute}, // not capped: it was asked for
		{410, "max-age=5", 0},  // 0 stores nothing
		{200, "", 10 * time.Second},
		{200, "max-age=5", 5 * time.Second}, // default_ttl yields
		{200, "max-age=0", 0},
		{403, "", 0}, // default_ttl is for successes
	} {
		in := with(input("Cache-Control: "+tt.cc), func(in *Input) {
			in.Status = tt.status
			in.Policy.NegativeTTL, in.Policy.DefaultTTL = 3*time.Second, 10*time.Second
			in.Policy.StatusTTL = map[int]time.Duration{404: time.Minute, 302: time.Second, 503: time.Minute, 410: 0}
		})
		if d := Decide(&in); d.Lifetime != tt.want || d.Store != (tt.want > 0) {
			t.Errorf("%d %q: got %+v, want %v", tt.status, tt.cc, d, tt.want)
		}
	}
}

// Fields that are named are left out (RFC 9111 §5.2.2.4, §5.2.2.7), cookies as the
// rule says (§7.3).
func TestDecideOmits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		lines   []string
		cookies CookieMode
		override,
		off bool // a caller that does not validate
		want   Reason
		stored string
	}{
		{name: "private field", lines: []string{`Cache-Control: private="A", max-age=60`, "a: 1", "b: 2"}, want: ReasonStored, stored: "b"},
		{name: "no-cache fields", lines: []string{`Cache-Control: no-cache="a, B"`, "Cache-Control: max-age=60", "a: 1", "b: 2", "c: 3"}, want: ReasonStored, stored: "c"},
		{name: "both", lines: []string{`Cache-Control: no-cache="a", private=b, max-age=60`, "a: 1", "b: 2", "c: 3"}, want: ReasonStored, stored: "c"},
		{name: "private field, old caller", lines: []string{`Cache-Control: private="a", max-age=60`, "a: 1"}, off: true, want: ReasonPrivate},
		{name: "no-cache field, old caller", lines: []string{`Cache-Control: no-cache="a", max-age=60`, "a: 1"}, off: true, want: ReasonNoCache},
		{name: "override keeps no-cache fields", lines: []string{`Cache-Control: no-cache="a"`, "a: 1"}, override: true, want: ReasonStored, stored: "a"},
		{name: "override drops private fields", lines: []string{`Cache-Control: private="a"`, "a: 1", "b: 2"}, override: true, want: ReasonStored, stored: "b"},
		{name: "unreadable list", lines: []string{`Cache-Control: private="a b", max-age=60`, "a: 1"}, want: ReasonPrivate},
		{name: "cookie refused", lines: []string{"Cache-Control: max-age=60", "Set-Cookie: a=b"}, want: ReasonSetCookie},
		{name: "cookie refused by name", lines: []string{"Cache-Control: max-age=60", "Set-Cookie: a=b"}, cookies: CookieRefuse, want: ReasonSetCookie},
		{name: "cookie stripped", lines: []string{"Cache-Control: max-age=60", "Set-Cookie: a=b", "set-cookie2: c", "b: 1"}, cookies: CookieStrip, want: ReasonStored, stored: "b"},
		{name: "cookie stored", lines: []string{"Cache-Control: max-age=60", "Set-Cookie: a=b"}, cookies: CookieStore, want: ReasonStored, stored: "Set-Cookie"},
		{name: "cookie named by the origin", lines: []string{`Cache-Control: max-age=60, no-cache="Set-Cookie"`, "Set-Cookie: a=b", "b: 1"}, want: ReasonStored, stored: "b"},
		{name: "cookie named, overridden", lines: []string{`Cache-Control: no-cache="set-cookie, b"`, "Set-Cookie: a=b", "b: 1"}, override: true, want: ReasonStored, stored: "b"},
		{name: "another field named", lines: []string{`Cache-Control: max-age=60, no-cache="a"`, "Set-Cookie: a=b"}, want: ReasonSetCookie},
	} {
		in := with(validating(tt.lines...), func(in *Input) {
			in.Policy.SetCookie, in.Validates = tt.cookies, !tt.off
			if tt.override {
				in.Policy.TTL, in.Policy.Override = time.Minute, true
			}
		})
		d := Decide(&in)
		if d.Reason != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, d.Reason, tt.want)
			continue
		}
		got := ""
		for _, f := range AppendStoredExcept(nil, in.Response, d.Omit) {
			if !equalFold(f.Name, "Cache-Control") {
				got += string(f.Name)
			}
		}
		if d.Store && got != tt.stored {
			t.Errorf("%s: stores %q, want %q", tt.name, got, tt.stored)
		}
	}
}

// A page under the name of a style sheet is not stored for others.
func TestDecideDeception(t *testing.T) {
	for _, tt := range []struct {
		path, contentType string
		scope             Scope
		mode              Mode
		status            int
		want              Reason
	}{
		{"/account/x.css", "text/html", ScopePublic, "", 200, ReasonDeception},
		{"/account/x.CSS", "text/html; charset=utf-8", "", "", 200, ReasonDeception},
		{"/account;x.js", "application/json", ScopePublic, ModeOn, 200, ReasonDeception},
		{"/account/x.css", "text/html", ScopePublic, ModeOff, 200, ReasonStored},
		{"/account/x.css", "text/html", ScopeUser, "", 200, ReasonStored},
		{"/account/x.css", "text/html", ScopeSession, "", 200, ReasonStored},
		{"/gone.css", "text/html", ScopePublic, "", 404, ReasonStored},
		{"/x.css", "Text/CSS;a=b", ScopePublic, "", 200, ReasonStored},
		{"/x.css", "", ScopePublic, "", 200, ReasonDeception},
		{"", "text/html", ScopePublic, "", 200, ReasonStored},
	} {
		in := with(input("Cache-Control: max-age=60", "Content-Type: "+tt.contentType), func(in *Input) {
			in.Path, in.Scope, in.Policy.MatchType, in.Status = []byte(tt.path), tt.scope, tt.mode, tt.status
		})
		if d := Decide(&in); d.Reason != tt.want {
			t.Errorf("%s as %q: got %q, want %q", tt.path, tt.contentType, d.Reason, tt.want)
		}
	}
}

func TestTypeAgrees(t *testing.T) {
	for path, types := range map[string]struct{ good, bad string }{
		"/a.js": {"text/javascript", "text/html"}, "/a.mjs": {"application/javascript", "text/plain"},
		"/a.json": {"application/ld+json", "text/html"}, "/a.map": {"application/json", "text/html"},
		"/a.xml": {"application/atom+xml", "application/xhtml+xml"}, "/a.txt": {"text/plain", "text/html"},
		"/a.csv": {"text/csv", "text/html"}, "/a.pdf": {"application/pdf", "text/html"}, "/a.html": {"text/html", "application/json"},
		"/a.png": {"image/webp", "text/html"}, "/a.jpg": {"image/jpeg", "image/svg+xml"}, "/a.svg": {"image/svg+xml", "image/png"},
		"/a.ico": {"image/x-icon", "text/html"}, "/a.woff2": {"font/woff2", "text/css"}, "/a.eot": {"application/vnd.ms-fontobject", "text/css"},
		"/a.mp4": {"video/mp4", "text/html"}, "/a.ogg": {"audio/ogg", "text/html"}, "/a.zip": {"application/zip", "text/html"}, "/a.tar.gz": {"application/x-tar", "application/json"}, "/b.gz": {"application/gzip", "application/xhtml+xml"},
		"/a.wasm": {"application/wasm", "text/html"}, "/b/c.d/a.gif": {"image/gif", "text/html"},
	} {
		if !TypeAgrees([]byte(path), []byte(types.good)) || TypeAgrees([]byte(path), []byte(types.bad)) || TypeAgrees([]byte(path), nil) {
			t.Errorf("%s: %q is refused, or %q or nothing accepted", path, types.good, types.bad)
		}
		if !TypeAgrees([]byte(path), []byte("application/octet-stream")) {
			t.Errorf("%s: octet-stream is refused", path)
		}
	}
	for _, path := range []string{"", "/", "/a", "/a.", "/a.php", "/v1.2/users", "/a.css/", "/a.unknownext"} {
		if !TypeAgrees([]byte(path), []byte("text/html")) {
			t.Errorf("%s: has no known extension and is refused", path)
		}
	}
	path, ct := []byte("/static/app.min.css"), []byte("text/css; charset=utf-8")
	if a := testing.AllocsPerRun(100, func() { TypeAgrees(path, ct) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func TestPoisonous(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-Host", "x-forwarded-proto", "X-FORWARDED-PORT", "X-Forwarded-Prefix", "X-Host", "X-Original-URL", "X-Rewrite-URL",
		"X-HTTP-Method-Override", "Forwarded", "X-Forwarded-Server", "X-Original-Host", "X-Middleware-Subrequest", "True-Client-Ip", "X-Accel-Redirect",
	} {
		if !Poisonous([]byte(name)) {
			t.Errorf("%s passes", name)
		}
	}
	for _, name := range []string{"", "X", "Accept", "Accept-Language", "Host", "X-Request-Id", "Traceparent", "X-Forward", "Cookie", "If-None-Match"} {
		if Poisonous([]byte(name)) {
			t.Errorf("%s does not pass", name)
		}
	}
	name := []byte("X-Request-Identifier")
	if a := testing.AllocsPerRun(100, func() { Poisonous(name) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
