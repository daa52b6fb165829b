package web

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/bench/load"
	"github.com/pillion-proxy/pillion/bench/origin"
	"github.com/pillion-proxy/pillion/bench/proc"
)

// Scenario is one thing to measure.
type Scenario struct {
	Name, About string

	peers    []string
	kind     string // first segment of the paths
	size     int
	keys     int // objects; 0 is one
	header   string
	method   string // empty is GET
	status   int    // 0 is 200
	sessions int
	services []string
	env      []string // of pillion
	zipf     bool
	conns    int // 0 is what the user says
	slow     int // connections that ask for slow answers meanwhile
	storm    string
	stored   bool // answers must come from the cache
	cores    int  // of the server; 0 is one
	measure  func(ctx context.Context, b *Bench, s Scenario, srv server) (measured, error)
}

// host is that of all requests.
const host = "bench.test"

// hitRatio is the least share of hits where all answers should be.
const hitRatio = 0.99

func caches() []string { return []string{"pillion", "fasthttp", "nginx", "haproxy", "varnish"} }

func proxies() []string { return []string{"pillion", "nginx", "haproxy", "varnish"} }

// passers are measured where nothing is stored.
func passers() []string { return append(proxies(), "caddy") }

// Scenarios lists all, in the order in which they are measured.
func Scenarios() []Scenario {
	const kib = 1 << 10
	out := []Scenario{
		{Name: "hit-1k", About: "a stored answer of 1 KiB; epoll is one thread that does nothing but read and write", kind: origin.Public, size: kib,
			stored: true, peers: append(caches(), "epoll")},
		{Name: "hit-16k", About: "a stored answer of 16 KiB", kind: origin.Public, size: 16 * kib, stored: true, peers: caches()},
		{Name: "hit-256k", About: "a stored answer of 256 KiB", kind: origin.Public, size: 256 * kib, stored: true, peers: caches()},
		{Name: "hit-vary", About: "a stored answer of 1 KiB with Vary: Accept-Language, in two languages", kind: origin.Varied, size: kib,
			stored: true, header: "Accept-Language: en\r\n|Accept-Language: de\r\n",
			// HAProxy stores nothing that varies by this field.
			peers: []string{"pillion", "fasthttp", "nginx", "varnish"}},
		{Name: "hit-304", About: "a validator of a stored answer, which is still good", kind: origin.Public, size: kib, stored: true,
			status: 304, header: "If-None-Match: " + origin.ETag + "\r\n", peers: caches()},
		{Name: "session-hit", About: "a stored answer of 1 KiB, for one of 1,000 sessions that the server checks", kind: origin.Private, size: kib,
			stored: true, sessions: 1000, peers: []string{"pillion", "fasthttp", "nginx-lua-redis"}},
		{Name: "session-pass", About: "the same, from the application", kind: origin.Secure, size: kib, sessions: 1000,
			peers: []string{"pillion", "nginx-lua-redis"}},
		{Name: "pass-get", About: "GET of 1 KiB from the application", kind: origin.Uncached, size: kib, peers: passers()},
		{Name: "pass-post", About: "POST of 1 KiB to the application, which answers with 1 KiB", kind: origin.Uncached, size: kib, method: "POST", peers: passers()},
		{Name: "rules-1000", About: "hit-1k behind 1,000 rules, of which the last one matches", kind: "svc999", size: kib, stored: true,
			services: services(1000), peers: []string{"pillion", "nginx", "haproxy"}},
		{Name: "zipf-100k", About: "stored answers of 1 KiB, 100,000 of them, asked for with a Zipf distribution", kind: origin.Public, size: kib,
			keys: 100_000, zipf: true, stored: true, peers: caches()},
		{Name: "hit-1k-c1", About: "hit-1k on 1 connection", kind: origin.Public, size: kib, stored: true, conns: 1, peers: caches()},
		{Name: "hit-1k-c1000", About: "hit-1k on 1,000 connections", kind: origin.Public, size: kib, stored: true, conns: 1000, peers: caches()},
		{Name: "hit-1k-c10000", About: "hit-1k on 10,000 connections", kind: origin.Public, size: kib, stored: true, conns: 10_000, peers: caches()},
		{Name: "large-1g", About: "a body of 1 GiB from the application", kind: origin.Uncached, size: 1 << 30, conns: 1, measure: transfer, peers: passers()},
		{Name: "purge-storm", About: "64 stored answers of 1 KiB, with a tag that is purged 1,000 times a second", kind: origin.Tagged, size: kib,
			keys: 64, storm: "purge", peers: []string{"pillion"}},
		{Name: "revocation-storm", About: "session-hit, while 1,000 of 10,000 sessions a second are ended and made anew", kind: origin.Private, size: kib,
			sessions: 10_000, storm: "revocation", peers: []string{"pillion", "nginx-lua-redis"}},
		{Name: "slow-origin", About: "hit-1k, while 500 requests wait for an application that takes a second", kind: origin.Public, size: kib, stored: false,
			slow: 500, peers: proxies()},
		{Name: "latency-70", About: "latency of hit-1k in an open loop, at 70% of the throughput", kind: origin.Public, size: kib, stored: true,
			measure: openLoop, peers: caches()},
		{Name: "disturbances", About: "latency of hit-1k in an open loop, at half of the throughput: calm, with 1,000 purges a second of other answers, with 4 reloads a second, and with new answers stored all the time",
			kind: origin.Public, size: kib, stored: true, measure: disturbed, peers: []string{"pillion"}},
		{Name: "rule-match", About: "finding the rule of a request among 1,000 rules and among 10, in this program's own benchmark",
			kind: origin.Public, size: kib, measure: ruleMatch, peers: []string{"pillion"}},
		{Name: "memory", About: "memory for each of 100,000 stored answers of 1 KiB, beyond their own bytes (body, header fields as the application sends them, URL) and beyond their bodies alone", kind: origin.Public, size: kib, keys: 100_000,
			// What waits for the collector is no object's memory: let there be little of it.
			env: []string{"GOGC=5"},
			// HAProxy takes all of its cache's memory at its start.
			measure: memory, peers: []string{"pillion", "nginx", "varnish"}},
		{Name: "idle", About: "resident memory before the first request; the time from the start of the process to its first answer; the size of the program and, of pillion, of its container image", kind: origin.Uncached,
			size: kib, measure: idle, peers: passers()},
		{Name: "cores", About: "hit-1k with two cores against one", kind: origin.Public, size: kib, stored: true, measure: twoCores, peers: []string{"pillion", "fasthttp", "nginx"}},
	}
	for i := range out {
		if out[i].measure == nil {
			out[i].measure = closedLoop
		}
	}
	return out
}

