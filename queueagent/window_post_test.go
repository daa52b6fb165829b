package queueagent

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// rawApp accepts connections and gives them to the test.
func rawApp(t *testing.T) (addr string, conns <-chan net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, done := make(chan net.Conn, 16), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			c <- conn
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String(), c
}

// accept gives the next connection, closed with the test.
func accept(t *testing.T, conns <-chan net.Conn) net.Conn {
	t.Helper()
	select {
	case c := <-conns:
		t.Cleanup(func() { _ = c.Close() })
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("no connection within 20s")
	}
	return nil
}

// The agent has the task and is killed before the request is written: here in the
// middle of the TLS handshake.
func TestWindowKilledBeforePost(t *testing.T) {
	forKinds(t, nil, func(w *window) {
		addr, conns := rawApp(t)
		w.cfg.Webhook.URL = "https://" + addr
		w.push("a")
		kill := w.start()
		hello := make([]byte, 1)
		if _, err := io.ReadFull(accept(t, conns), hello); err != nil || hello[0] != 22 {
			t.Fatalf("%d, %v: want a TLS handshake", hello, err)
		}
		kill()
		w.succeed()
		w.settled()
		w.flushed()
		w.want("a", "crash 1")
	})
}

// The agent is killed when the application has half of the request, or all of it and
// is working.
func TestWindowKilledDuringPost(t *testing.T) {
	for _, half := range []bool{true, false} {
		t.Run(map[bool]string{true: "half", false: "whole"}[half], func(t *testing.T) {
			forKinds(t, nil, func(w *window) {
				addr, conns := rawApp(t)
				w.cfg.Webhook.URL = "http://" + addr
				body := strings.Repeat("a", 8<<20) // more than the sockets buffer
				if !half {
					body = "a"
				}
				w.push(body)
				kill := w.start()
				c := accept(t, conns)
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.CopyN(io.Discard, req.Body, min(int64(len(body)), 1000)); err != nil {
					t.Fatal(err)
				}
				kill()
				w.succeed()
				w.settled()
				w.flushed()
				if id := w.want(body, "crash 1"); id != req.Header.Get("webhook-id") {
					t.Errorf("webhook-id %s: want that of the delivery before, %s", id, req.Header.Get("webhook-id"))
				}
			})
		})
	}
}

// snapshot starts a second Redis with what is in the first now.
func (w *window) snapshot() *redisproc.Server {
	w.t.Helper()
	w.do("SAVE")
	from, _ := w.do("CONFIG", "GET", "dir").AsStrMap()
	dump, err := os.ReadFile(filepath.Join(from["dir"], "dump.rdb"))
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dump.rdb"), dump, 0o600); err != nil {
		w.t.Fatal(err)
	}
	srv, err := redisproc.Start(redisproc.Options{TCP: true, Dir: dir})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = srv.Stop() })
	return srv
}

// failover makes the copy the Redis of the agent and of the test.
func (w *window) failover(to *redisproc.Server) {
	w.t.Helper()
	w.proxy.Retarget(to.Addr)
	w.srv.Kill()
	w.rig.srv, w.rig.c = to, redistest.Client(w.t, to)
}

// runBehind starts an agent in this process behind the proxy, so that its numbers can
// be read.
func (w *window) runBehind() *Agent {
	w.t.Helper()
	f, err := newFake(w.proxy.Addr, true)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(f.client.Close)
	r := &rig{tb: w.t, srv: w.srv, redis: f, c: w.c}
	return r.run([]Config{w.cfg})
}

// A failover takes Redis back to before the claim: the task is in its source again, the
// acknowledgement finds nothing, which is counted, and the task comes once more. Its
// source has no id to keep, so it comes under a new one.
func TestWindowFailoverLosesTheClaim(t *testing.T) {
	forKinds(t, nil, func(w *window) {
		entered, release := make(chan struct{}, 16), make(chan struct{})
		w.sink.answer = func(*fasthttp.RequestCtx) { entered <- struct{}{}; <-release }
		w.push("a")
		before := w.snapshot()
		a := w.runBehind()
		<-entered
		w.failover(before)
		close(release)
		eventually(t, "the acknowledgement is unknown", func() bool { return a.Stats()[0].UnknownAcks == 1 })
		w.settled()
		w.flushed()
		var ids []string
		for _, p := range w.sink.seen() {
			if p.body == "a" {
				ids = append(ids, p.header["webhook-id"])
				if p.header["Pillion-Reason"] != "first" {
					t.Errorf("reason %s: want first", p.header["Pillion-Reason"])
				}
			}
		}
		if len(ids) != 2 || ids[0] == ids[1] {
			t.Errorf("delivered as %q: want twice, under two ids", ids)
		}
	})
}

