package queueagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// While an agent works at full speed, with failures, dead letters, hand-overs and leases
// that end, fsck finds nothing; and nothing is lost.
func TestFsckOfALiveQueueHasNoFalseAlarm(t *testing.T) {
	r := newRig(t, true)
	var n atomic.Int64
	s := newSink(t, func(ctx *fasthttp.RequestCtx) {
		switch i := n.Add(1); {
		case i%50 == 0:
			ctx.SetStatusCode(410)
		case i%7 == 0:
			ctx.SetStatusCode(500)
		case i%11 == 0:
			ctx.SetStatusCode(202)
			ctx.Response.Header.Set("Pillion-Lease", "1")
		}
	})
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Concurrency, cfg.Retry.MaxAttempts = 32, 50
	cfg.Retry.Min, cfg.Retry.Max = time.Millisecond, 20*time.Millisecond
	a := r.run([]Config{cfg})
	const total = 6000
	var feed sync.WaitGroup
	feed.Go(func() {
		for i := range total / 50 {
			batch := []string{"RPUSH", "l"}
			for j := range 50 {
				batch = append(batch, strconv.Itoa(i*50+j))
			}
			r.do(batch...)
		}
	})
	checks := 0
	for done := false; !done; {
		reports, err := Fsck(context.Background(), []Config{cfg}, r.redis, "t:", checks%2 == 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, rep := range reports {
			for _, f := range rep.Findings {
				if f.Level != tasks.Info {
					t.Fatalf("check %d: %+v", checks, f)
				}
			}
		}
		checks++
		st := a.Stats()[0]
		done = st.Delivered+st.DeadLettered >= total/2
	}
	feed.Wait()
	t.Logf("%d checks, %d deliveries", checks, n.Load())
	if checks < 3 {
		t.Errorf("%d checks while it ran: want more", checks)
	}
}

func TestAReplayIsDeliveredAtOnce(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, status(410, 410, 410, 200))
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url)})
	r.do("RPUSH", "l", "1", "2", "3")
	eventually(t, "all are dead", func() bool { return a.Stats()[0].DeadLettered == 3 })
	ctx := context.Background()
	page, err := a.DeadLetters(ctx, "q", tasks.DeadQuery{})
	if err != nil || len(page.Letters) != 3 || page.Letters[0].Reason != "gone" {
		t.Fatal(page, err)
	}
	one := page.Letters[0]
	if d, found, err := a.DeadLetter(ctx, "q", one.Entry); err != nil || !found || d.Payload != one.Payload {
		t.Error(d, found, err)
	}
	if got, err := a.DeleteDead(ctx, "q", []tasks.EntryID{page.Letters[1].Entry}, tasks.DeadFilter{}); err != nil || got.Changed != 1 {
		t.Error(got, err)
	}
	if got, err := a.Replay(ctx, "q", []tasks.EntryID{one.Entry, page.Letters[1].Entry}, tasks.DeadFilter{}); err != nil || got.Changed != 1 {
		t.Error(got, err)
	}
	eventually(t, "the replayed one is delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	if got, err := a.Replay(ctx, "q", nil, tasks.DeadFilter{Reason: "gone"}); err != nil || got.Changed != 1 || !got.Done {
		t.Error(got, err)
	}
	eventually(t, "the other too", func() bool { return a.Stats()[0].Delivered == 2 })
	posts := s.seen()
	if p := posts[3]; p.header["Pillion-Reason"] != "replay" || p.header["Pillion-Attempt"] != "1" || p.header["webhook-id"] != one.ID || p.body != one.Payload {
		t.Errorf("%s again: %v", p.body, p.header)
	}
	if len(posts) != 5 || r.int("XLEN", a.queues[0].store.Keys.Dead) != 0 {
		t.Errorf("%d posts: want 5", len(posts))
	}
}

func TestPauseAndResume(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url)})
	ctx := context.Background()
	if err := a.Pause(ctx, "q"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it notices", func() bool {
		r.do("RPUSH", "l", "1")
		return a.Stats()[0].Paused
	})
	infos, err := a.Queues(ctx)
	if err != nil || len(infos) != 1 || infos[0].Depth == nil || !infos[0].Depth.Paused || infos[0].Source != "l" || infos[0].Webhook != s.url {
		t.Fatalf("%+v, %v", infos, err)
	}
	before := a.Stats()[0].Delivered
	if err := a.Resume(ctx, "q"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it goes on", func() bool { return a.Stats()[0].Delivered > before && r.int("LLEN", "l") == 0 })
}