// reachesOrigin says that each request does, for a small answer. The application must be
// a cheap one then: with the client it has one core, as the server has.
func (s Scenario) reachesOrigin() bool {
	return (s.kind == origin.Uncached || s.kind == origin.Secure) && s.size <= origin.LeanMost
}

func services(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("svc%d", i)
	}
	return out
}

// serverCores are the first ones.
func (s Scenario) serverCores(*Bench) []int { return seq(0, max(1, s.cores)) }

// clientCores are the ones after these; the last one when there are too few.
func (s Scenario) clientCores(*Bench) []int {
	n := max(1, s.cores)
	if n >= proc.Cores() {
		return []int{proc.Cores() - 1}
	}
	return []int{n}
}

func seq(from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = from + i
	}
	return out
}

// requests are all that the scenario asks for.
func (s Scenario) requests() []load.Request {
	var out []load.Request
	headers := strings.Split(s.header, "|")
	for id := range max(1, s.keys) {
		for _, h := range headers {
			out = append(out, s.request(id, h))
		}
	}
	if s.sessions == 0 {
		return out
	}
	one := s.keys
	s.keys = 0
	out = out[:0]
	for i := range s.sessions {
		out = append(out, s.request(i%max(1, one), "X-Session-ID: "+SessionID(i)+"\r\n"))
	}
	return out
}