// A failover takes Redis back to before the acknowledgement: nobody renews the lease
// that is there again, so it ends and the task comes once more, under its id.
func TestWindowFailoverLosesTheAck(t *testing.T) {
	forKinds(t, nil, func(w *window) {
		entered, release := make(chan struct{}, 16), make(chan struct{})
		w.sink.answer = func(*fasthttp.RequestCtx) { entered <- struct{}{}; <-release }
		w.cfg.Lease = 2 * time.Second
		w.push("a")
		a := w.runBehind()
		<-entered
		before := w.snapshot()
		close(release)
		eventually(t, "acknowledged", func() bool { return a.Stats()[0].Delivered == 1 })
		w.failover(before)
		w.settled()
		w.flushed()
		w.want("a", "first 1", "crash 1")
	})
}

// A failover takes Redis back to before a failed attempt was written.
func TestWindowFailoverLosesTheNack(t *testing.T) {
	entered, release := make(chan struct{}, 16), make(chan struct{})
	w := newWindow(t, tasks.List, nil)
	fail := failFirst(500)
	w.sink.answer = func(ctx *fasthttp.RequestCtx) { entered <- struct{}{}; <-release; fail(ctx) }
	w.cfg.Lease, w.cfg.Retry.Min, w.cfg.Retry.Max = 2*time.Second, time.Minute, time.Minute
	w.push("a")
	a := w.runBehind()
	<-entered
	before := w.snapshot()
	close(release)
	eventually(t, "the attempt has failed", func() bool { return a.Stats()[0].Retries == 1 })
	w.failover(before)
	w.settled()
	w.flushed()
	w.want("a", "first 1", "crash 1")
}

// An agent stands still for longer than its leases (SIGSTOP) in the middle of four
// deliveries. Another takes the tasks over: two are done, two still under way, when the
// first goes on. What it finds then comes too late: it changes nothing of them.
func TestWindowStoppedForLongerThanALease(t *testing.T) {
	forKinds(t, nil, func(w *window) {
		late, held, together := make(chan struct{}), make(chan struct{}), make(chan struct{}, 4)
		w.sink.answer = func(ctx *fasthttp.RequestCtx) {
			body, reason := string(ctx.Request.Body()), string(ctx.Request.Header.Peek("Pillion-Reason"))
			switch {
			case body == "last":
			case strings.HasPrefix(body, "more"):
				together <- struct{}{}
				<-held
			case reason == "first":
				<-late
				ctx.SetStatusCode(fasthttp.StatusInternalServerError)
			case body == "c" || body == "d":
				<-held
			}
		}
		w.cfg.Lease, w.cfg.Concurrency = 2*time.Second, 4
		w.push("a", "b", "c", "d")
		p, _ := childProcess(t, childConfig{Addr: w.proxy.Addr, Tracking: true, Queues: []Config{w.cfg}})
		eventually(t, "four deliveries are under way", func() bool { return len(w.sink.seen()) == 4 })
		if err := p.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		w.cfg.Concurrency = 2
		child(t, childConfig{Addr: w.srv.Addr, Agent: "other", Tracking: true, Queues: []Config{w.cfg}})
		eventually(t, "the other has them", func() bool { return len(w.sink.seen()) == 8 && w.int("HLEN", w.keys.Records) == 2 })
		close(late)
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		// The other has no slot free, so these are for the first: when they are under way
		// all at once, each of its late results is written.
		w.push("more1", "more2", "more3", "more4")
		for range 4 {
			select {
			case <-together:
			case <-time.After(20 * time.Second):
				t.Fatal("the first agent does not go on")
			}
		}
		close(held)
		w.settled()
		w.flushed()
		for _, body := range []string{"a", "b", "c", "d"} {
			w.want(body, "first 1", "crash 1")
		}
		for _, body := range []string{"more1", "more2", "more3", "more4"} {
			w.want(body, "first 1")
		}
		w.wantDeadLetters(0)
	})
}

// A process that stood still must not take its own late dial for an application that
// is away.
func TestNoPostBeginsAfterTheLease(t *testing.T) {
	now := time.Now()
	d := &delivery{margin: time.Second, leaseUntil: now.Add(500 * time.Millisecond)}
	if _, err := d.Begin(now.Add(time.Minute)); err != errLeaseOver {
		t.Errorf("Begin gives %v: want errLeaseOver", err)
	}
	d.renewed(now.Add(time.Minute))
	if until, err := d.Begin(now.Add(time.Hour)); err != nil || !until.Equal(now.Add(59*time.Second)) {
		t.Errorf("Begin gives %s, %v: want the lease less its margin", until, err)
	}
}
