package queueagent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

func TestGateOfAnApplicationThatIsAsked(t *testing.T) {
	g := newGate(true)
	now := time.Unix(1000, 0)
	if n, _, at := g.permit(now); n != 0 || !at.IsZero() {
		t.Fatalf("before the first answer: permits %d, at %s", n, at)
	}
	if at, open := g.probeTime(); !open || at.After(now) {
		t.Errorf("the first question is at %s, open %v: want at once", at, open)
	}
	for _, want := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if g.told(false, now) {
			t.Error("no for the second time opens it again")
		}
		at, _ := g.probeTime()
		if d := at.Sub(now); d > want*time.Millisecond || d < want*time.Millisecond*8/10 {
			t.Errorf("asked again in %s: want just below %dms", d, want)
		}
		now = at
		if n, _, _ := g.permit(now); n != 0 {
			t.Error("a task is spent as a probe")
		}
	}
	if !g.told(true, now) {
		t.Error("yes does not close it")
	}
	n, gen, _ := g.permit(now)
	if n != tasks.MaxBatch || g.isOpen() {
		t.Fatalf("ready: permits %d", n)
	}
	// The application says yes, but fails: the pace is kept.
	if !g.told(false, now) || g.interval != breakerMax {
		t.Errorf("no: interval %s: want %s", g.interval, breakerMax)
	}
	if g.report(gen, reachYes, now); !g.isOpen() {
		t.Error("a report from before closes it")
	}
	g.told(true, now)
	_, gen, _ = g.permit(now)
	g.report(gen, reachYes, now)
	if g.interval != 0 {
		t.Errorf("a success leaves the interval at %s", g.interval)
	}
	if !g.report(gen, reachNo, now) {
		t.Error("a refused connection does not open it")
	}
	select {
	case <-g.opened:
	default:
		t.Error("nobody is told that it has opened")
	}
}

// Every worker that asks gets the answer to a question asked after it, and questions
// are shared.
func TestReadinessIsShared(t *testing.T) {
	var asked atomic.Int64
	begun, answer := make(chan struct{}, 8), make(chan error)
	g := newGate(true)
	r := newReadiness(g, func(context.Context) error {
		asked.Add(1)
		begun <- struct{}{}
		return <-answer
	}, func(error) {})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.loop(ctx) }()
	<-begun // the first, before any claim
	got := make(chan bool, 3)
	for range 3 {
		go func() { got <- r.ready(ctx) }()
	}
	eventually(t, "three wait", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.waiting) == 3 })
	answer <- nil // too early for these
	<-begun
	select {
	case <-got:
		t.Error("a worker got an answer from before it asked")
	default:
	}
	answer <- errors.New("no")
	for range 3 {
		if <-got {
			t.Error("not ready, but a worker is told so")
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times: want 2", n)
	}
	if !g.isOpen() {
		t.Error("the breaker is closed")
	}
	<-begun // the open breaker asks by itself
	answer <- nil
	eventually(t, "the breaker closes", func() bool { return !g.isOpen() })
	cancel()
	<-ended
	if !r.ready(ctx) {
		t.Error("a worker that is being stopped is told that the application is not ready")
	}
}

// readySink answers /readyz by a switch, and tasks by another.
type readySink struct {
	*sink
	ready, healthy atomic.Bool
	asked          atomic.Int64
	posts          atomic.Int64
}

func newReadySink(t *testing.T) *readySink {
	s := &readySink{}
	s.sink = newSink(t, func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/readyz" {
			s.asked.Add(1)
			if !s.ready.Load() {
				ctx.SetStatusCode(503)
			}
			return
		}
		s.posts.Add(1)
		if !s.healthy.Load() {
			ctx.SetStatusCode(500)
		}
	})
	return s
}

