package proxy_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// inflight races fills with purges: the wires to Redis are slow at random, and so is
// the application, before and after it reads its data.
type inflight struct {
	t    *testing.T
	r    *rig
	a, b *pod
	tr   *http.Transport
	data ledger
	seed uint64
	n    atomic.Uint64
	// served counts what the answers were, so that a run shows what it has been through.
	served [5]atomic.Int64
}

// Fills in flight during a purge never come back. INTERLEAVINGS sets how many are
// tried; SEED makes the same choices again, though the machine's own timing differs.
func TestFillsInFlightDuringAPurge(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seed = n
	}
	total := envSize(t, "INTERLEAVINGS", 500)
	f := newInflight(t, seed)
	const workers = 32
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(total) && !t.Failed(); i = next.Add(1) {
				f.interleave(w, i)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.Logf("run again with SEED=%d", seed)
		return
	}
	t.Logf("%d interleavings, 0 violations, SEED=%d; answers: %d hits, %d stored, %d collapsed, %d stale on failure, %d others; %d calls of the application",
		total, seed, f.served[0].Load(), f.served[1].Load(), f.served[2].Load(), f.served[3].Load(), f.served[4].Load(), f.r.calls.Load())
}

func newInflight(t *testing.T, seed uint64) *inflight {
	f := &inflight{t: t, tr: keepAlive(t), seed: seed}
	tagged := func(r *proxy.Rule) { r.Cache.Tags = []string{"w:{id}"} }
	refreshed := func(r *proxy.Rule) { r.Cache.StaleWhileRevalidate = time.Hour }
	lasting := func(r *proxy.Rule) { r.Cache.StaleIfError = time.Hour }
	f.r = newRig(t, []proxy.Rule{
		rule("tag", "/tag/{id}/x", ttl(time.Hour), tagged),
		rule("stale", "/stale/{id}/x", ttl(time.Hour), tagged, refreshed),
		rule("failing", "/failing/{id}/x", ttl(time.Hour), tagged, lasting),
		rule("tagbig", "/tagbig/{id}/x", ttl(time.Hour), tagged),
		rule("all", "/**", ttl(time.Hour)),
	}, f.app, 0)
	f.r.purgeFrom = []string{"127.0.0.0/8"}
	f.r.via = func(addr string) string { return newSlowWire(t, addr, f.rnd().Uint64()).ln.Addr().String() }
	f.a, f.b = f.r.addPod(), f.r.addPod()
	for _, p := range f.r.pods {
		eventually(t, "connected", p.conn.Up)
	}
	return f
}

// rnd gives the next of the random sources that the seed stands for.
func (f *inflight) rnd() *rand.Rand { return rand.New(rand.NewPCG(f.seed, f.n.Add(1))) }

// The kinds of responses, each with another way through a fill: rule tags, surrogate
// tags, tags and stale use with a refresh or after a failure, variants, variants whose Vary changes, and bodies that are
// passed on while they come, with tags and without.
var inflightKinds = []string{"tag", "surrogate", "stale", "failing", "vary", "varies", "big", "tagbig"}

