package cache

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// go test ./cache -run Properties -lookups 10000000
var lookups = flag.Int("lookups", 200_000, "how many lookups TestProperties makes")

// life is a random response and what becomes of it.
type life struct {
	rnd *rand.Rand
	in  Input
	cc  []string
}

func (l *life) pick(words ...string) string { return words[l.rnd.IntN(len(words))] }

func (l *life) chance(percent int) bool { return l.rnd.IntN(100) < percent }

// newLife makes a response of directives and fields as they occur, valid and not.
func newLife(rnd *rand.Rand) *life {
	l := &life{rnd: rnd}
	for range rnd.IntN(4) {
		l.cc = append(l.cc, l.pick("max-age=60", "max-age=0", "max-age=x", "Max-Age=3600", "s-maxage=30", "s-maxage=0", "no-store", "no-cache",
			"private", `private="a"`, `no-cache="set-cookie, b"`, "public", "must-revalidate", "proxy-revalidate", "must-understand",
			"stale-while-revalidate=10", "stale-if-error=20", "immutable", `x="no-store, private"`, "max-age=60, max-age=61"))
	}
	lines := []string{"a: 1", "b: 2", "Content-Type: text/html"}
	add := func(percent int, line string) {
		if l.chance(percent) {
			lines = append(lines, line)
		}
	}
	add(90, "Cache-Control: "+strings.Join(l.cc, ", "))
	add(30, "Age: "+l.pick("0", "5", "59", "61", "x", "7,0", "99999999999"))
	add(70, "Date: "+l.pick(httpDate(0), httpDate(-30*time.Second), httpDate(time.Hour), "x"))
	add(20, "Expires: "+l.pick(httpDate(time.Minute), httpDate(-time.Minute), "0"))
	add(40, "ETag: "+l.pick(`"a"`, `W/"a"`, "a", `"a`))
	add(30, "Last-Modified: "+l.pick(httpDate(-time.Hour), "x"))
	add(15, "Set-Cookie: a=b")
	add(10, "Vary: "+l.pick("Foo", "*"))
	add(15, "CDN-Cache-Control: "+l.pick("max-age=90", "no-store", "no-cache", "private", "Max-Age=1", ""))
	l.in = input(lines...)
	l.in.Validates, l.in.HasAuthorization = l.chance(70), l.chance(20)
	l.in.Protected, l.in.Heuristic = l.chance(10), l.chance(10)
	l.in.Status = []int{200, 200, 200, 203, 206, 302, 404, 500, 599}[rnd.IntN(9)]
	l.in.Requested = now.Add(-time.Duration(rnd.IntN(3)) * time.Second)
	if l.chance(30) {
		l.in.Targets = []string{"CDN-Cache-Control"}
	}
	*l.in.Policy = Policy{
		Override: l.chance(10), SetCookie: CookieMode(l.pick("", "", "strip", "store")), TTL: time.Duration(rnd.IntN(3)) * 20 * time.Second,
		StaleIfError: time.Duration(rnd.IntN(2)) * time.Minute, StaleWhileRevalidate: time.Duration(rnd.IntN(2)) * time.Minute,
		NegativeTTL: time.Duration(rnd.IntN(2)) * time.Minute,
	}
	return l
}

// said reports whether the directives that apply hold the word, read crudely.
func (l *life) said(word string) bool {
	if d := ReadDirectives(l.in.Response, l.in.Targets); d.Targeted {
		return strings.Contains(string(l.in.Response.Get("CDN-Cache-Control")), word)
	}
	if !l.in.Response.Has("Cache-Control") {
		return false
	}
	for _, d := range l.cc {
		if d == word {
			return true
		}
	}
	return false
}

