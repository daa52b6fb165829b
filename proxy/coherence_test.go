package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// envSize is the size of a long test: small by default, and full under make coherence.
func envSize(t testing.TB, name string, small int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return small
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: write a positive number", name, text)
	}
	return n
}

// keepAlive is a client whose connections are used again, as those of a load balancer.
func keepAlive(t testing.TB) *http.Transport {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1024}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// ask is for goroutines other than the test's: it gives an error and does not end them.
func (p *pod) ask(tr *http.Transport, method, path string, header ...string) (reply, error) {
	req, err := http.NewRequest(method, "http://"+p.addr+path, nil)
	if err != nil {
		return reply{}, err
	}
	req.Host = "h"
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b)}, err
}

// ledger is the application's data: a version for each path, which only grows.
type ledger struct{ paths sync.Map }

func (l *ledger) of(path string) *atomic.Int64 {
	v, ok := l.paths.Load(path)
	if !ok {
		v, _ = l.paths.LoadOrStore(path, new(atomic.Int64))
	}
	return v.(*atomic.Int64)
}

// versionOf reads a body made of one version over and over; an error is a body that is
// made of two, or of none.
func versionOf(body string) (int64, error) {
	first, _, _ := strings.Cut(body, ".")
	n, err := strconv.ParseInt(first, 10, 64)
	if err == nil && strings.Repeat(first+".", len(body)/(len(first)+1)) != body {
		err = fmt.Errorf("the body is not of version %d alone", n)
	}
	return n, err
}

func versionBody(n int64, size int) string {
	unit := fmt.Sprintf("%08d.", n)
	return strings.Repeat(unit, max(1, size/len(unit)))
}

// lags collects how long a pod went on with the old version.
type lags struct{ all []time.Duration }

func (l *lags) String() string {
	if len(l.all) == 0 {
		return "none"
	}
	slices.Sort(l.all)
	at := func(q float64) time.Duration { return l.all[min(len(l.all)-1, int(q*float64(len(l.all))))] }
	return fmt.Sprintf("n=%d p50=%s p99=%s max=%s", len(l.all), at(0.50), at(0.99), l.all[len(l.all)-1])
}

// Rounds of {store v1 in the memory of both pods, purge or overwrite on A, read on
// both}: A never serves v1 after its purge was answered, and how long B does is
// measured, not judged. COHERENCE_ROUNDS sets their number.
func TestCoherenceAfterPurge(t *testing.T) {
	c := newCoherence(t)
	rounds := envSize(t, "COHERENCE_ROUNDS", 1500)
	for i := range rounds {
		c.round(i)
		if t.Failed() {
			return
		}
	}
	for name, l := range c.byKind {
		t.Logf("lag after a purge by %-12s %s", name+":", l)
	}
	t.Logf("A: %d rounds, 0 violations; its lag after writes of another client: %s", rounds, &c.lagA)
	t.Logf("B: from the purge's answer to the answer with v2: %s", &c.lagB)
	t.Logf("B: from the purge's answer to the last request that still got v1: %s", &c.staleB)
}

type coherence struct {
	t                  *testing.T
	r                  *rig
	a, b               *pod
	tr                 *http.Transport
	data               ledger
	byKind             map[string]*lags
	lagA, lagB, staleB lags
}

func newCoherence(t *testing.T) *coherence {
	c := &coherence{t: t, tr: keepAlive(t), byKind: make(map[string]*lags)}
	c.r = newRig(t, []proxy.Rule{rule("p", "/p/{id}/x", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.Tags = []string{"p:{id}"} })}, c.app, 2)
	c.a, c.b = c.r.pods[0], c.r.pods[1]
	return c
}