func (f *inflight) app(w http.ResponseWriter, q *http.Request) {
	rnd, kind, id := f.rnd(), strings.Split(q.URL.Path, "/")[1], strings.Split(q.URL.Path, "/")[2]
	v := f.data.of(q.URL.Path)
	if q.Method == http.MethodPut {
		v.Add(1)
		hold(rnd)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	hold(rnd)
	n := v.Load()
	hold(rnd)
	if (kind == "stale" || kind == "failing") && rnd.IntN(5) == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	f.appHead(w, kind, id, n)
	if q.Header.Get("If-None-Match") == fmt.Sprintf(`"%d"`, n) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := versionBody(n, 100)
	if strings.HasSuffix(kind, "big") {
		body = versionBody(n, 90_000)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if q.Method == http.MethodHead {
		return
	}
	io.WriteString(w, body[:len(body)/2])
	if len(body) > 1000 {
		w.(http.Flusher).Flush()
		hold(rnd)
	}
	io.WriteString(w, body[len(body)/2:])
}

func (f *inflight) appHead(w http.ResponseWriter, kind, id string, n int64) {
	h := w.Header()
	switch {
	case kind == "surrogate":
		h.Set("Cache-Tag", "w:"+id)
	case kind == "vary", kind == "varies" && n%3 == 0:
		h.Set("Vary", "Accept-Language")
	case kind == "varies" && n%3 == 1:
		h.Set("Vary", "Accept-Language, X-Other")
	}
	if kind != "tag" {
		h.Set("ETag", fmt.Sprintf(`"%d"`, n))
	}
}

// interleaving is one purge and the requests around it.
type interleaving struct {
	f                *inflight
	i                int64
	kind, path, tag  string
	purge            string
	floorA, floorAll atomic.Int64 // what a request that begins now must get at least, on A, and once all have seen it
	mu               sync.Mutex
	began            time.Time
	story            []string
}

func (x *interleaving) note(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.story) == 60 {
		x.story = append(x.story[:30], x.story[31:]...)
	}
	x.story = append(x.story, fmt.Sprintf("%9s ", time.Since(x.began).Round(time.Microsecond))+fmt.Sprintf(format, args...))
}

func (x *interleaving) fail(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.f.t.Errorf("SEED=%d, interleaving %d of %s, purge by %s: %s\n%s", x.f.seed, x.i, x.path, x.purge, fmt.Sprintf(format, args...), strings.Join(x.story, "\n"))
}

// interleave runs one: the same worker goes on with what its last one left.
func (f *inflight) interleave(worker int, i int64) {
	rnd := rand.New(rand.NewPCG(f.seed^uint64(i)<<20, uint64(i)))
	x := &interleaving{f: f, i: i, kind: inflightKinds[rnd.IntN(len(inflightKinds))], began: time.Now()}
	x.path, x.tag = fmt.Sprintf("/%s/%d/x", x.kind, worker), fmt.Sprintf("w:%d", worker)
	x.purge = x.choosePurge(rnd)
	x.before(rnd)
	var early, late sync.WaitGroup
	for range 1 + rnd.IntN(4) {
		p, at, head := x.pod(rnd), rnd.IntN(8000), x.header(rnd)
		method := x.method(rnd)
		early.Go(func() { pause(at); x.request(p, method, head) })
	}
	pause(rnd.IntN(10000))
	floor := x.purgeNow()
	for range 1 + rnd.IntN(3) {
		at, head := rnd.IntN(6000), x.header(rnd)
		late.Go(func() { pause(at); x.request(f.a, "GET", head) })
	}
	at, head := rnd.IntN(3000), x.header(rnd)
	late.Go(func() { pause(at); x.follow(floor, 3, head) })
	early.Wait()
	late.Wait()
	x.settle(floor)
}

func pause(micros int) { time.Sleep(time.Duration(micros) * time.Microsecond) }

func (x *interleaving) pod(rnd *rand.Rand) *pod { return x.f.r.pods[rnd.IntN(2)] }

func (x *interleaving) method(rnd *rand.Rand) string {
	if rnd.IntN(8) == 0 {
		return "HEAD"
	}
	return "GET"
}

func (x *interleaving) header(rnd *rand.Rand) []string {
	h := []string{"Accept-Language", []string{"de", "fr"}[rnd.IntN(2)], "X-Other", strconv.Itoa(rnd.IntN(2))}
	if rnd.IntN(10) == 0 {
		h = append(h, "Cache-Control", "no-cache")
	}
	return h
}

func (x *interleaving) choosePurge(rnd *rand.Rand) string {
	ways := []string{"url", "url", "method", "put"}
	if x.tagged() {
		ways = []string{"tag", "tag", "tag", "url", "foreign", "put"}
	}
	if rnd.IntN(20) == 0 {
		return "prefix"
	}
	return ways[rnd.IntN(len(ways))]
}

func (x *interleaving) tagged() bool {
	return strings.HasPrefix(x.kind, "tag") || x.kind == "stale" || x.kind == "failing" || x.kind == "surrogate"
}

// before leaves something of what was there before: nothing, an entry in the memory of
// one pod or both, or one that is stale.
func (x *interleaving) before(rnd *rand.Rand) {
	for range rnd.IntN(4) {
		x.request(x.pod(rnd), "GET", x.header(rnd))
	}
	if x.tagged() && rnd.IntN(3) == 0 {
		x.f.data.of(x.path).Add(int64(rnd.IntN(2)))
		if err := x.pod(rnd).store.SoftPurgeTag(context.Background(), x.tag); err != nil {
			x.fail("soft purge: %v", err)
		}
		x.note("soft purge")
	}
}

// purgeNow commits a new version and purges on A, and gives what is the oldest version
// that may be served from then on.
func (x *interleaving) purgeNow() (floor int64) {
	v, ctx := x.f.data.of(x.path), context.Background()
	if x.purge != "put" {
		v.Add(1)
	}
	x.note("purge begins, version %d", v.Load())
	var err error
	switch x.purge {
	case "tag":
		err = x.f.a.store.PurgeTag(ctx, x.tag)
	case "url":
		_, err = x.f.a.handler.PurgeURL(ctx, "h", x.path)
	case "prefix":
		_, err = x.f.a.handler.PurgeMatching(ctx, strings.TrimSuffix(x.path, "x"), true, false)
	case "method":
		_, err = x.f.a.ask(x.f.tr, "PURGE", x.path)
	case "put":
		_, err = x.f.a.ask(x.f.tr, "PUT", x.path)
	case "foreign":
		err = foreignPurge(x.f.r, x.tag)
	}
	if err != nil {
		x.fail("the purge: %v", err)
	}
	floor = v.Load()
	x.note("purge answered: at least version %d", floor)
	if x.purge != "foreign" {
		x.floorA.Store(floor)
	}
	return floor
}

// request asks once, and fails when the answer is older than it may be. It gives the
// version; -1 when there was none.
func (x *interleaving) request(p *pod, method string, header []string) int64 {
	name, floor := "B", x.floorAll.Load()
	if p == x.f.a {
		name, floor = "A", max(floor, x.floorA.Load())
	}
	began := time.Since(x.began).Round(time.Microsecond)
	got, err := p.ask(x.f.tr, method, x.path, header...)
	if err != nil {
		x.fail("%s on %s: %v", method, name, err)
		return -1
	}
	if method == "HEAD" || got.status != 200 {
		x.note("%s on %s, begun %s: %d %s", method, name, began, got.status, got.cacheStatus())
		return -1
	}
	v, err := versionOf(got.body)
	x.note("%s on %s, begun %s: version %d %s %v", method, name, began, v, got.cacheStatus(), header)
	if err != nil {
		x.fail("%v", err)
	}
	if v < floor {
		x.fail("%s answered with version %d to a request that began when %d was the oldest allowed", name, v, floor)
	}
	x.count(got.cacheStatus())
	return v
}

func (x *interleaving) count(status string) {
	i := 4
	for j, part := range []string{"; hit", "stored", "collapsed", "stale-if-error"} {
		if strings.Contains(status, part) {
			i = j
		}
	}
	x.f.served[i].Add(1)
}

// follow reads B again and again: it may be behind, but never goes back.
func (x *interleaving) follow(floor int64, times int, header []string) {
	seen := false
	for range times {
		v := x.request(x.f.b, "GET", header)
		if v >= 0 && v < floor && seen {
			x.fail("B went back to version %d, older than %d", v, floor)
		}
		seen = seen || v >= floor
	}
}

// settle waits until both pods have the new version, and sees that it stays.
func (x *interleaving) settle(floor int64) {
	for _, p := range []*pod{x.f.b, x.f.a} {
		for end := time.Now().Add(time.Minute); ; {
			if v := x.request(p, "GET", nil); v >= floor {
				break
			}
			if time.Now().After(end) {
				x.fail("still an old version after a minute")
				return
			}
			pause(500)
		}
	}
	x.floorAll.Store(floor)
	for _, lang := range []string{"de", "fr"} {
		for _, p := range x.f.r.pods {
			x.request(p, "GET", []string{"Accept-Language", lang, "X-Other", "1"})
		}
	}
}
