package queueagent

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

func TestShutdownGivesBackWithoutAnAttempt(t *testing.T) {
	r := newRig(t, true)
	release := make(chan struct{})
	s := newSink(t, func(ctx *fasthttp.RequestCtx) { <-release })
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Concurrency = 3
	a, err := New([]Config{cfg}, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(context.Background()) }()
	r.do("RPUSH", "l", "1", "2", "3", "4", "5")
	eventually(t, "three hang", func() bool { return len(s.seen()) == 3 })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := a.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	close(release)
	store := a.queues[0].store
	if r.int("ZCARD", store.Keys.Leases) != 0 || r.int("ZCARD", store.Keys.Retry) != 3 || r.int("LLEN", "l") != 2 {
		t.Error("want no lease, 3 given back, 2 untouched")
	}
	again := mustClaim(t, r.store("b", tasks.List, "l", time.Minute), 1, 5)
	if len(again.Tasks) != 5 {
		t.Fatalf("claimed %d: want 5", len(again.Tasks))
	}
	for _, task := range again.Tasks {
		if task.Attempts != 0 || task.Abandons != 0 || task.Reason != tasks.First {
			t.Errorf("%+v: want as new", task)
		}
	}
	if err := a.Run(context.Background()); err == nil {
		t.Error("Run can be called twice")
	}
}

func TestShutdownLetsDeliveriesEnd(t *testing.T) {
	r := newRig(t, false) // an idle blocked connection must end too
	s := newSink(t, func(ctx *fasthttp.RequestCtx) { time.Sleep(100 * time.Millisecond) })
	a, err := New([]Config{testConfig("q", tasks.List, "l", s.url), testConfig("z", tasks.Delay, "z", s.url)}, r.redis, "t:", "agent-1", zerolog.Nop(), WithGrace(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r.do("RPUSH", "l", "1", "2")
	eventually(t, "under way", func() bool { return len(s.seen()) == 2 })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if st := a.Stats()[0]; st.Delivered != 2 || st.InFlight != 0 {
		t.Errorf("%+v: want both delivered", st)
	}
	r.wantEmpty(a.queues[0].store)
	// Run has waited for each of them; one that has said so may still be on its way out.
	eventually(t, "no goroutine is left", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return !bytes.Contains(stacks, []byte("queueagent.(*queue)")) && !bytes.Contains(stacks, []byte("queueagent.(*Agent)"))
	})
}

// Redis goes away and comes back, empty but for what the AOF kept.
func TestRedisRestart(t *testing.T) {
	for _, tracking := range []bool{true, false} {
		t.Run(fmt.Sprintf("tracking %v", tracking), func(t *testing.T) {
			r := newRig(t, tracking, "--appendonly", "yes", "--appendfsync", "always")
			s := newSink(t, status(200))
			var logs lockedBuffer
			cfgs := []Config{testConfig("q", tasks.List, "l", s.url), testConfig("z", tasks.Delay, "z", s.url)}
			a, err := New(cfgs, r.redis, "t:", "agent-1", zerolog.New(&logs))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- a.Run(context.Background()) }()
			r.do("RPUSH", "l", "1")
			r.do("ZADD", "z", "0", "1")
			eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 && a.Stats()[1].Delivered == 1 })
			for i := 2; i <= 3; i++ {
				r.srv.Kill()
				eventually(t, "the outage is noticed", func() bool { return strings.Count(logs.String(), "wait for redis") == i-1 })
				if err := r.srv.Restart(); err != nil {
					t.Fatal(err)
				}
				push := func(args ...string) {
					if line, err := r.srv.Command(args...); err != nil || line[0] == '-' {
						t.Fatal(line, err)
					}
				}
				push("RPUSH", "l", strconv.Itoa(i))
				push("ZADD", "z", "0", strconv.Itoa(i))
				eventually(t, "delivered after the outage", func() bool {
					return a.Stats()[0].Delivered == uint64(i) && a.Stats()[1].Delivered == uint64(i)
				})
			}
			if err := a.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if n := strings.Count(logs.String(), "redis answers"); n != 2 {
				t.Errorf("%d times logged that redis answers: want 2\n%s", n, logs.String())
			}
		})
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestSourceOfTheWrongTypeIsReportedOnceAndRecovers(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	var logs lockedBuffer
	a, err := New([]Config{testConfig("q", tasks.List, "x", s.url)}, r.redis, "t:", "agent-1", zerolog.New(&logs))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = a.Run(context.Background()) }()
	defer func() { _ = a.Shutdown(context.Background()) }()
	r.do("SET", "x", "1")
	r.do("DEL", "x")
	r.do("ZADD", "x", "1", "m")
	eventually(t, "reported", func() bool { return strings.Contains(logs.String(), "cannot be read") })
	eventually(t, "tried twice", func() bool { return r.int("ZCARD", "x") == 1 && a.Stats()[0].LastError == "source" })
	r.do("DEL", "x")
	r.do("RPUSH", "x", "1")
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	if n := strings.Count(logs.String(), "cannot be read"); n != 1 {
		t.Errorf("reported %d times: want 1", n)
	}
}

