//go:build linux && !race

// The race detector multiplies memory, so this test, which measures it, runs
// without: make test runs both.

package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// go test ./cmd/pillion -run Soak -v -urls 2000000 -memory 128 -redis-memory 512
var (
	soakURLs   = flag.Int("urls", 30_000, "how many unique URLs TestSoak asks for")
	soakMemory = flag.Int("memory", 16, "cache.memory of TestSoak in MiB")
	soakRedis  = flag.Int("redis-memory", 48, "maxmemory of TestSoak's Redis in MiB")
	soakKinds  = flag.String("sizes", "log", "sizes of TestSoak's bodies between 0.1 and 32 KiB: log or even")
)

const (
	soakHot     = 200 // URLs that half of the requests are for
	soakClients = 32
	soakMinBody = 100
	soakMaxBody = 32 << 10
	// soakFactor bounds resident memory, over cache.memory and processMemory.
	soakFactor   = 1.25
	soakHitShare = 0.95
)

const soakConfig = `
cache: { memory: %dMiB }
rules:
  - name: all
    match: { path: "/**" }
    session: none
    cache: { ttl: 1h }
`

// soak is one run: unique URLs, each asked for twice, so that it is stored and then
// read into memory, and after each of these a request for one of a few hot ones.
type soak struct {
	t       *testing.T
	pod     *process
	client  *fasthttp.HostClient
	redis   rueidis.Client
	next    atomic.Int64 // unique URLs asked for
	hot     atomic.Int64 // requests for hot URLs, and how many of them hit
	hotHits atomic.Int64
	scanned atomic.Int64 // second requests for unique URLs, and how many of them hit
	found   atomic.Int64
	peak    atomic.Int64 // the greatest VmRSS seen
	failed  atomic.Bool
	misses  sync.Map // requests that were no hits, by Cache-Status
}

// TestSoak bounds the resident memory of a pillion process while far more passes
// through than it or its Redis can hold, and shows that the scan does not push out
// what is asked for again and again.
//
// Redis has volatile-ttl here: it evicts what would expire soonest, so never a queue,
// which has no expiry, and a purge mark, which is written to live longer than any
// entry, last of all. (volatile-lru would take marks as readily as entries.)
func TestSoak(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", strconv.Itoa(*soakRedis)+"mb", "--maxmemory-policy", "volatile-ttl")
	s := &soak{t: t, redis: redistest.Client(t, server)}
	s.pod = startProcess(t, writeConfig(t, fmt.Sprintf(soakConfig, *soakMemory)), "redis://"+server.Addr, soakApplication(t))
	s.client = &fasthttp.HostClient{Addr: s.pod.addr, MaxConns: soakClients, ReadTimeout: 30 * time.Second}
	for range 2 { // stored, then read into memory
		for i := range soakHot {
			s.get(fmt.Sprintf("/hot/%d", i))
		}
	}
	before := s.metrics()
	start := time.Now()
	done := make(chan struct{})
	var observers, clients sync.WaitGroup
	observers.Go(func() { s.watch(done) })
	for c := range soakClients {
		clients.Go(func() { s.load(c) })
	}
	clients.Wait()
	close(done)
	observers.Wait()
	after := s.metrics()
	t.Logf("%d unique URLs in %v", *soakURLs, time.Since(start).Round(time.Second))
	s.judge(before, after)
}

func (s *soak) judge(before, after map[string]float64) {
	t := s.t
	limit := int64(soakFactor * float64(int64(*soakMemory)<<20+processMemory))
	hwm := s.status("VmHWM")
	t.Logf("VmHWM %s, greatest VmRSS sampled %s, bound %s", mib(hwm), mib(s.peak.Load()), mib(limit))
	if hwm > limit {
		t.Errorf("the process had %s, more than 1.25 × (cache.memory + 40 MiB) = %s", mib(hwm), mib(limit))
	}
	s.misses.Range(func(status, n any) bool {
		t.Logf("%7d × %s", n.(*atomic.Int64).Load(), status)
		return true
	})
	hits, hot := s.hotHits.Load(), s.hot.Load()
	// A unique URL asks Redis twice: once in vain, once for what was stored. What
	// was asked beside that, memory did not know of a hot one.
	asked := after["pillion_redis_reads_total"] - before["pillion_redis_reads_total"] - 2*float64(*soakURLs)
	memory := 1 - asked/float64(hot)
	t.Logf("hot: %d requests, %.2f%% hits, %.2f%% without asking Redis; unique: %.2f%% hits the second time",
		hot, percent(hits, hot), 100*memory, percent(s.found.Load(), s.scanned.Load()))
	if float64(hits) < soakHitShare*float64(hot) || memory < soakHitShare {
		t.Errorf("the scan pushed hot URLs out: %.2f%% hits, %.2f%% from memory", percent(hits, hot), 100*memory)
	}
	if after["pillion_memory_evictions_total"] == 0 || s.info("stats", "evicted_keys") == 0 {
		t.Errorf("nothing was evicted: the test tests little")
	}
	if got := after["pillion_memory_bytes"]; got > float64(int64(*soakMemory)<<20) {
		t.Errorf("pillion_memory_bytes is %v", got)
	}
}

func percent(n, of int64) float64 { return 100 * float64(n) / float64(max(of, 1)) }

