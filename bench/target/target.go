// Package target measures a deployment of the user's own: an open loop of requests at a
// steady rate.
package target

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/bench/latency"
)

const (
	// MostConnections bounds Options.Connections.
	MostConnections = 20_000
	requestTimeout  = 30 * time.Second
	mostNames       = 32 // of cache states and errors that are told apart
)

// Options say what to send.
type Options struct {
	URL         string
	Method      string
	Body        string
	Header      http.Header
	Rate        float64 // requests a second
	Duration    time.Duration
	Connections int
	Insecure    bool // take any certificate
	// Progress is called after each request, from one goroutine at a time.
	Progress func()
}

// Check gives an error that names what is wrong.
func (o Options) Check() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return fmt.Errorf("the URL %q: %w", o.URL, err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("the URL %q must be http://host/ or https://host/", o.URL)
	case o.Rate <= 0 || o.Rate > 1e6:
		return fmt.Errorf("--rate %g: set more than 0 and at most 1000000", o.Rate)
	case o.Duration <= 0:
		return fmt.Errorf("--duration %v: set more than 0", o.Duration)
	case o.Connections < 1 || o.Connections > MostConnections:
		return fmt.Errorf("--connections %d: set 1 to %d", o.Connections, MostConnections)
	}
	return nil
}

// Requests is how many there are to be.
func (o Options) Requests() int { return max(1, int(o.Rate*o.Duration.Seconds())) }

// Outcome is what came back.
type Outcome struct {
	Options Options
	Began   time.Time
	Took    time.Duration
	Sent    int
	Bytes   int64
	// Latency counts from the time when a request should have begun; Service from when
	// it did. They differ where all connections were busy.
	Latency, Service *latency.Histogram
	Status           map[int]int
	Cache            map[string]int // by the hit or the fwd of Cache-Status
	Errors           map[string]int
}

func (o *Outcome) merge(p *Outcome) {
	o.Sent += p.Sent
	o.Bytes += p.Bytes
	o.Latency.Merge(p.Latency)
	o.Service.Merge(p.Service)
	for k, v := range p.Status {
		o.Status[k] += v
	}
	for k, v := range p.Cache {
		count(o.Cache, k, v)
	}
	for k, v := range p.Errors {
		count(o.Errors, k, v)
	}
}

// count adds to a map that stays small whatever comes.
func count(m map[string]int, name string, n int) {
	if _, ok := m[name]; !ok && len(m) >= mostNames {
		name = "others"
	}
	m[name] += n
}

func newOutcome() *Outcome {
	return &Outcome{
		Latency: latency.New(), Service: latency.New(),
		Status: make(map[int]int), Cache: make(map[string]int), Errors: make(map[string]int),
	}
}

// Run sends the requests. It ends early with the context, and gives what there was.
func Run(ctx context.Context, o Options) (*Outcome, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	client := &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			MaxIdleConns: o.Connections, MaxIdleConnsPerHost: o.Connections, DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: o.Insecure, MinVersion: tls.VersionTLS12},
		},
	}
	defer client.CloseIdleConnections()
	s := &sender{options: o, client: client, total: newOutcome(), began: time.Now()}
	var all sync.WaitGroup
	for range o.Connections {
		all.Go(func() { s.work(ctx) })
	}
	all.Wait()
	s.total.Options, s.total.Began, s.total.Took = o, s.began, time.Since(s.began)
	return s.total, nil
}

// sender shares out the requests to the connections.
type sender struct {
	options Options
	client  *http.Client
	began   time.Time

	mu    sync.Mutex
	next  int
	total *Outcome
}

// take gives the next request's intended time; false when there are no more.
func (s *sender) take() (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next >= s.options.Requests() {
		return time.Time{}, false
	}
	at := s.began.Add(time.Duration(float64(s.next) / s.options.Rate * float64(time.Second)))
	s.next++
	return at, true
}

// work is one connection: it waits for each intended time, or is late for it.
func (s *sender) work(ctx context.Context) {
	out := newOutcome()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.total.merge(out)
	}()
	for {
		at, ok := s.take()
		if !ok || !waitUntil(ctx, at) {
			return
		}
		s.send(ctx, at, out)
		if s.options.Progress != nil {
			s.mu.Lock()
			s.options.Progress()
			s.mu.Unlock()
		}
	}
}

func waitUntil(ctx context.Context, at time.Time) bool {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *sender) send(ctx context.Context, at time.Time, out *Outcome) {
	sent := time.Now()
	n, resp, err := s.exchange(ctx)
	if ctx.Err() != nil {
		return // it was cut short by us
	}
	now := time.Now()
	out.Sent++
	out.Latency.Record(now.Sub(at))
	out.Service.Record(now.Sub(sent))
	if err != nil {
		count(out.Errors, reason(err), 1)
		return
	}
	out.Bytes += n
	out.Status[resp.StatusCode]++
	if state := cacheState(resp.Header.Get("Cache-Status")); state != "" {
		count(out.Cache, state, 1)
	}
}

func (s *sender) exchange(ctx context.Context) (int64, *http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, s.options.Method, s.options.URL, strings.NewReader(s.options.Body))
	if err != nil {
		return 0, nil, err
	}
	req.Header = s.options.Header.Clone()
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	return n, resp, err
}

// reason is an error without the URL, which is the same in all, and without ports.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return "timeout"
		}
		err = u.Err
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

// cacheState takes what a cache says of an answer (RFC 9211): that of the cache nearest
// to us, the last member, as "hit" or as "fwd=" and why.
func cacheState(field string) string {
	if i := strings.LastIndexByte(field, ','); i >= 0 {
		field = field[i+1:]
	}
	for _, param := range strings.Split(field, ";") {
		param = strings.TrimSpace(param)
		if param == "hit" || strings.HasPrefix(param, "fwd=") {
			return param
		}
	}
	return ""
}
