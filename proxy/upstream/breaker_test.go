package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// stub is an application at the other end of in-memory connections, so that a test
// can run on synctest's clock: what takes no time there takes none at all.
type stub struct {
	mu     sync.Mutex
	dials  int
	refuse error // of a dial
	answer string
	paths  []string
	wg     sync.WaitGroup
}

func (s *stub) set(refuse error, answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse, s.answer = refuse, answer
}

func (s *stub) dialled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials
}

func (s *stub) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.refuse != nil {
		return nil, s.refuse
	}
	client, app := net.Pipe()
	s.wg.Go(func() { s.serve(app) })
	return client, nil
}

// serve answers each read with the answer of the moment; "" closes, "hang" says nothing.
func (s *stub) serve(nc net.Conn) {
	defer nc.Close()
	p := make([]byte, 4096)
	for {
		n, err := nc.Read(p)
		if err != nil {
			return
		}
		s.mu.Lock()
		answer := s.answer
		s.paths = append(s.paths, strings.Fields(string(p[:n]))[1])
		s.mu.Unlock()
		if answer == "" {
			return
		}
		if answer != "hang" {
			if _, err := nc.Write([]byte(answer)); err != nil {
				return
			}
		}
	}
}

const fresh5 = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"

// onStub runs a test with a client on the stub, on a clock of its own.
func onStub(t *testing.T, set func(*Config), f func(t *testing.T, c *Client, s *stub), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig("http://app")
		cfg.Timeouts = Default().Timeouts
		set(&cfg)
		s := &stub{answer: fresh5}
		c, err := New(cfg, append(opts, WithDial(s.dial))...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = c.Close()
			s.wg.Wait()
		}()
		f(t, c, s)
	})
}

func withBreaker(failures int) func(*Config) {
	return func(cfg *Config) { cfg.Breaker = Breaker{Failures: failures, Open: 5 * time.Second} }
}

// wantUnavailable checks that a request is refused for the time, without a dial.
func wantUnavailable(t *testing.T, c *Client, s *stub, after time.Duration) {
	t.Helper()
	before := s.dialled()
	got := get(c, "/refused")
	var u *UnavailableError
	if !errors.As(got.err, &u) || !errors.Is(got.err, ErrUnavailable) || u.After != after {
		t.Fatalf("got %+v, want ErrUnavailable for %v", got, after)
	}
	if errors.Is(got.err, ErrConnect) || errors.Is(got.err, ErrTimeout) {
		t.Errorf("%v is the failure of another request too", got.err)
	}
	if s.dialled() != before {
		t.Error("a connection was dialled")
	}
	if c.Stats().Up {
		t.Error("the client counts as up")
	}
}

var errNoRoute = errors.New("no route to host")