// A sidecar that starts before its application spends no task on finding out.
func TestNothingIsClaimedBeforeTheApplicationIsReady(t *testing.T) {
	r := newRig(t, true)
	s := newReadySink(t)
	s.healthy.Store(true)
	cfg := testConfig("q", tasks.List, "l", s.url+"/tasks")
	cfg.Webhook.Ready = "/readyz"
	a := r.run([]Config{cfg})
	r.do("RPUSH", "l", "1")
	eventually(t, "it asks, and again", func() bool { return s.asked.Load() >= 3 })
	if st := a.Stats()[0]; st.Claimed != 0 || !st.BreakerOpen || st.LastError != kindNotReady {
		t.Errorf("%+v: want nothing claimed", st)
	}
	s.ready.Store(true)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	if n := s.posts.Load(); n != 1 {
		t.Errorf("%d posts: want 1", n)
	}
	asked := s.asked.Load()
	r.do("RPUSH", "l", "2")
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 2 })
	if n := s.asked.Load(); n != asked {
		t.Errorf("asked %d times more though nothing failed", n-asked)
	}
}

// Failures of an application that is not ready cost no attempt; of one that is, they
// do.
func TestReadinessExcusesAFailure(t *testing.T) {
	r := newRig(t, true)
	s := newReadySink(t)
	s.ready.Store(true)
	s.healthy.Store(true)
	cfg := testConfig("q", tasks.List, "l", s.url+"/tasks")
	cfg.Webhook.Ready, cfg.Retry.MaxAttempts, cfg.Concurrency = s.url+"/readyz", 1, 1
	a := r.run([]Config{cfg})
	r.do("RPUSH", "l", "1")
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	s.ready.Store(false)
	s.healthy.Store(false)
	r.do("RPUSH", "l", "2")
	eventually(t, "the breaker opens", func() bool { return a.Stats()[0].BreakerOpen })
	s.healthy.Store(true)
	s.ready.Store(true)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 2 })
	if st := a.Stats()[0]; st.Failed != 0 || st.DeadLettered != 0 {
		t.Errorf("%+v: want no failed attempt", st)
	}
	s.healthy.Store(false)
	r.do("RPUSH", "l", "3")
	eventually(t, "a task that fails in a ready application ends", func() bool { return a.Stats()[0].DeadLettered == 1 })
	if st := a.Stats()[0]; st.Failed != 1 || st.BreakerOpen {
		t.Errorf("%+v: want one failed attempt, and the breaker closed", st)
	}
}

// A refused connection is followed by questions, not by tasks.
func TestTheBreakerAsks(t *testing.T) {
	r := newRig(t, true)
	s := newReadySink(t)
	s.ready.Store(true)
	s.healthy.Store(true)
	cfg := testConfig("q", tasks.List, "l", "http://127.0.0.1:1/tasks") // nobody is there
	cfg.Webhook.Ready, cfg.Concurrency = s.url+"/readyz", 1
	a := r.run([]Config{cfg})
	eventually(t, "the first question", func() bool { return !a.Stats()[0].BreakerOpen })
	s.ready.Store(false)
	r.do("RPUSH", "l", "1", "2", "3")
	eventually(t, "it asks", func() bool { return s.asked.Load() >= 4 && a.Stats()[0].BreakerOpen })
	if n := a.Stats()[0].Claimed; n != 1 {
		t.Errorf("%d tasks claimed while the breaker is open: want 1", n)
	}
}

// A shutdown ends a question, and what waits for it.
func TestShutdownWhileAsking(t *testing.T) {
	r := newRig(t, true)
	hold := make(chan struct{})
	var asked atomic.Int64
	s := newSink(t, func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/readyz" && asked.Add(1) > 1 {
			<-hold
		}
		ctx.SetStatusCode(200)
		if string(ctx.Path()) == "/tasks" {
			ctx.SetStatusCode(500)
		}
	})
	defer close(hold)
	cfg := testConfig("q", tasks.List, "l", s.url+"/tasks")
	cfg.Webhook.Ready = "/readyz"
	a := r.run([]Config{cfg})
	r.do("RPUSH", "l", "1")
	eventually(t, "it asks about the failure", func() bool { return asked.Load() == 2 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := a.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if st := a.Stats()[0]; st.InFlight != 0 || st.Retries != 1 {
		t.Errorf("%+v: want the task given back as a failed attempt", st)
	}
}