func TestWhatIsSaidOfATask(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	a, err := New([]Config{testConfig("q", tasks.List, "l", "http://127.0.0.1:1/")}, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	st := a.queues[0].store
	seq := uint64(0)
	claim := func() tasks.Task {
		r.do("RPUSH", "l", "x")
		seq++
		return mustClaim(t, st, seq, 1).Tasks[0]
	}
	say := func(id, token string, act tasks.Action, after time.Duration) error {
		return a.Resolve(ctx, "q", tasks.Resolution{ID: id, Token: token, Action: act, After: after, Reason: "rejected", Detail: "why"})
	}
	due := func(task tasks.Task) bool { return r.do("ZSCORE", st.Keys.Retry, task.ID).Error() == nil }
	leased := func(task tasks.Task) bool { return r.do("ZSCORE", st.Keys.Leases, task.Member).Error() == nil }
	for _, asOperator := range []bool{false, true} {
		token := func(task tasks.Task) string {
			if asOperator {
				return ""
			}
			return task.Token()
		}
		one := claim()
		if err := say(one.ID, "wrong", tasks.ActAck, 0); !errors.Is(err, ErrNoLease) {
			t.Error("a wrong token:", err)
		}
		if err := say(one.ID, token(one), tasks.ActExtend, time.Hour); err != nil || r.int("ZCOUNT", st.Keys.Leases, strconv.FormatInt(time.Now().Add(50*time.Minute).UnixMilli(), 10), "+inf") != 1 {
			t.Error("extend:", err)
		}
		if err := say(one.ID, token(one), tasks.ActAck, 0); err != nil || leased(one) {
			t.Error("ack:", err)
		}
		want := ErrNoLease
		if asOperator {
			want = ErrNoTask
		}
		if err := say(one.ID, token(one), tasks.ActAck, 0); !errors.Is(err, want) {
			t.Error("ack again:", err)
		}
		if err := say(one.ID, token(one), tasks.ActRelease, 0); !errors.Is(err, want) {
			t.Error("release what is gone:", err)
		}
		two := claim()
		if err := say(two.ID, token(two), tasks.ActRetry, time.Hour); err != nil || !due(two) || leased(two) {
			t.Error("retry:", err)
		}
		if asOperator {
			if err := say(two.ID, "", tasks.ActAck, 0); err != nil || due(two) {
				t.Error("ack of what waits:", err)
			}
		} else {
			r.do("DEL", st.Keys.Retry, st.Keys.Records)
		}
		three := claim()
		if err := say(three.ID, token(three), tasks.ActBury, 0); err != nil || r.int("XLEN", st.Keys.Dead) != 1 {
			t.Error("bury:", err)
		}
		r.wantDead(st, "rejected", "x")
		r.do("DEL", st.Keys.Dead)
		r.wantEmpty(st)
	}
}

// The token comes back to pillion as the application got it, whatever the agent's id is.
func TestTokensOfOddAgents(t *testing.T) {
	r := newRig(t, true)
	for i, agent := range []string{"pod a", "100%", `say "a"`, "pod~é", " \t", "a|b:c"} {
		tokens := make(chan [2]string, 1)
		s := newSink(t, func(ctx *fasthttp.RequestCtx) {
			h := &ctx.Request.Header
			ctx.SetStatusCode(fasthttp.StatusAccepted)
			ctx.Response.Header.Set("Pillion-Lease", "1h")
			tokens <- [2]string{string(h.Peek("webhook-id")), string(h.Peek("Pillion-Lease-Token"))}
		})
		name := "q" + strconv.Itoa(i)
		a := r.runAs(agent, []Config{testConfig(name, tasks.List, name, s.url)})
		r.do("RPUSH", name, "x")
		got := <-tokens
		if err := a.Resolve(context.Background(), name, tasks.Resolution{ID: got[0], Token: got[1], Action: tasks.ActAck}); err != nil {
			t.Errorf("agent %q, token %q: %v", agent, got[1], err)
		}
		r.wantEmpty(a.queues[0].store)
	}
	for _, agent := range []string{"", "pending", "pending:1"} {
		if _, err := New(nil, r.redis, "t:", agent, zerolog.Nop()); err == nil {
			t.Errorf("agent %q has no error", agent)
		}
	}
}

// The operator's word against an agent that has the task: its lease may be gone, or left
// without a record. Neither stops the queue, nor is called a fault.
func TestAcknowledgedFromOutsideWhileItIsDelivered(t *testing.T) {
	r := newRig(t, true)
	var once atomic.Bool
	release, began := make(chan struct{}), make(chan string, 1)
	s := newSink(t, func(ctx *fasthttp.RequestCtx) {
		if !once.Swap(true) {
			began <- string(ctx.Request.Header.Peek("webhook-id"))
			<-release
		}
	})
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url)})
	r.do("RPUSH", "l", "1")
	id := <-began
	st := a.queues[0].store
	if n, err := st.Ack(context.Background(), []string{id + "|stale"}); n != 1 || err != nil { // as if the lease had changed meanwhile
		t.Fatal(n, err)
	}
	rep, err := st.Fsck(context.Background(), false)
	if err != nil || rep.Broken() || rep.Counts[tasks.FaultEmptyLease] != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	close(release)
	eventually(t, "the agent's own acknowledgement is counted", func() bool { return a.Stats()[0].UnknownAcks == 1 && a.Stats()[0].InFlight == 0 })
	r.do("RPUSH", "l", "2")
	eventually(t, "the queue goes on", func() bool { return a.Stats()[0].Delivered == 2 })
	r.wantEmpty(st)
}