// TestBreakerOpens after failures in a row, of each kind that counts.
func TestBreakerOpens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		refuse error
		answer string
		opens  bool
	}{
		{"no connection", errNoRoute, "", true},
		{"reset", nil, "", true},
		{"timeout", nil, "hang", true},
		{"half a head", nil, "HTTP/1.1 200", true},
		{"500", nil, "HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false},
		{"not HTTP", nil, "220 mail ready\r\n", false},
		{"body cut short", nil, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nx", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onStub(t, func(cfg *Config) { withBreaker(3)(cfg); cfg.Timeouts.Idle = time.Second }, func(t *testing.T, c *Client, s *stub) {
				s.set(tt.refuse, tt.answer)
				for i := range 3 {
					if got := get(c, "/"); errors.Is(got.err, ErrUnavailable) {
						t.Fatalf("request %d: %+v", i, got)
					}
				}
				if tt.opens {
					wantUnavailable(t, c, s, 5*time.Second)
				} else if got := get(c, "/"); errors.Is(got.err, ErrUnavailable) || !c.Stats().Up {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// TestFailuresInARow: an answer in between begins the count anew.
func TestFailuresInARow(t *testing.T) {
	onStub(t, withBreaker(3), func(t *testing.T, c *Client, s *stub) {
		for range 4 {
			s.set(errNoRoute, "")
			get(c, "/")
			get(c, "/")
			s.set(nil, fresh5)
			if got := get(c, "/"); got.err != nil {
				t.Fatalf("%+v", got)
			}
		}
	})
}

// TestHalfOpen: after the pause one request at a time is let through.
func TestHalfOpen(t *testing.T) {
	var changes []string
	note := func(available bool, cause error) { changes = append(changes, fmt.Sprint(available, cause != nil)) }
	onStub(t, withBreaker(1), func(t *testing.T, c *Client, s *stub) {
		s.set(errNoRoute, "")
		get(c, "/")
		wantUnavailable(t, c, s, 5*time.Second)
		time.Sleep(2 * time.Second)
		wantUnavailable(t, c, s, 3*time.Second)
		time.Sleep(3 * time.Second)

		// The first trial fails: another pause.
		if got := get(c, "/"); !errors.Is(got.err, ErrConnect) {
			t.Fatalf("%+v", got)
		}
		wantUnavailable(t, c, s, 5*time.Second)
		time.Sleep(5 * time.Second)

		// While the second has no answer, others are refused; its answer closes the breaker.
		s.set(nil, "hang")
		trial := make(chan answer)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			var h fasthttp.ResponseHeader
			_, err := c.Do(ctx, &Request{Head: reqHead("GET", "/trial")}, &h)
			trial <- answer{err: err}
		}()
		synctest.Wait()
		wantUnavailable(t, c, s, 5*time.Second)
		cancel() // the caller gives up: that says nothing, and the next one may try
		if got := <-trial; !errors.Is(got.err, context.Canceled) {
			t.Fatalf("%+v", got)
		}
		s.set(nil, fresh5)
		for range 3 {
			if got := get(c, "/"); got.err != nil {
				t.Fatalf("%+v", got)
			}
		}
		if !c.Stats().Up {
			t.Error("the client does not count as up")
		}
	}, WithOnChange(note))
	if got := strings.Join(changes, ", "); got != "false true, true false" {
		t.Errorf("changes %s", got)
	}
}

// TestLongTrial: a trial that takes as long as a pause, such as an upload, does not
// keep all others out.
func TestLongTrial(t *testing.T) {
	onStub(t, withBreaker(1), func(t *testing.T, c *Client, s *stub) {
		s.set(errNoRoute, "")
		get(c, "/")
		time.Sleep(5 * time.Second)
		s.set(nil, "hang")
		long := make(chan answer, 1)
		go func() { long <- get(c, "/long") }()
		time.Sleep(5 * time.Second)
		s.set(nil, fresh5)
		if got := get(c, "/second"); got.err != nil {
			t.Fatalf("%+v", got)
		}
		// The first one ends in a timeout, long after: it is not in a row with anything,
		// but with a limit of 1 it counts.
		if got := <-long; !errors.Is(got.err, ErrTimeout) {
			t.Fatalf("%+v", got)
		}
		wantUnavailable(t, c, s, 5*time.Second)
	})
}

// TestLateFailures: requests that were under way when the breaker opened, and fail
// during the pause, do not make it longer.
func TestLateFailures(t *testing.T) {
	onStub(t, func(cfg *Config) {
		withBreaker(1)(cfg)
		cfg.Timeouts.ResponseHeader = 3 * time.Second
	}, func(t *testing.T, c *Client, s *stub) {
		s.set(nil, "hang")
		late := make(chan answer, 1)
		go func() { late <- get(c, "/late") }()
		synctest.Wait()
		s.set(errNoRoute, "")
		get(c, "/")
		if got := <-late; !errors.Is(got.err, ErrTimeout) {
			t.Fatalf("%+v", got)
		}
		wantUnavailable(t, c, s, 2*time.Second)
	})
}

// TestOwnPatienceIsNoEvidence: a request with less time than the settings give says
// nothing about the application when that time is over.
func TestOwnPatienceIsNoEvidence(t *testing.T) {
	onStub(t, withBreaker(1), func(t *testing.T, c *Client, s *stub) {
		s.set(nil, "hang")
		if got := do(c, &Request{Head: reqHead("GET", "/"), HeaderTimeout: time.Second}); !errors.Is(got.err, ErrTimeout) {
			t.Fatalf("%+v", got)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var h fasthttp.ResponseHeader
		if _, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h); !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		if !c.Stats().Up {
			t.Error("the breaker opened")
		}
	})
}

// TestStaleConnectionIsNoEvidence: a pooled connection that dies under a request that
// cannot be repeated.
func TestStaleConnectionIsNoEvidence(t *testing.T) {
	onStub(t, withBreaker(1), func(t *testing.T, c *Client, s *stub) {
		s.set(nil, ok5)
		if got := get(c, "/"); got.err != nil || c.Stats().Idle != 1 {
			t.Fatalf("%+v", got)
		}
		s.set(nil, "")
		if got := do(c, &Request{Head: reqHead("POST", "/", "Content-Length: 0")}); !errors.Is(got.err, ErrReset) || c.Stats().Reused != 1 {
			t.Fatalf("%+v, %+v", got, c.Stats())
		}
		if !c.Stats().Up {
			t.Error("the breaker opened")
		}
		get(c, "/") // on a fresh one it is evidence
		wantUnavailable(t, c, s, 5*time.Second)
	})
}

// TestUpgradeAndBreaker: an upgrade is a request like others to the breaker.
func TestUpgradeAndBreaker(t *testing.T) {
	onStub(t, withBreaker(1), func(t *testing.T, c *Client, s *stub) {
		upgrade := func() error {
			var h fasthttp.ResponseHeader
			nc, body, err := c.Upgrade(context.Background(), &Request{Head: reqHead("GET", "/", "Connection: upgrade", "Upgrade: x")}, &h)
			if nc != nil {
				_ = nc.Close()
			}
			if body != nil {
				_ = body.Close()
			}
			return err
		}
		s.set(errNoRoute, "")
		if err := upgrade(); !errors.Is(err, ErrConnect) {
			t.Fatal(err)
		}
		if err := upgrade(); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s.set(nil, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		if err := upgrade(); err != nil || !c.Stats().Up {
			t.Errorf("%v, %+v", err, c.Stats())
		}
	})
}

// TestUnavailableSays why and for how long.
func TestUnavailableSays(t *testing.T) {
	onStub(t, withBreaker(1), func(t *testing.T, c *Client, s *stub) {
		s.set(errNoRoute, "")
		get(c, "/")
		text := get(c, "/").err.Error()
		for _, want := range []string{"upstream http://app", "unavailable for another 5s", "no route to host"} {
			if !strings.Contains(text, want) {
				t.Errorf("%q lacks %q", text, want)
			}
		}
	})
}

func withHealth(h Health) func(*Config) { return func(cfg *Config) { cfg.Health = h } }

var testHealth = Health{Path: "/healthz", Interval: 5 * time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 2}

// TestHealthCheck: three failures in a row stop requests, two good checks in a row let
// them pass again.
func TestHealthCheck(t *testing.T) {
	const bad = "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	onStub(t, withHealth(testHealth), func(t *testing.T, c *Client, s *stub) {
		steps := []struct {
			refuse error
			answer string
			up     bool
		}{
			{nil, fresh5, true}, {nil, bad, true}, {nil, "HTTP/1.1 304 OK\r\n\r\n", true},
			{nil, bad, true}, {errNoRoute, "", true}, {nil, "hang", false}, {nil, "", false},
			{nil, fresh5, false}, {nil, bad, false}, {nil, "HTTP/1.1 399 Fine\r\n\r\n", false}, {nil, "HTTP/1.1 204 Fine\r\n\r\n", true},
			{nil, "not HTTP", true}, {nil, "HTTP/1.1 101 Switching Protocols\r\n\r\n", true}, {nil, "HTTP/1.1 404 No\r\n\r\n", false},
		}
		for i, step := range steps {
			s.set(step.refuse, step.answer)
			for got := c.Stats(); got.HealthGood+got.HealthBad <= uint64(i); got = c.Stats() {
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait() // the breaker was told
			if got := c.Stats(); got.Up != step.up {
				t.Fatalf("step %d: %+v", i, got)
			}
		}
		wantUnavailable(t, c, s, testHealth.Interval)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, path := range s.paths {
			if path != "/healthz" {
				t.Errorf("asked for %s", path)
			}
		}
	})
}

// TestHealthStaysOpen until the check is good, whatever the pause of the breaker.
func TestHealthStaysOpen(t *testing.T) {
	onStub(t, func(cfg *Config) { withHealth(testHealth)(cfg); withBreaker(1)(cfg) }, func(t *testing.T, c *Client, s *stub) {
		s.set(nil, "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
		time.Sleep(62 * time.Second) // between two checks
		// No request is a trial: the check is.
		wantUnavailable(t, c, s, testHealth.Interval)
		time.Sleep(time.Minute)
		wantUnavailable(t, c, s, testHealth.Interval)
		s.set(nil, fresh5)
		time.Sleep(2*testHealth.Interval + time.Second)
		if got := get(c, "/"); got.err != nil {
			t.Errorf("%+v", got)
		}
	})
}

// TestHealthyClosesTheBreaker that requests opened, before its pause is over.
func TestHealthyClosesTheBreaker(t *testing.T) {
	onStub(t, func(cfg *Config) {
		withHealth(testHealth)(cfg)
		cfg.Breaker = Breaker{Failures: 1, Open: time.Hour}
	}, func(t *testing.T, c *Client, s *stub) {
		time.Sleep(62 * time.Second) // between two checks
		s.set(errNoRoute, "")
		get(c, "/")
		wantUnavailable(t, c, s, time.Hour)
		s.set(nil, fresh5)
		time.Sleep(testHealth.Interval)
		synctest.Wait()
		if got := get(c, "/"); got.err != nil || !c.Stats().Up {
			t.Errorf("%+v", got)
		}
	})
}

// TestNumbersOfTheBreaker: what is counted, without an application.
func TestNumbersOfTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker
		b.init(Config{Breaker: Breaker{Failures: 3, Open: time.Minute}}, func(bool, error) {})
		fail := func(n int) {
			for range n {
				b.note(0, dead, errNoRoute)
			}
		}
		trial := func() uint64 {
			t.Helper()
			n, err := b.admit("", true)
			if n == 0 || err != nil {
				t.Fatalf("%d, %v", n, err)
			}
			return n
		}
		fail(2)
		b.well(b.generation()) // a good check does not forget what requests have seen
		fail(1)
		if !b.blocked.Load() {
			t.Fatal("closed after three failures")
		}
		time.Sleep(time.Minute)
		first := trial()
		time.Sleep(time.Minute)
		b.note(trial(), alive, nil)
		b.note(first, dead, errNoRoute) // of long ago, and one failure is not three
		if b.blocked.Load() {
			t.Error("open after one failure")
		}
		fail(2)
		if !b.blocked.Load() {
			t.Error("closed after three failures")
		}
	})
}

// TestOldCheckDoesNotClose: a check that began before requests opened the breaker.
func TestOldCheckDoesNotClose(t *testing.T) {
	var b breaker
	b.init(Config{Breaker: Breaker{Failures: 1, Open: time.Minute}}, func(bool, error) {})
	generation := b.generation()
	b.note(0, dead, errNoRoute)
	b.well(generation)
	if _, err := b.admit("", true); !errors.Is(err, ErrUnavailable) {
		t.Error("closed by what was seen before")
	}
	b.well(b.generation())
	if _, err := b.admit("", true); err != nil {
		t.Error(err)
	}
}

// TestHealthCheckEnds with the client, in the middle of a check.
func TestHealthCheckEnds(t *testing.T) {
	onStub(t, withHealth(testHealth), func(t *testing.T, c *Client, s *stub) {
		s.set(nil, "hang")
		synctest.Wait()
		began := time.Now()
		_ = c.Close()
		if took := time.Since(began); took != 0 || c.Stats().HealthBad != 0 {
			t.Errorf("Close took %v, %+v", took, c.Stats())
		}
	})
}
