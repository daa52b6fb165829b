package cache

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// go test ./cache -run Volume -v -volume 10000000
var (
	volume     = flag.Int("volume", 200_000, "how many messages TestVolume makes and looks up")
	volumeSeed = flag.Uint64("volume-seed", 0, "seed of TestVolume; 0 takes the time")
)

// volumeBatch is how many messages come from one sub-seed, so that what they are
// does not depend on how many cores share the work.
const volumeBatch = 1000

// prober asks one worker's messages of every pure function and keeps count.
type prober struct {
	gen
	calls  map[string]int
	stored int
	what   string // the message, for a failure
	errs   []string
}

func (p *prober) must(ok bool, format string, args ...any) {
	if !ok {
		p.errs = append(p.errs, fmt.Sprintf(format, args...))
	}
}

// TestVolume asks the functions about a great many messages that are built from the
// grammar of their fields, so that what they mean is known beforehand, and about the
// same with some bytes changed. What RFC 9111 §3 forbids is not stored; an age never
// falls; what is served as fresh is not older than its lifetime, by arithmetic of the
// test's own; and nothing panics.
func TestVolume(t *testing.T) {
	seed := *volumeSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	start := time.Now()
	var next atomic.Int64
	var failed atomic.Bool
	probers := make([]*prober, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for i := range probers {
		p := &prober{calls: make(map[string]int)}
		probers[i] = p
		workers.Go(func() {
			for !failed.Load() {
				batch := next.Add(1) - 1
				if batch*volumeBatch >= int64(*volume) {
					return
				}
				if !p.batch(t, seed, batch) {
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	calls, stored := make(map[string]int), 0
	for _, p := range probers {
		stored += p.stored
		for name, n := range p.calls {
			calls[name] += n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		t.Logf("%11d × %s", calls[name], name)
	}
	t.Logf("%d messages, %d stored, in %v, seed %d", calls["Decide"], stored, time.Since(start).Round(time.Millisecond), seed)
	if stored < *volume/20 {
		t.Errorf("only %d responses were stored: the test tests little", stored)
	}
}

// batch runs one sub-seed. It reports a panic with what led to it.
func (p *prober) batch(t *testing.T, seed uint64, batch int64) (ok bool) {
	where := func() string {
		return fmt.Sprintf("batch %d of -volume-seed %d\n%s", batch, seed, p.what)
	}
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v: %s", r, where())
			ok = false
		}
	}()
	p.rnd = rand.New(rand.NewPCG(seed, uint64(batch)))
	for range volumeBatch {
		p.message()
		if len(p.errs) > 0 {
			t.Errorf("%s: %s", strings.Join(p.errs, "; "), where())
			p.errs = nil
			return false
		}
	}
	return true
}

func describe(in *Input) string {
	var b strings.Builder
	for _, f := range in.Response {
		fmt.Fprintf(&b, "%s: %q\n", f.Name, f.Value)
	}
	fmt.Fprintf(&b, "%s %d scope=%q auth=%v protected=%v validates=%v targets=%v policy=%+v", in.Method, in.Status, in.Scope,
		in.HasAuthorization, in.Protected, in.Validates, in.Targets, *in.Policy)
	return b.String()
}

// message makes one response, decides about it, and uses it if it is stored.
func (p *prober) message() {
	r := p.response()
	p.what = ""
	d := Decide(&r.in)
	p.calls["Decide"]++
	p.prohibitions(r, &d)
	if d.Store {
		p.stored++
		p.kept(r, &d)
		p.times(r, &d)
		p.uses(r, &d)
		p.updates(r)
	}
	p.mutants(r)
	p.variants(r)
	p.conditions(r)
	p.ranges()
	p.queries()
	p.dates()
	if len(p.errs) > 0 {
		p.what = describe(&r.in) + fmt.Sprintf("\n%+v\nmeant: %+v", d, r.said)
	}
}

// prohibitions: RFC 9111 §3, and what is stricter here.
func (p *prober) prohibitions(r *response, d *Decision) {
	in, s := &r.in, &r.said
	never := func(forbidden bool, rule string) { p.must(!d.Store || !forbidden, "stored in spite of %s", rule) }
	never(in.Method != "GET", "the method")
	never(in.Request.NoStore, "the request's no-store")
	never(in.Status < 200 || in.Status > 599 || in.Status == 304, "the status")
	never(in.Status == 206 || r.part, "its being a part")
	never(!in.Complete || in.BodyLen < 0 || in.BodyLen > in.MaxObject || r.length && in.BodyLen == 10, "its body")
	never(s.noStore && !s.mustUnderstand, "no-store")
	never(s.mustUnderstand && http.StatusText(in.Status) == "", "must-understand")
	never(s.private, "private")
	never(r.varyStar, "Vary: *")
	never(s.noCache && !d.Validator && !in.Policy.Override, "no-cache without a validator")
	if in.Scope == ScopeUser || in.Scope == ScopeSession || in.Policy.Scope == ScopePublic {
		return
	}
	never(in.Protected && !s.public, "being one user's")
	never(in.HasAuthorization && !s.public && !s.mustRevalidate && len(s.sMaxAge) == 0, "Authorization")
}

// kept: what must not be in what is stored.
func (p *prober) kept(r *response, d *Decision) {
	h := AppendStoredExcept(nil, r.in.Response, d.Omit)
	p.calls["AppendStoredExcept"]++
	for _, name := range []string{"Connection", "Transfer-Encoding", "Content-Length", "Age"} {
		p.must(!h.Has(name), "%s is stored", name)
	}
	p.must(!h.Has("X-Hop") || !strings.Contains(strings.ToLower(string(r.in.Response.Get("Connection"))), "x-hop"), "a nominated field is stored")
	p.must(!h.Has("Set-Cookie") && !h.Has("Set-Cookie2") || r.in.Policy.SetCookie == CookieStore, "a cookie is stored")
	for _, name := range r.said.privateFields {
		p.must(!h.Has(name), "the private field %s is stored", name)
	}
	for _, name := range r.said.noCacheFields {
		p.must(!h.Has(name) || r.in.overrides(), "the no-cache field %s is stored", name)
	}
	p.calls["AppendHeader"]++
	p.calls["ParseHeader"]++
	again, ok := ParseHeader(nil, AppendHeader(nil, h))
	p.must(ok && len(again) == len(h), "the header block does not read back")
}

// times: the lifetime is the one that was said, the age no less than what is known.
func (p *prober) times(r *response, d *Decision) {
	s := &r.said
	said := s.lifetime()
	if said < 0 {
		said = r.expires
	}
	switch d.Source {
	case SourceSMaxAge, SourceMaxAge, SourceExpires:
		want := min(time.Duration(said)*time.Second, r.in.MaxTTL)
		p.must(said >= 0 && d.Lifetime == want, "a lifetime of %v, which should be %v", d.Lifetime, want)
	}
	p.must(d.Lifetime <= r.in.MaxTTL, "a lifetime of %v", d.Lifetime)
	p.must(d.Age >= r.age, "an age of %v, which is %v at least", d.Age, r.age)
	p.must(d.Lifetime > d.Age || d.Validator, "stale on arrival, and cannot be validated")
	p.must(!s.noCache || d.Flags&FlagValidate != 0 || r.in.overrides(), "no-cache is forgotten")
	p.must(!s.mustRevalidate && !s.proxyRevalidate || d.Flags&FlagMustRevalidate != 0, "must-revalidate is forgotten")
	p.must(d.Flags&FlagMustRevalidate == 0 || d.StaleIfError+d.StaleWhileRevalidate == 0, "may be served stale in spite of must-revalidate")
}

// uses stores the response, reads it back, and asks for it while time passes.
func (p *prober) uses(r *response, d *Decision) {
	raw := Encode(nil, &Entry{
		Kind: KindResponse, Flags: d.Flags, Status: r.in.Status, StoredAt: r.in.Received.UnixMilli(), FillStart: r.in.Requested.UnixMilli(),
		Lifetime: d.Jittered(20, p.rnd.Uint64()), InitialAge: d.Age, StaleWhileRevalidate: d.StaleWhileRevalidate, StaleIfError: d.StaleIfError,
		Header: AppendHeader(nil, AppendStoredExcept(nil, r.in.Response, d.Omit)),
	})
	p.calls["Encode"]++
	e, err := Decode(raw)
	p.calls["Decode"]++
	if err != nil {
		p.must(false, "decoding: %v", err)
		return
	}
	if p.chance(20) {
		raw = bytes.Clone(raw)
		raw[p.rnd.IntN(len(raw))] ^= 1 << p.rnd.IntN(8)
		_, err := Decode(raw)
		p.calls["Decode"]++
		p.must(err != nil, "a changed bit is not noticed")
	}
	if p.chance(5) {
		e.SoftPurgedAt = now.UnixMilli() + int64(p.rnd.IntN(2000)) - 1000
	}
	last := time.Duration(-1)
	at := r.in.Received
	for range 5 {
		last = p.use(r, e, at, last)
		at = at.Add(time.Duration(p.rnd.IntN(40_000)) * time.Millisecond)
		if p.chance(5) {
			at = at.Add(time.Duration(p.rnd.IntN(1<<20)) * time.Minute)
		}
	}
}

// use asks for the entry once. It gives the entry's age.
func (p *prober) use(r *response, e *Entry, at time.Time, last time.Duration) time.Duration {
	cc := p.pick("", "", "", "no-cache", "max-age=0", "max-age=30", "max-stale", "max-stale=5", "min-fresh=20", "no-cache=x", "stale-if-error=1", "max-age=x", "no-store")
	if p.chance(10) {
		cc = string(p.mutate(header("cc: " + cc))[0].Value)
	}
	rd := ParseRequest(Header{{[]byte("Cache-Control"), []byte(cc)}})
	age, use := e.Age(at), e.Use(at, &rd)
	p.calls["ParseRequest"]++
	p.calls["Entry.Age"]++
	p.calls["Entry.Use"]++
	// By the test's own arithmetic: no younger than it was, and has been since.
	known := r.age + at.Sub(r.in.Received)
	stale := known >= e.Lifetime
	p.must(age >= last, "the age falls from %v to %v", last, age)
	p.must(age >= min(known, MaxDelta*time.Second), "an age of %v, which is %v at least", age, known)
	p.must(use != UseFresh || !stale && e.SoftPurgedAt == 0, "fresh at an age of %v with a lifetime of %v", known, e.Lifetime)
	p.must(!use.Served() || e.Flags&FlagValidate == 0 && !rd.NoCache, "served without the validation that was asked for")
	p.must(!use.Served() || !stale || e.Flags&FlagMustRevalidate == 0, "served stale in spite of must-revalidate")
	p.must(use != UseStale || strings.Contains(cc, "max-stale"), "stale for %q", cc)
	p.must(use != UseAndRefresh || known-e.Lifetime <= e.StaleWhileRevalidate, "refreshed beyond the window")
	p.must(cc != "no-cache" && cc != "max-age=0" || use != UseFresh || cc == "max-age=0" && known <= 0, "fresh for %q", cc)
	p.must(cc != "max-age=30" || use != UseFresh || known <= 30*time.Second, "fresh at %v for %q", known, cc)
	p.must(cc != "min-fresh=20" || use != UseFresh || e.Lifetime-known >= 20*time.Second, "fresh at %v of %v for %q", known, e.Lifetime, cc)
	failure := e.MayServeOnFailure(at, &rd, FailureConnect)
	p.calls["Entry.MayServeOnFailure"]++
	p.must(!failure || !stale || known-e.Lifetime <= e.StaleIfError && e.Flags&FlagMustRevalidate == 0, "served on failure at %v", known)
	return age
}

// updates freshens the stored response with another.
func (p *prober) updates(r *response) {
	u := p.response()
	u.in.Response = append(u.in.Response, Field{[]byte("Date"), []byte(httpDate(0))})
	out := Freshen(&r.in, r.in.Response, u.in.Response)
	p.calls["Freshen"]++
	if !out.Decision.Store {
		return
	}
	p.must(!out.Header.Has("Age") && !out.Header.Has("Transfer-Encoding"), "an update stores fields of the connection")
	p.must(!out.Header.Has("Set-Cookie") || r.in.Policy.SetCookie == CookieStore, "an update stores a cookie")
	if u.in.Response.Has("Cache-Control") && len(r.in.Targets) == 0 && !nominated(u.in.Response, []byte("Cache-Control")) {
		var s said // of the update alone: it replaces what was said before
		if len(u.in.Targets) == 0 {
			s = u.said
		}
		p.must(!s.noStore || s.mustUnderstand, "an update's no-store is ignored")
		p.must(!s.private, "an update's private is ignored")
	}
}

// mutants changes bytes. What the message means is unknown then, but what is added
// to it is not: no-store on a line of its own forbids, whatever stands before it.
func (p *prober) mutants(r *response) {
	in := r.in
	in.Response = p.mutate(in.Response)
	d := Decide(&in)
	p.calls["Decide of changed bytes"]++
	if d.Store {
		p.must(d.Lifetime > d.Age || d.Validator, "changed: stale on arrival, and cannot be validated")
		p.must(d.Lifetime <= in.MaxTTL && d.Age >= 0, "changed: a lifetime of %v at age %v", d.Lifetime, d.Age)
		h := AppendStoredExcept(nil, in.Response, d.Omit)
		again, ok := ParseHeader(nil, AppendHeader(nil, h))
		p.must(ok && len(again) == len(h), "changed: the header block does not read back: %s", h)
		p.must(!h.Has("Set-Cookie") || in.Policy.SetCookie == CookieStore, "changed: a cookie is stored")
	}
	rules := ReadDirectives(in.Response, in.Targets)
	p.calls["ReadDirectives"]++
	if !rules.Targeted && !rules.MustUnderstand {
		in.Response = append(in.Response, Field{[]byte("cache-control"), []byte("no-store")})
		p.calls["Decide of changed bytes"]++
		p.must(!Decide(&in).Store, "changed: no-store after %s is ignored", in.Response)
	}
	p.calls["AppendGroups"]++
	groups, ok := AppendGroups(nil, in.Response)
	p.must(!ok || len(groups) <= MaxGroups, "%d groups", len(groups))
	p.calls["AppendTargets"]++
	AppendTargets(nil, Target{Path: []byte("/a")}, []byte("h"), in.Response)
}

// variants: one request selects one variant, and a field that Vary names tells
// requests apart.
func (p *prober) variants(r *response) {
	names, ok := VaryNames(r.in.Response)
	p.calls["VaryNames"]++
	p.must(!r.varyStar || !ok, "Vary: * has names")
	if !ok || len(names) == 0 {
		return
	}
	client := Header{p.field("Accept", p.pick("a/b", "*/*;q=0.1", "")), p.field("X-Q", "1"), p.field("Accept-Encoding", p.pick("gzip, br", "gzip;q=0", "*", ""))}
	if p.chance(50) {
		client = p.mutate(client)
	}
	key := func(h Header) ([]byte, bool) {
		p.calls["AppendVary"]++
		return AppendVary(nil, names, h.AppendJoined)
	}
	a, ok := key(client)
	b, _ := key(append(slices.Clone(client), p.field("X-Other", "2")))
	if !ok {
		return
	}
	p.must(bytes.Equal(a, b), "a field that Vary does not name is in the key: %q, %q", a, b)
	c, ok := key(append(slices.Clone(client), p.field("Accept", "zz/zz")))
	if contains(names, []byte("accept")) {
		p.must(!ok || !bytes.Equal(a, c), "two values of Accept have one key: %q", a)
	}
}

// conditions: 304 if and only if a tag of the list is the stored one.
func (p *prober) conditions(r *response) {
	tags := []string{`"a"`, `W/"a"`, `"a,b"`, `"b"`, `""`, `W/"b"`, `"\"`}
	stored := p.pick(tags...)
	var list []string
	match := false
	for range 1 + p.rnd.IntN(3) {
		tag := p.pick(tags...)
		list = append(list, tag)
		match = match || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(stored, "W/")
	}
	status := r.in.Status
	request := Header{p.field("If-None-Match", strings.Join(list, p.pick(", ", ",", " , ,"))), p.field("If-Modified-Since", p.date(now))}
	got := NotModified(request, Header{p.field("ETag", stored)}, status, now)
	p.calls["NotModified"]++
	p.must(got == (match && status >= 200 && status <= 299), "%s for a stored %s, status %d: %v", request, stored, status, got)
	c := ConditionsFor(r.in.Response, p.mutate(request), now)
	p.calls["ConditionsFor"]++
	for _, f := range c.AppendFields(nil) {
		p.must(isFieldValue(f.Value) && len(f.Value) > 0, "asks with %s: %q", f.Name, f.Value)
	}
}

// ranges: every part is a part of the body, and no byte is sent twice.
func (p *prober) ranges() {
	size := int64(p.rnd.IntN(2000))
	var specs []string
	for range 1 + p.rnd.IntN(4) {
		a, b := p.rnd.IntN(2500), p.rnd.IntN(2500)
		specs = append(specs, p.pick(fmt.Sprintf("%d-%d", a, b), fmt.Sprintf("%d-", a), fmt.Sprintf("-%d", b), "0-18446744073709551615", "-", ""))
	}
	request := Header{p.field("Range", p.pick("bytes=", "bytes=", "Bytes=", "bytes =", "items=")+strings.Join(specs, p.pick(",", ", ")))}
	whole := false // whatever is asked for
	for range p.rnd.IntN(5) / 3 * (1 + p.rnd.IntN(2)) {
		whole = whole || request.Has("If-Range") // two of them hold never
		request = append(request, p.field("If-Range", p.pick(`"a"`, `W/"a"`, `"b"`, httpDate(-time.Hour), "x")))
		whole = whole || request[1].Value[0] == 'W'
	}
	if p.chance(30) {
		whole, request = false, p.mutate(request)
	}
	stored := Header{p.field("ETag", p.pick(`"a"`, `W/"a"`))}
	plan := PlanRange(request, stored, 200, size, now)
	p.calls["PlanRange"]++
	total := int64(0)
	for i, part := range plan.Parts[:plan.N] {
		p.must(0 <= part.Start && part.Start < part.End && part.End <= size, "%s of %d: %v", request, size, part)
		for _, o := range plan.Parts[:i] {
			p.must(part.End <= o.Start || o.End <= part.Start, "%s of %d: %v and %v", request, size, part, o)
		}
		total += part.End - part.Start
	}
	p.must(total <= size && (plan.Status == 206) == (plan.N > 0), "%s of %d: %+v", request, size, plan)
	p.must(plan.Status == 200 || !whole, "%s: If-Range holds", request)
}

// queries: the canonical form of a canonical form is the same.
func (p *prober) queries() {
	variance := p.pick("key-order", `params=("a")`, `params, except=("x")`, `params=("a" "b"), key-order`, "params=?0")
	query := []byte(p.pick("a=1&b=2", "b=%20+&a", "%=&&=&%zz", "a=1&a=2&x", "%61=1&é=2"))
	h := Header{p.field("No-Vary-Search", variance), p.field("q", string(query))}
	if p.chance(50) {
		h = p.mutate(h)
	}
	nvs := ParseNoVarySearch(h)
	p.calls["ParseNoVarySearch"]++
	once := CanonicalQuery(nil, h[1].Value, nvs)
	twice := CanonicalQuery(nil, once, nvs)
	p.calls["CanonicalQuery"] += 2
	p.must(bytes.Equal(once, twice), "%s: %q, then %q", h, once, twice)
}

// dates: what is written is read, in all three formats, and what is read of changed
// bytes can be written.
func (p *prober) dates() {
	at := now.Add(time.Duration(p.rnd.Int64N(80*365*24*3600)-45*365*24*3600) * time.Second)
	text := at.Format(p.pick(http.TimeFormat, "Mon Jan _2 15:04:05 2006"))
	if at.After(now.AddDate(-49, 0, 0)) && at.Before(now.AddDate(49, 0, 0)) && p.chance(30) {
		text = at.Format("Monday, 02-Jan-06 15:04:05 GMT")
	}
	got, ok := ParseDate([]byte(text), now)
	p.must(ok && got.Equal(at), "%q is read as %v", text, got)
	changed := p.mutate(header("Date: " + text))[0].Value
	if got, ok := ParseDate(changed, now); ok && got.Year() <= 9999 {
		again, ok := ParseDate([]byte(got.Format(http.TimeFormat)), now)
		p.must(ok && again.Equal(got), "%q is read as %v, then %v", changed, got, again)
	}
	p.calls["ParseDate"] += 2
}