// What is said of a task afterwards is counted and logged as what an answer says.
func TestWhatIsSaidIsCounted(t *testing.T) {
	r := newRig(t, true)
	var log lines
	a, err := New([]Config{testConfig("q", tasks.List, "l", "http://127.0.0.1:1/")}, r.redis, "t:", "agent-1", zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	q := a.queues[0]
	for i, c := range []struct {
		act        tasks.Action
		asOperator bool
		want       QueueStats // the sum so far
		line       string
		before     int // failed attempts
	}{
		{tasks.ActAck, false, QueueStats{Delivered: 1}, "", 0},
		{tasks.ActAck, true, QueueStats{Delivered: 1}, "", 0},
		{tasks.ActRelease, false, QueueStats{Delivered: 1}, "", 0},
		{tasks.ActRetry, false, QueueStats{Delivered: 1, Failed: 1, Retries: 1}, `"kind":"application","attempt":1,"max_attempts":10,"next_ms"`, 0},
		{tasks.ActBury, true, QueueStats{Delivered: 1, Failed: 2, Retries: 1, DeadLettered: 1}, `"kind":"operator","attempt":1,"max_attempts":10,"detail":"why\\n","reason":"operator"`, 0},
		{tasks.ActRetry, true, QueueStats{Delivered: 1, Failed: 3, Retries: 1, DeadLettered: 2}, `"attempt":10,"max_attempts":10,"detail":"the attempt was called failed after its delivery","reason":"max_attempts"`, 9},
	} {
		r.do("DEL", q.store.Keys.Retry, q.store.Keys.Records)
		r.do("RPUSH", "l", "x")
		task := mustClaim(t, q.store, uint64(i+1), 1).Tasks[0]
		r.do("HSET", q.store.Keys.Records, task.ID, fmt.Sprintf("r %d 0 %d\nx", c.before, task.Since.UnixMilli()))
		res := tasks.Resolution{ID: task.ID, Token: task.Token(), Action: c.act, Reason: "operator", Detail: "why\n"}
		if c.asOperator {
			res.Token = ""
		}
		before := len(log.all())
		if err := a.Resolve(context.Background(), "q", res); err != nil {
			t.Fatal(c.act, err)
		}
		st := a.Stats()[0]
		if got := (QueueStats{Delivered: st.Delivered, Failed: st.Failed, Retries: st.Retries, DeadLettered: st.DeadLettered}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v: want %+v", c.act, got, c.want)
		}
		if line := log.all()[before:]; (line == "") != (c.line == "") || !strings.Contains(line, c.line) || c.line != "" && !strings.Contains(line, task.ID) {
			t.Errorf("%s: %s: want %s", c.act, line, c.line)
		}
	}
}

// The reaper of a queue with neither lease nor retry looks rarely, so it must hear of a
// lease that the application has, which may be short.
func TestTheReaperHearsOfAShortLease(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	a, err := New([]Config{testConfig("q", tasks.List, "l", "http://127.0.0.1:1/")}, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	q := a.queues[0]
	r.do("RPUSH", "l", "x")
	task := mustClaim(t, q.store, 1, 1).Tasks[0]
	for name, hand := range map[string]func() bool{
		"202": func() bool { return q.writePends([]tasks.Pending{{Member: task.Member, Lease: time.Second}}) },
		"extend": func() bool {
			return a.Resolve(ctx, "q", tasks.Resolution{ID: task.ID, Token: task.Token(), Action: tasks.ActExtend, After: time.Second}) == nil
		},
	} {
		if !hand() || len(q.handed) != 1 {
			t.Fatalf("%s: the reaper is not told", name)
		}
		round := make(chan bool)
		go func() { round <- q.awaitRound(time.Hour) }()
		select {
		case ok := <-round:
			if !ok {
				t.Errorf("%s: the reaper stops", name)
			}
		case <-time.After(patience):
			t.Fatalf("%s: the reaper sleeps on", name)
		}
	}
}

func TestUnknownQueue(t *testing.T) {
	r := newRig(t, true)
	a, err := New(nil, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	_, e1 := a.DeadLetters(ctx, "x", tasks.DeadQuery{})
	_, _, e2 := a.DeadLetter(ctx, "x", tasks.EntryID{MS: 1})
	_, e3 := a.Replay(ctx, "x", nil, tasks.DeadFilter{})
	_, e4 := a.DeleteDead(ctx, "x", nil, tasks.DeadFilter{})
	e5 := a.EachDead(ctx, "x", tasks.DeadFilter{}, nil)
	for i, err := range []error{e1, e2, e3, e4, e5, a.Pause(ctx, "x"), a.Resume(ctx, "x"), a.Resolve(ctx, "x", tasks.Resolution{})} {
		var unknown *UnknownQueueError
		if !errors.As(err, &unknown) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestDistributions(t *testing.T) {
	d := newDistributions()
	now := time.Now()
	late := func(by time.Duration, reason tasks.Reason, attempts int, v verdict) outcome {
		return outcome{d: &delivery{Task: tasks.Task{Since: now.Add(-by), Reason: reason, Attempts: attempts}}, attempt: true, verdict: v, took: time.Second}
	}
	d.observe(late(3*time.Second, tasks.First, 0, verdictAck), now)
	d.observe(late(2*time.Hour, tasks.Retry, 3, verdictAck), now)
	d.observe(late(time.Hour, tasks.First, 0, verdictRetry), now)
	d.observe(late(-time.Minute, tasks.First, 0, verdictAck), now) // a clock that went back
	given := late(time.Minute, tasks.First, 0, verdictGiveBack)
	given.attempt = false
	d.observe(given, now)
	l, e, n := d.lateness.snapshot(), d.endToEnd.snapshot(), d.attempts.snapshot()
	if l.Count != 3 || l.Sum != 3599+2 || l.Buckets[1] != 1 || l.Buckets[2.5] != 2 || l.Buckets[3600] != 3 {
		t.Errorf("lateness %+v", l)
	}
	if e.Count != 3 || e.Sum != 7203 || e.Buckets[.001] != 1 || e.Buckets[5] != 2 || e.Buckets[3600] != 2 {
		t.Errorf("end to end %+v", e)
	}
	if n.Count != 3 || n.Sum != 6 || n.Buckets[1] != 2 || n.Buckets[3] != 2 || n.Buckets[5] != 3 {
		t.Errorf("attempts %+v", n)
	}
}

func TestTimesAreMeasured(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, status(500, 200))
	a := r.run([]Config{testConfig("q", tasks.Delay, "z", s.url)})
	due := time.Now().Add(-time.Hour - time.Minute)
	r.do("ZADD", "z", fmt.Sprintf("%.3f", float64(due.UnixMilli())/1000), "1")
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	st := a.Stats()[0]
	if st.Lateness.Count != 1 || st.Lateness.Sum < 3660 || st.EndToEnd.Count != 1 || st.EndToEnd.Sum < st.Lateness.Sum || st.EndToEnd.Buckets[3600] != 0 || st.Attempts.Sum != 2 {
		t.Errorf("%+v %+v %+v", st.Lateness, st.EndToEnd, st.Attempts)
	}
}

func TestEvictionIsWarnedOfOnce(t *testing.T) {
	for policy, want := range map[string]int{"noeviction": 0, "allkeys-lru": 1} {
		r := newRig(t, true, "--maxmemory-policy", policy)
		var log lockedLog
		cfgs := []Config{testConfig("a", tasks.List, "l1", "http://127.0.0.1:1/"), testConfig("b", tasks.List, "l2", "http://127.0.0.1:1/")}
		a, err := New(cfgs, r.redis, "t:", "agent-1", zerolog.New(&log))
		if err != nil {
			t.Fatal(err)
		}
		a.warnOfEviction()
		if n := strings.Count(log.String(), "noeviction"); n != want || want > 0 && !strings.Contains(log.String(), policy) {
			t.Errorf("%s: %d warnings: %s", policy, n, log.String())
		}
	}
}

// lockedLog is a log that many write.
type lockedLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func BenchmarkObserve(b *testing.B) {
	d := newDistributions()
	now := time.Now()
	o := outcome{d: &delivery{Task: tasks.Task{Since: now.Add(-rand.N(time.Minute)), Reason: tasks.First}}, attempt: true}
	b.ReportAllocs()
	for b.Loop() {
		d.observe(o, now)
	}
}
