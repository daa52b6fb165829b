package queueagent

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redistest"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

func TestDelayedTasksAreNeverEarlyAndSoonThere(t *testing.T) {
	for _, tracking := range []bool{true, false} {
		t.Run(fmt.Sprintf("tracking %v", tracking), func(t *testing.T) {
			r := newRig(t, tracking)
			s := newSink(t, nil)
			a := r.run([]Config{testConfig("q", tasks.Delay, "z", s.url)})
			r.do("ZADD", "z", fmt.Sprint(time.Now().Unix()+3600), "in an hour")
			now := float64(time.Now().UnixMicro()) / 1e6
			for i := range 20 { // each is earlier than the one before
				due := now + 0.6 - float64(i)*0.02
				r.do("ZADD", "z", fmt.Sprintf("%.6f", due), fmt.Sprintf("%.6f", due))
			}
			eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 20 })
			var worst time.Duration
			for _, p := range s.seen() {
				due, _ := strconv.ParseFloat(p.body, 64)
				late := p.at.Sub(time.UnixMicro(int64(due * 1e6)))
				if late < 0 { // Redis shares our clock
					t.Errorf("%s early", -late)
				}
				worst = max(worst, late)
			}
			t.Logf("latest of 20: %s", worst)
			if d, err := a.Depths(context.Background()); err != nil || d[0].Scheduled != 1 || d[0].Ready != 0 || time.Until(d[0].OldestDue) < 50*time.Minute {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
}

func TestAnIdleQueueWakesAtOnceAndCostsLittle(t *testing.T) {
	type idle struct {
		*rig
		name   string
		before int64
	}
	var queues []*idle // each with a Redis of its own, all at the same time: this is about waiting
	var all sync.WaitGroup
	for _, kind := range []tasks.Kind{tasks.List, tasks.Delay, tasks.Stream} {
		for _, tracking := range []bool{true, false} {
			q := &idle{rig: newRig(t, tracking), name: fmt.Sprintf("%s, tracking %v", kind, tracking)}
			s := newSink(t, nil)
			q.run([]Config{testConfig("q", kind, "src", s.url)})
			queues = append(queues, q)
			all.Go(func() { q.wakeUps(q.name, kind, s) })
		}
	}
	all.Wait()
	time.Sleep(1500 * time.Millisecond) // the last tasks' aftermath
	began := time.Now()
	for _, q := range queues {
		q.before = q.int("EVAL", countCommands, "0")
	}
	time.Sleep(4 * time.Second) // what is measured is a rate
	for _, q := range queues {
		n := q.int("EVAL", countCommands, "0") - q.before
		took := time.Since(began) // longer than 4s when the machine is busy
		t.Logf("%s: %.1f commands/s while idle", q.name, float64(n)/took.Seconds())
		// One poll and one round of the reaper more may be in the window than its length says.
		if float64(n) >= 5*took.Seconds()+4 {
			t.Errorf("%s: %d commands in %s: want under 5 a second", q.name, n, took)
		}
	}
}

// wakeUps adds single tasks to an idle queue.
func (r *rig) wakeUps(name string, kind tasks.Kind, s *sink) {
	var worst time.Duration
	for i := range 10 {
		sent := time.Now()
		push := r.c.B().Arbitrary("RPUSH", "src", strconv.Itoa(i)).Build()
		if kind == tasks.Delay {
			push = r.c.B().Arbitrary("ZADD", "src", "0", strconv.Itoa(i)).Build()
		}
		if kind == tasks.Stream {
			push = r.c.B().Arbitrary("XADD", "src", "*", "n", strconv.Itoa(i)).Build()
		}
		if err := r.c.Do(context.Background(), push).Error(); err != nil {
			r.tb.Error(err)
			return
		}
		for len(s.seen()) <= i {
			if time.Since(sent) > patience {
				r.tb.Errorf("%s: task %d is not delivered", name, i)
				return
			}
			time.Sleep(time.Millisecond)
		}
		if i > 0 { // the first finds the agent just starting
			worst = max(worst, s.seen()[i].at.Sub(sent))
		}
	}
	r.tb.Logf("%s: slowest wake-up %s", name, worst)
}

// countCommands sums what commandstats counts, inner calls of scripts included, but
// for what the test itself causes, and the PINGs of the connection.
const countCommands = `
local n = 0
for name, calls in string.gmatch(redis.call('INFO', 'commandstats'), 'cmdstat_([^:]+):calls=(%d+)') do
  if name ~= 'info' and name ~= 'eval' and name ~= 'ping' then n = n + calls end
end
return n`

func TestAgentOnMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	f, err := newFake(m.Addr(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.client.Close()
	r := &rig{tb: t, redis: f, c: f.client}
	s := newSink(t, status(500, 200))
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url), testConfig("z", tasks.Delay, "z", s.url)})
	for i := range 20 {
		r.do("RPUSH", "l", strconv.Itoa(i))
		r.do("ZADD", "z", strconv.FormatFloat(float64(time.Now().UnixMilli()+100)/1000, 'f', 3, 64), strconv.Itoa(i))
	}
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 20 && a.Stats()[1].Delivered == 20 })
	if d, err := a.Depths(context.Background()); err != nil || d[0] != (Depth{Name: "q"}) || d[1] != (Depth{Name: "z"}) {
		t.Errorf("%+v, %v", d, err)
	}
	if st := a.Stats()[0]; st.Failed+a.Stats()[1].Failed != 1 {
		t.Errorf("%+v", st)
	}
}

// One node that owns every slot: the client then checks that a script's keys are in
// one, and sends it by that.
func TestAgentOnACluster(t *testing.T) {
	srv := redistest.Start(t, "--cluster-enabled", "yes")
	if line, err := srv.Command("CLUSTER", "ADDSLOTSRANGE", "0", "16383"); err != nil || line != "+OK" {
		t.Fatal(line, err)
	}
	eventually(t, "the cluster is up", func() bool {
		line, err := srv.Command("SET", "x", "1")
		return err == nil && line == "+OK"
	})
	f := &fakeRedis{tracking: true, watchers: make(map[string][]chan struct{})}
	var err error
	f.client, err = rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{srv.Addr}, DisableRetry: true, OnInvalidations: f.invalidated,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.client.Close()
	r := &rig{tb: t, srv: srv, redis: f, c: f.client}
	s := newSink(t, nil)
	var cfgs []Config
	for i, key := range []string{"plain", "{app}:tasks", "foo}bar", "foo{}bar"} {
		cfgs = append(cfgs, testConfig(strconv.Itoa(i), []tasks.Kind{tasks.List, tasks.Delay}[i%2], key, s.url))
	}
	a := r.run(cfgs)
	add := func(cfg Config) {
		cmd := f.client.B().Rpush().Key(cfg.List).Element("x").Build()
		if cfg.Delay != "" {
			cmd = f.client.B().Zadd().Key(cfg.Delay).ScoreMember().ScoreMember(0, "x").Build()
		}
		if err := f.client.Do(context.Background(), cmd).Error(); err != nil {
			t.Fatal(err)
		}
	}
	for n := uint64(1); n <= 3; n++ {
		for i, cfg := range cfgs {
			add(cfg)
			eventually(t, "delivered", func() bool { return a.Stats()[i].Delivered == n })
		}
	}
	if _, err := a.Depths(context.Background()); err != nil {
		t.Error(err)
	}
}