func (c *coherence) app(w http.ResponseWriter, q *http.Request) {
	v := c.data.of(q.URL.Path)
	if q.Method == http.MethodPut {
		v.Add(1)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	io.WriteString(w, versionBody(v.Load(), 200))
}

// purges are the ways to replace v1, by how many of a hundred rounds they have.
// foreign is not answered by a pod, so no pod promises anything at its end.
var purgeShares = []struct {
	kind  string
	share int
}{{"tag", 40}, {"url", 25}, {"foreign", 12}, {"put", 10}, {"overwrite", 10}, {"prefix", 3}}

func purgeKind(i int) string {
	n := i * 37 % 100 // 37 and 100 have no common divisor: each share comes evenly
	for _, s := range purgeShares {
		if n -= s.share; n < 0 {
			return s.kind
		}
	}
	return "tag"
}

func (c *coherence) get(p *pod, path string, header ...string) int64 {
	c.t.Helper()
	got, err := p.ask(c.tr, "GET", path, header...)
	must(c.t, err)
	v, err := versionOf(got.body)
	if err != nil || got.status != 200 {
		c.t.Fatalf("%s: %v: %+v", path, err, got)
	}
	return v
}

func (c *coherence) round(i int) {
	id := i % 97
	path, kind := fmt.Sprintf("/p/%d/x", id), purgeKind(i)
	v1 := c.data.of(path).Load()
	for _, p := range []*pod{c.a, c.b, c.a, c.b} {
		if got := c.get(p, path); got != v1 {
			c.t.Fatalf("round %d: before the purge: version %d, want %d", i, got, v1)
		}
	}
	if kind != "put" {
		c.data.of(path).Add(1)
	}
	c.replace(kind, id, path)
	answered := time.Now()
	lagged := make(chan [2]time.Duration, 1)
	go func() { lagged <- c.poll(c.b, path, v1, answered) }()
	if kind == "foreign" {
		c.lagA.all = append(c.lagA.all, c.poll(c.a, path, v1, answered)[0])
	} else if got := c.get(c.a, path); got != v1+1 {
		c.t.Errorf("round %d: A served version %d after its purge by %s was answered, want %d", i, got, kind, v1+1)
	}
	lag := <-lagged
	c.lagB.all, c.staleB.all = append(c.lagB.all, lag[0]), append(c.staleB.all, lag[1])
	if c.byKind[kind] == nil {
		c.byKind[kind] = new(lags)
	}
	c.byKind[kind].all = append(c.byKind[kind].all, lag[0])
	for _, p := range []*pod{c.a, c.b} {
		if got := c.get(p, path); got != v1+1 {
			c.t.Errorf("round %d: back to version %d after a purge by %s, want %d", i, got, kind, v1+1)
		}
	}
}

func (c *coherence) replace(kind string, id int, path string) {
	c.t.Helper()
	ctx, tag := context.Background(), fmt.Sprintf("p:%d", id)
	var err error
	switch kind {
	case "tag":
		err = c.a.store.PurgeTag(ctx, tag)
	case "url":
		_, err = c.a.handler.PurgeURL(ctx, "h", path)
	case "prefix":
		_, err = c.a.handler.PurgeMatching(ctx, strings.TrimSuffix(path, "x"), true, false)
	case "put":
		_, err = c.a.ask(c.tr, "PUT", path)
	case "overwrite":
		c.get(c.a, path, "Cache-Control", "no-cache")
	case "foreign":
		err = foreignPurge(c.r, tag)
	}
	must(c.t, err)
}

// foreignPurge is the one write that docs/purging.md gives for other languages.
func foreignPurge(r *rig, tag string) error {
	key := "pillion:t:" + tag
	mark := strconv.FormatUint(rand.Uint64(), 36)
	life := cache.MarkLife(cache.Default().MaxTTL)
	return r.other.Do(context.Background(), r.other.B().Set().Key(key).Value(mark).Px(life).Build()).Error()
}

// poll asks without a pause until the new version comes. It gives the time from the
// purge's answer until then, and until the last request that still got the old one.
func (c *coherence) poll(p *pod, path string, v1 int64, answered time.Time) (lag [2]time.Duration) {
	for end := answered.Add(time.Minute); ; {
		began := time.Since(answered)
		got, err := p.ask(c.tr, "GET", path)
		v, verr := versionOf(got.body)
		switch {
		case errors.Join(err, verr) != nil:
			c.t.Errorf("%s: %v", path, errors.Join(err, verr))
			return lag
		case v > v1:
			lag[0] = time.Since(answered)
			return lag
		case time.Now().After(end):
			c.t.Errorf("%s: still version %d after a minute", path, v)
			return lag
		}
		lag[1] = began
	}
}

// slowWire is a TCP proxy that holds back what passes, for a random time, in either
// direction: it delays each step of a fill, and a push as much as a reply.
type slowWire struct {
	ln   net.Listener
	to   string
	seed uint64
	n    atomic.Uint64
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]bool // nil once closed
}

func newSlowWire(t testing.TB, to string, seed uint64) *slowWire {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &slowWire{ln: ln, to: to, seed: seed, open: make(map[net.Conn]bool)}
	s.wg.Go(s.accept)
	t.Cleanup(s.close)
	return s
}

func (s *slowWire) accept() {
	for {
		down, err := s.ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", s.to)
		if err != nil {
			_ = down.Close()
			continue
		}
		if !s.track(up, down) {
			return
		}
		s.wg.Go(func() { s.pump(up, down) })
		s.wg.Go(func() { s.pump(down, up) })
	}
}

func (s *slowWire) track(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range conns {
		if s.open == nil {
			_ = c.Close()
		} else {
			s.open[c] = true
		}
	}
	return s.open != nil
}

func (s *slowWire) pump(dst, src net.Conn) {
	defer dst.Close()
	rnd := rand.New(rand.NewPCG(s.seed, s.n.Add(1)))
	buf := make([]byte, 256<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			hold(rnd)
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// hold waits for nothing, for up to 3 ms, or, now and then, for up to 12: long enough
// for the other pod to do all of a fill meanwhile.
func hold(rnd *rand.Rand) {
	switch n := rnd.IntN(100); {
	case n < 40:
	case n < 98:
		time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
	default:
		time.Sleep(time.Duration(rnd.IntN(12000)) * time.Microsecond)
	}
}

func (s *slowWire) close() {
	_ = s.ln.Close()
	s.mu.Lock()
	for c := range s.open {
		_ = c.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.wg.Wait()
}