// TestProperties makes random responses and looks them up at random times: what RFC
// 9111 §3 forbids is not stored, ages only grow, what is served as fresh is not older
// than its lifetime, and what is served stale may be.
func TestProperties(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	stored := 0
	for n := 0; n < *lookups; {
		l := newLife(rnd)
		d := Decide(&l.in)
		if !d.Store {
			n++
			continue
		}
		stored++
		l.checkStorable(t, &d)
		n += l.checkUses(t, &d)
		if t.Failed() {
			t.Fatalf("seed %d, lookup %d: %s\npolicy %+v\ndecision %+v", seed, n, AppendHeader(nil, l.in.Response), l.in.Policy, d)
		}
	}
	if stored < *lookups/100 {
		t.Errorf("only %d responses were stored: the test tests little", stored)
	}
}

func (l *life) checkStorable(t *testing.T, d *Decision) {
	p := l.in.Policy
	must := func(ok bool, rule string) {
		if !ok {
			t.Error(rule)
		}
	}
	must(!l.said("no-store") || l.said("must-understand"), "no-store is stored")
	must(!l.said("private"), "private is stored")
	must(l.in.Status != 206, "a part is stored")
	must(!l.said("no-cache") || d.Flags&FlagValidate != 0 || p.Override, "no-cache is stored for free use")
	must(!l.said("must-revalidate") || d.Flags&FlagMustRevalidate != 0, "must-revalidate is forgotten")
	must(!l.in.Protected || l.said("public"), "a protected response is shared")
	must(!l.in.HasAuthorization || d.Flags&FlagShared != 0, "an authorised response is shared")
	must(string(l.in.Response.Get("Vary")) != "*", "Vary: * is stored")
	kept := AppendStoredExcept(nil, l.in.Response, d.Omit)
	must(!kept.Has("Set-Cookie") || p.SetCookie == CookieStore, "a cookie is stored")
	must(!l.said(`private="a"`) || !kept.Has("a"), "a private field is stored")
}

// checkUses stores the response, reads it back, and asks for it while time passes.
func (l *life) checkUses(t *testing.T, d *Decision) (n int) {
	raw := Encode(nil, &Entry{
		Kind: KindResponse, Flags: d.Flags, Status: l.in.Status, StoredAt: l.in.Received.UnixMilli(), FillStart: l.in.Requested.UnixMilli(),
		Lifetime: d.Jittered(20, l.rnd.Uint64()), InitialAge: d.Age, StaleWhileRevalidate: d.StaleWhileRevalidate, StaleIfError: d.StaleIfError,
	})
	e, err := Decode(raw)
	if err != nil {
		t.Error(err)
		return 1
	}
	last := time.Duration(-1)
	for at := now; n < 8; n++ {
		cc := l.pick("", "", "no-cache", "max-age=0", "max-age=30", "max-stale", "max-stale=5", "min-fresh=20", "stale-if-error=1")
		r := request(cc)
		age, use := e.Age(at), e.Use(at, &r)
		stale := age >= e.Lifetime
		switch {
		case age < last:
			t.Errorf("the age falls from %v to %v", last, age)
		case use == UseFresh && (stale || cc == "no-cache" || cc == "max-age=0" && age > 0):
			t.Errorf("fresh at %v for %q", age, cc)
		case use.Served() && (e.Flags&FlagValidate != 0 || stale && e.Flags&FlagMustRevalidate != 0):
			t.Errorf("served at %v in spite of %b", age, e.Flags)
		case use == UseAndRefresh && age-e.Lifetime > e.StaleWhileRevalidate:
			t.Errorf("refreshed at %v", age)
		case use == UseStale && !strings.HasPrefix(cc, "max-stale"):
			t.Errorf("stale at %v for %q", age, cc)
		case e.MayServeOnFailure(at, &r, FailureConnect) && stale && (age-e.Lifetime > e.StaleIfError || cc == "no-cache"):
			t.Errorf("served on failure at %v", age)
		}
		last = age
		at = at.Add(time.Duration(l.rnd.IntN(40_000)) * time.Millisecond)
	}
	return n
}