// load asks for one unique URL after the other until there are enough.
func (s *soak) load(client int) {
	previous := int64(-1)
	rnd := rand.New(rand.NewPCG(uint64(client), 5))
	for !s.failed.Load() {
		id := s.next.Add(1) - 1
		if id < int64(*soakURLs) {
			s.get("/scan/" + strconv.FormatInt(id, 10))
			s.getHot(rnd)
		}
		if previous >= 0 {
			s.scanned.Add(1)
			if s.get("/scan/" + strconv.FormatInt(previous, 10)) {
				s.found.Add(1)
			}
			s.getHot(rnd)
		}
		if previous = id; id >= int64(*soakURLs) {
			return
		}
	}
}

func (s *soak) getHot(rnd *rand.Rand) {
	s.hot.Add(1)
	if s.get(fmt.Sprintf("/hot/%d", rnd.IntN(soakHot))) {
		s.hotHits.Add(1)
	}
}

// get says whether it was a hit.
func (s *soak) get(path string) bool {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(path)
	req.SetHost("soak.test")
	if err := s.client.Do(req, resp); err != nil {
		s.failed.Store(true)
		s.t.Errorf("%s: %v", path, err)
		return false
	}
	body := resp.Body()
	if resp.StatusCode() != 200 || len(body) != soakSize(path) || !bytes.HasPrefix(body, []byte(path+"\n")) {
		s.failed.Store(true)
		s.t.Errorf("%s: %d, %d bytes %.40q", path, resp.StatusCode(), len(body), body)
		return false
	}
	status := resp.Header.Peek("Cache-Status")
	if !bytes.Contains(status, []byte("; hit")) {
		kind := "unique"
		if path[1] == 'h' {
			kind = "hot"
		}
		n, _ := s.misses.LoadOrStore(kind+" "+string(status), new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	return bytes.Contains(status, []byte("; hit"))
}

// watch samples the process and prints a line for each tenth of the way.
func (s *soak) watch(done <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	s.t.Logf("%10s %9s %9s %9s %9s %9s %9s %9s %7s", "URLs", "VmRSS", "VmHWM", "counted", "items", "evicted", "redis", "evicted", "hot hit")
	line := 0
	for {
		select {
		case <-done:
			s.row()
			return
		case <-tick.C:
		}
		if rss := s.status("VmRSS"); rss > s.peak.Load() {
			s.peak.Store(rss)
		}
		if at := int(min(s.next.Load(), int64(*soakURLs))) * 10 / *soakURLs; at > line {
			line = at
			s.row()
		}
	}
}

func (s *soak) row() {
	m := s.metrics()
	s.t.Logf("%10d %9s %9s %9s %9.0f %9.0f %9s %9d %6.2f%%", min(s.next.Load(), int64(*soakURLs)), mib(s.status("VmRSS")), mib(s.status("VmHWM")),
		mib(int64(m["pillion_memory_bytes"])), m["pillion_memory_items"], m["pillion_memory_evictions_total"],
		mib(s.info("memory", "used_memory")), s.info("stats", "evicted_keys"), percent(s.hotHits.Load(), s.hot.Load()))
}

func mib(n int64) string { return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20)) }

// status reads one line of /proc/PID/status, in bytes.
func (s *soak) status(name string) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pod.cmd.Process.Pid))
	if err != nil {
		s.t.Error(err)
		return 0
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		s.t.Error(err)
	}
	return n << 10
}

// info reads a number from Redis's INFO.
func (s *soak) info(section, name string) int64 {
	text, err := s.redis.Do(context.Background(), s.redis.B().Info().Section(section).Build()).ToString()
	if err != nil {
		s.t.Error(err)
		return 0
	}
	_, rest, _ := strings.Cut(text, "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r\n")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		s.t.Error(err)
	}
	return n
}

// metrics reads those without labels.
func (s *soak) metrics() map[string]float64 {
	resp, err := http.Get("http://" + s.pod.admin + "/metrics")
	if err != nil {
		s.t.Error(err)
		return nil
	}
	defer resp.Body.Close()
	out := make(map[string]float64)
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), " "); ok {
			out[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return out
}

// soakSize gives the size of a path's body, by a hash of it.
func soakSize(path string) int {
	h := fnv.New64a()
	_, _ = io.WriteString(h, path)
	share := float64(h.Sum64()*0x9E3779B97F4A7C15>>11) / (1 << 53)
	if *soakKinds == "even" {
		return soakMinBody + int(share*(soakMaxBody-soakMinBody))
	}
	return int(soakMinBody * math.Pow(soakMaxBody/soakMinBody, share))
}

// soakApplication answers each path with a body of its own.
func soakApplication(t *testing.T) string {
	t.Helper()
	filler := bytes.Repeat([]byte("0123456789abcde\n"), soakMaxBody/16)
	srv := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		path := string(ctx.Path())
		h := &ctx.Response.Header
		h.SetContentType("application/json")
		h.Set("ETag", fmt.Sprintf(`"%x"`, soakSize(path)))
		h.Set("Last-Modified", "Tue, 01 Sep 2026 10:00:00 GMT")
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("X-Request-Id", "4b0f2d6a-5a39-4d5e-9c6b-d1f2a3b4c5d6")
		ctx.Response.SetBody(append([]byte(path+"\n"), filler[:soakSize(path)-len(path)-1]...))
	}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Shutdown()
		<-done
	})
	return "http://" + ln.Addr().String()
}