func (s Scenario) request(id int, header string) load.Request {
	r := load.Request{Status: 200, Length: int64(s.size), Marker: origin.Marker(id), Tail: origin.Tail()}
	method, body := "GET", ""
	if s.method != "" {
		method, body = s.method, strings.Repeat("x", 1<<10)
		header += fmt.Sprintf("Content-Type: application/octet-stream\r\nContent-Length: %d\r\n", len(body))
	}
	if s.status != 0 {
		r.Status, r.Length, r.Marker, r.Tail = s.status, 0, nil, nil
	}
	r.Raw = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: bench\r\nAccept: */*\r\n%s\r\n%s", method, origin.Path(s.kind, s.size, id), header, body)
	return r
}

// plan is the load of a scenario.
func (s Scenario) plan(b *Bench) load.Plan {
	g := load.Group{Connections: b.Connections, Requests: s.requests()}
	if s.conns > 0 {
		g.Connections = s.conns
	}
	if s.zipf {
		g.Order = zipf(len(g.Requests))
	}
	p := load.Plan{Groups: []load.Group{g}, Warm: b.Warm, For: b.For, Least: 1}
	if s.method == "" && s.size <= 1<<20 {
		whole := s // a 304 from the application would leave nothing to store
		if s.status == 304 {
			whole.status, whole.header = 0, ""
		}
		// Twice: some keep in their memory only what is asked for again.
		p.Fill = append(whole.requests(), whole.requests()...)
	}
	if s.slow > 0 {
		slow := s
		slow.kind = origin.Slow
		p.Groups = append(p.Groups, load.Group{Connections: s.slow, Requests: slow.requests(), Background: true})
	}
	return p
}

// zipf is a long sequence of indexes below n, the same in each run.
func zipf(n int) []int32 {
	const length, skew = 1 << 20, 1.1
	z := rand.NewZipf(rand.New(rand.NewPCG(1, 2)), skew, 1, uint64(n-1))
	out := make([]int32, length)
	for i := range out {
		out[i] = int32(z.Uint64())
	}
	return out
}

// common are the metrics of most scenarios.
func (m *measured) common(u use) {
	n := float64(u.Requests)
	took := u.Took.Seconds()
	m.foreign = max(m.foreign, u.foreign)
	m.add("CPU", "us/request", float64(u.server.Nanoseconds())/1e3/n)
	m.add("throughput", "requests/s", n/took)
	for _, p := range percentiles() {
		m.add(fmt.Sprintf("latency p%g", p), "us", float64(u.Latency.Percentile(p).Nanoseconds())/1e3)
	}
	m.add("server's core", "% busy", 100*u.server.Seconds()/took)
	m.add("client's core", "% busy", 100*u.client.Seconds()/took)
}

func percentiles() []float64 { return []float64{50, 90, 99, 99.9} }

// isStored fails when answers that should be stored came from the application.
func (s Scenario) isStored(u use) error {
	if share := float64(u.origin) / math.Max(1, float64(u.Requests)); s.stored && share > 1-hitRatio {
		return fmt.Errorf("%d of %d requests went to the application, although their answers should be stored", u.origin, u.Requests)
	}
	return nil
}

// closedLoop sends as many requests as are answered.
func closedLoop(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	st, err := b.stage(ctx, s, srv)
	if err != nil {
		return m, err
	}
	defer func() { err = join(err, st.stop()) }()
	if s.storm != "" {
		stop, err := st.storm(ctx, s)
		if err != nil {
			return m, err
		}
		defer func() { err = join(err, stop()) }()
	}
	u, err := st.drive(ctx, s.plan(b))
	if err != nil {
		return m, err
	}
	m.common(u)
	if s.storm != "" {
		m.add("from the application", "requests/s", float64(u.origin)/u.Took.Seconds())
	}
	return m, s.isStored(u)
}

// openLoop finds the throughput first, and then begins 70% as many requests at times
// that the server does not influence.
func openLoop(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	const share = 0.7
	st, err := b.stage(ctx, s, srv)
	if err != nil {
		return m, err
	}
	defer func() { err = join(err, st.stop()) }()
	p := s.plan(b)
	u, err := st.drive(ctx, p)
	if err != nil {
		return m, err
	}
	m.foreign = u.foreign
	p.Fill = nil
	p.Rate = share * float64(u.Requests) / u.Took.Seconds()
	if u, err = st.drive(ctx, p); err != nil {
		return m, err
	}
	m.common(u)
	m.add("latency max", "us", float64(u.Latency.Max().Nanoseconds())/1e3)
	return m, s.isStored(u)
}

// transfer measures bytes.
func transfer(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	const mib = 1 << 20
	st, err := b.stage(ctx, s, srv)
	if err != nil {
		return m, err
	}
	defer func() { err = join(err, st.stop()) }()
	u, err := st.drive(ctx, s.plan(b))
	if err != nil {
		return m, err
	}
	m.foreign = u.foreign
	moved := float64(u.Bytes) / mib
	m.add("throughput", "MiB/s", moved/u.Took.Seconds())
	m.add("CPU", "us/MiB", float64(u.server.Microseconds())/moved)
	m.add("server's core", "% busy", 100*u.server.Seconds()/u.Took.Seconds())
	m.add("client's core", "% busy", 100*u.client.Seconds()/u.Took.Seconds())
	return m, nil
}

// Names lists the scenarios for a completion.
func Names() []string {
	var out []string
	for _, s := range Scenarios() {
		out = append(out, s.Name)
	}
	return slices.Clip(out)
}

// settle is how long a server is left alone before its memory is looked at.
const settle = 3 * time.Second