// A POST whose lease runs out is cut short before somebody else may start another;
// one whose lease is renewed may take longer than the lease.
func TestLeasesAreRenewedOrThePostIsCut(t *testing.T) {
	t.Parallel() // it waits for leases most of the time
	r := newRig(t, true)
	work := make(chan struct{})
	s := newSink(t, func(ctx *fasthttp.RequestCtx) { <-work })
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Webhook.Timeout = patience
	cfg.Lease = 3 * time.Second // a machine that stands still for half of that would lose one
	a := r.run([]Config{cfg})
	other := r.store("b", tasks.List, "l", time.Minute)
	ends := func() float64 {
		t.Helper()
		lease, err := r.do("ZRANGE", other.Keys.Leases, "0", "0", "WITHSCORES").AsZScores()
		if err != nil || len(lease) != 1 {
			t.Fatal(lease, err)
		}
		return lease[0].Score
	}
	r.do("RPUSH", "l", "1")
	eventually(t, "under way", func() bool { return len(s.seen()) == 1 })
	first := ends()
	eventually(t, "the first lease is over", func() bool {
		if got, err := other.Reap(context.Background(), nil); err != nil || got.Taken != 0 {
			t.Fatalf("the lease ran out: %+v, %v", got, err)
		}
		return float64(time.Now().UnixMilli()) > first
	})
	work <- struct{}{}
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })

	r.do("RPUSH", "l", "2")
	eventually(t, "under way", func() bool { return len(s.seen()) == 2 })
	lease := ends()
	if err := r.srv.Pause(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the post is cut short", func() bool { return a.Stats()[0].LastError == "lease_over" || a.Stats()[0].Failed > 0 })
	if now := float64(time.Now().UnixMilli()); now > lease+float64(cfg.Lease.Milliseconds()) {
		t.Errorf("cut %v ms after the lease that was read", now-lease)
	}
	if err := r.srv.Resume(); err != nil {
		t.Fatal(err)
	}
	close(work)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 2 })
}

func TestALostLeaseEndsThePost(t *testing.T) {
	t.Parallel() // it waits for a lease most of the time
	r := newRig(t, true)
	work := make(chan struct{})
	s := newSink(t, func(ctx *fasthttp.RequestCtx) { <-work })
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Webhook.Timeout = patience
	cfg.Lease = 3 * time.Second
	a := r.run([]Config{cfg})
	other := r.store("b", tasks.List, "l", time.Minute)
	r.do("RPUSH", "l", "1")
	eventually(t, "under way", func() bool { return len(s.seen()) == 1 })
	held, err := r.do("ZRANGE", other.Keys.Leases, "0", "-1").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	r.do("ZREM", other.Keys.Leases, held[0])
	eventually(t, "it gives up", func() bool { return a.Stats()[0].LastError == "lease_lost" && a.Stats()[0].InFlight == 0 })
	close(work)
	if a.Stats()[0].Delivered != 0 || r.int("ZCARD", other.Keys.Retry) != 0 {
		t.Error("it changed a task that is not its own")
	}
}

func TestARestartedAgentTakesOverAtOnce(t *testing.T) {
	r := newRig(t, true)
	old := r.store("agent-1", tasks.List, "l", time.Hour)
	r.do("RPUSH", "l", "1", "2")
	mustClaim(t, old, 1, 2) // and it dies
	s := newSink(t, nil)
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url)})
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 2 })
	for _, p := range s.seen() {
		if p.header["Pillion-Reason"] != "crash" || p.header["Pillion-Attempt"] != "1" {
			t.Errorf("reason %s, attempt %s: want crash, 1", p.header["Pillion-Reason"], p.header["Pillion-Attempt"])
		}
	}
	if st := a.Stats()[0]; st.Redelivered != 2 {
		t.Errorf("%+v", st)
	}
}

func TestNoRedisYet(t *testing.T) {
	r := newRig(t, true)
	r.redis.isDown.Store(true)
	s := newSink(t, nil)
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url)})
	r.do("RPUSH", "l", "1")
	before := r.int("EVAL", countCommands, "0")
	time.Sleep(300 * time.Millisecond) // that nothing happens takes time to see
	if n := r.int("EVAL", countCommands, "0") - before; n != 0 || len(s.seen()) != 0 {
		t.Errorf("%d commands while redis is down", n)
	}
	r.redis.isDown.Store(false)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
}

// What Redis refuses to every script is said once, not by each script in turn.
func TestARefusalIsLoggedOnce(t *testing.T) {
	r := newRig(t, true)
	release := make(chan struct{})
	s := newSink(t, func(*fasthttp.RequestCtx) { <-release })
	var logs lockedBuffer
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Lease = 600 * time.Millisecond
	a, err := New([]Config{cfg}, r.redis, "t:", "agent-1", zerolog.New(&logs))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(context.Background()) }()
	r.do("RPUSH", "l", "1")
	eventually(t, "it is delivered", func() bool { return len(s.seen()) == 1 })
	r.do("CONFIG", "SET", "min-replicas-to-write", "1")
	refused := func() (n int) {
		info, err := r.do("INFO", "errorstats").ToString()
		if err != nil {
			t.Fatal(err)
		}
		_, count, _ := strings.Cut(info, "errorstat_NOREPLICAS:count=")
		_, _ = fmt.Sscan(count, &n)
		return n
	}
	eventually(t, "renewals are refused", func() bool { return refused() >= 5 })
	close(release)
	eventually(t, "other scripts are", func() bool { return refused() >= 20 })
	r.do("CONFIG", "SET", "min-replicas-to-write", "0")
	eventually(t, "it is delivered in the end", func() bool { return r.int("EXISTS", a.queues[0].store.Keys.Records) == 0 })
	if err := a.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-done
	if n := strings.Count(logs.String(), "refuses"); n != 1 {
		t.Errorf("it is said %d times:\n%s", n, logs.String())
	}
}
