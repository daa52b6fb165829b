package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// errRefused is what a dial gives where nobody listens.
var errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

func withWait(d time.Duration) func(*Config) { return func(cfg *Config) { cfg.Wait = d } }

// TestWaitForTheApplication: the request is answered when the application comes up,
// after dials with growing pauses.
func TestWaitForTheApplication(t *testing.T) {
	onStub(t, withWait(time.Minute), func(t *testing.T, c *Client, s *stub) {
		s.set(errRefused, "")
		got := make(chan answer, 1)
		go func() { got <- get(c, "/") }()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		// At 0, 10, 30, 70, 150, 310 ms, then every 250 ms.
		if n := s.dialled(); n != 6+(5000-310)/250 {
			t.Errorf("%d dials in 5 s", n)
		}
		s.set(nil, fresh5)
		if a := <-got; a.err != nil || a.body != "hello" {
			t.Errorf("%+v", a)
		}
		if s := c.Stats(); s.Open != 0 || s.DialErrors != 24 || s.Dials != 1 {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestWaitEnds: what is not waited for, and what ends a wait.
func TestWaitEnds(t *testing.T) {
	t.Run("time", func(t *testing.T) {
		onStub(t, withWait(time.Second), func(t *testing.T, c *Client, s *stub) {
			s.set(errRefused, "")
			began := time.Now()
			got := get(c, "/")
			if !errors.Is(got.err, ErrConnect) || !errors.Is(got.err, syscall.ECONNREFUSED) || !strings.Contains(got.err.Error(), "waited for 1s, upstream.wait") || time.Since(began) != time.Second {
				t.Errorf("%v after %v", got.err, time.Since(began))
			}
		})
	})
	t.Run("another failure", func(t *testing.T) {
		onStub(t, withWait(time.Minute), func(t *testing.T, c *Client, s *stub) {
			s.set(errNoRoute, "")
			if got := get(c, "/"); !errors.Is(got.err, ErrConnect) || s.dialled() != 1 {
				t.Errorf("%v after %d dials", got.err, s.dialled())
			}
		})
	})
	t.Run("off", func(t *testing.T) {
		onStub(t, withWait(0), func(t *testing.T, c *Client, s *stub) {
			s.set(errRefused, "")
			if got := get(c, "/"); !errors.Is(got.err, ErrConnect) || s.dialled() != 1 {
				t.Errorf("%v after %d dials", got.err, s.dialled())
			}
		})
	})
	t.Run("context", func(t *testing.T) {
		onStub(t, withWait(time.Minute), func(t *testing.T, c *Client, s *stub) {
			s.set(errRefused, "")
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			var h fasthttp.ResponseHeader
			if _, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	})
	t.Run("shutdown", func(t *testing.T) {
		onStub(t, withWait(time.Minute), func(t *testing.T, c *Client, s *stub) {
			s.set(errRefused, "")
			got := make(chan answer, 1)
			go func() { got <- get(c, "/") }()
			synctest.Wait()
			began := time.Now()
			if err := c.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if a := <-got; !errors.Is(a.err, ErrClosed) || time.Since(began) != 0 {
				t.Errorf("%+v after %v", a, time.Since(began))
			}
		})
	})
	t.Run("open breaker", func(t *testing.T) {
		onStub(t, func(cfg *Config) { withWait(time.Second)(cfg); withBreaker(1)(cfg) }, func(t *testing.T, c *Client, s *stub) {
			s.set(errRefused, "")
			get(c, "/")
			wantUnavailable(t, c, s, 5*time.Second)
		})
	})
}

// TestWaitingDoNotHerd: many requests that wait dial as one.
func TestWaitingDoNotHerd(t *testing.T) {
	const requests = 100
	onStub(t, func(cfg *Config) { cfg.Wait, cfg.MaxConnections = time.Minute, requests }, func(t *testing.T, c *Client, s *stub) {
		s.set(errRefused, "")
		got := make(chan answer, requests)
		go func() { got <- get(c, "/0") }()
		synctest.Wait() // the outage has begun
		for i := 1; i < requests; i++ {
			go func() { got <- get(c, fmt.Sprint("/", i)) }()
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n := s.dialled(); n != 24 {
			t.Errorf("%d dials of %d requests, want those of one", n, requests)
		}
		s.set(nil, fresh5)
		for range requests {
			if a := <-got; a.err != nil {
				t.Fatal(a.err)
			}
		}
		if n := s.dialled(); n != 24+requests {
			t.Errorf("%d dials in all", n)
		}
		if c.outages.now != nil {
			t.Error("the outage has not ended")
		}
	})
}

// TestLeadIsHandedOn: the request that dials gives up, and another one goes on.
func TestLeadIsHandedOn(t *testing.T) {
	onStub(t, withWait(time.Minute), func(t *testing.T, c *Client, s *stub) {
		s.set(errRefused, "")
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error, 1)
		go func() {
			var h fasthttp.ResponseHeader
			_, err := c.Do(ctx, &Request{Head: reqHead("GET", "/leader")}, &h)
			gone <- err
		}()
		synctest.Wait()
		got := make(chan answer, 1)
		go func() { got <- get(c, "/follower") }()
		time.Sleep(time.Second)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		s.set(nil, fresh5)
		began := time.Now()
		if a := <-got; a.err != nil || time.Since(began) > maxPause {
			t.Errorf("%+v after %v", a, time.Since(began))
		}
	})
}

// TestOutageEndsWithItsLastRequest: a request that comes later dials at once.
func TestOutageEndsWithItsLastRequest(t *testing.T) {
	onStub(t, withWait(time.Second), func(t *testing.T, c *Client, s *stub) {
		s.set(errRefused, "")
		get(c, "/")
		s.set(nil, fresh5)
		began := time.Now()
		if a := get(c, "/"); a.err != nil || time.Since(began) != 0 {
			t.Errorf("%+v after %v", a, time.Since(began))
		}
	})
}

// TestWaitForAConnectionWhileOthersWait: with all connections taken by requests that
// wait for the application, one more waits as long as they do.
func TestWaitForAConnectionWhileOthersWait(t *testing.T) {
	onStub(t, func(cfg *Config) { cfg.Wait, cfg.MaxConnections = time.Minute, 1 }, func(t *testing.T, c *Client, s *stub) {
		s.set(errRefused, "")
		got := make(chan answer, 2)
		go func() { got <- get(c, "/0") }()
		synctest.Wait()
		go func() { got <- get(c, "/1") }()
		time.Sleep(30 * time.Second)
		s.set(nil, fresh5)
		for range 2 {
			if a := <-got; a.err != nil {
				t.Error(a.err)
			}
		}
	})
}

// TestWaitForASocket that does not exist yet, for real.
func TestWaitForASocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "wait")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	cfg := testConfig("unix://" + path)
	cfg.Wait = patience
	c := newClient(t, cfg)
	got := make(chan answer, 1)
	go func() { got <- get(c, "/") }()
	until(t, "a dial failed", func() bool { return c.Stats().DialErrors > 0 })
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte(fresh5)); err != nil {
		t.Fatal(err)
	}
	if a := <-got; a.err != nil || a.body != "hello" {
		t.Errorf("%+v", a)
	}
}
