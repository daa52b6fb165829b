package queueagent

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// With a full source and nothing to be claimed the agent must wait, not ask again and
// again.
func TestABlockedQueueAsksSeldom(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"paused":  func(*Config) {},
		"limited": func(c *Config) { c.Rate = Rate{Limit: 1, Per: time.Hour} },
		"busy":    func(c *Config) { c.FIFO = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, true)
			release := make(chan struct{})
			defer close(release)
			s := newSink(t, func(*fasthttp.RequestCtx) { <-release })
			cfg := testConfig("q", tasks.List, "l", s.url)
			cfg.Webhook.Timeout = time.Minute
			change(&cfg)
			store := r.store("other", tasks.List, "l", time.Minute)
			if name == "paused" {
				if err := store.Pause(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			if name == "busy" { // another agent has the first
				r.do("RPUSH", "l", "0")
				mustClaim(t, store, 1, 1)
			}
			a := r.run([]Config{cfg})
			for i := range 10 {
				r.do("RPUSH", "l", strconv.Itoa(i+1))
			}
			if name == "limited" {
				eventually(t, "the first", func() bool { return len(s.seen()) == 1 })
			}
			began := time.Now()
			before := r.int("EVAL", countScripts, "0")
			time.Sleep(3 * time.Second) // what is measured is a rate
			n := r.int("EVAL", countScripts, "0") - before
			took := time.Since(began) // longer than 3s when the machine is busy
			t.Logf("%d scripts in %s", n, took)
			// Claims of a queue that is blocked are 500 ms apart at least, and so are rounds
			// of the reaper: a slow machine has fewer of them. One of each more may be in the
			// window, and the acknowledgement of what was delivered.
			if most := took.Seconds()*4 + 3; float64(n) > most {
				t.Errorf("%d scripts in %s: want %.0f at most", n, took, most)
			}
			if got := len(s.seen()); name != "limited" && got != 0 || got > 1 {
				t.Errorf("%d deliveries", got)
			}
			if a.Stats()[0].Paused != (name == "paused") {
				t.Errorf("%+v", a.Stats()[0])
			}
			if name == "paused" {
				if err := store.Resume(context.Background()); err != nil {
					t.Fatal(err)
				}
				eventually(t, "resumed", func() bool { return len(s.seen()) >= 1 && !a.Stats()[0].Paused })
			}
		})
	}
}

const countScripts = `
local n = 0
for name, calls in string.gmatch(redis.call('INFO', 'commandstats'), 'cmdstat_([^:]+):calls=(%d+)') do
  if name == 'evalsha' then n = n + calls end
end
return n`

// The limit holds over two agents, and is reached.
func TestRateOfTwoAgents(t *testing.T) {
	r := newRig(t, true)
	var n atomic.Int64
	s := newSink(t, func(*fasthttp.RequestCtx) { n.Add(1) })
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Rate = Rate{Limit: 200, Per: time.Second, Burst: 10}
	r.fill(2000)
	start := time.Now()
	r.runAs("agent-1", []Config{cfg})
	r.runAs("agent-2", []Config{cfg})
	eventually(t, "300 deliveries", func() bool { return n.Load() >= 300 })
	got, took := n.Load(), time.Since(start)
	// The claims began after start, so what came is at most what that time allows.
	if most := 10 + int64(took.Seconds()*200) + 1; got > most {
		t.Errorf("%d deliveries in %s: want at most %d", got, took, most)
	}
}

func TestStreamsEndToEnd(t *testing.T) {
	for _, tracking := range []bool{true, false} {
		t.Run(fmt.Sprintf("tracking %v", tracking), func(t *testing.T) {
			r := newRig(t, tracking)
			s := newSink(t, status(500, 500, 200))
			cfg := testConfig("q", tasks.Stream, "s", s.url+"/{type}")
			whole := testConfig("w", tasks.Stream, "s", s.url+"/whole")
			cfg.Field, whole.Group = "task", "second"
			a := r.run([]Config{cfg, whole})
			add := func(i int) {
				r.do("XADD", "s", "*", "task", taskJSON(i), "n", strconv.Itoa(i))
			}
			for i := range 50 { // before there is a group, and after
				add(i)
			}
			eventually(t, "both groups have all", func() bool { return a.Stats()[0].Delivered == 50 && a.Stats()[1].Delivered == 50 })
			for i := range 5 { // one by one, on an idle queue
				add(50 + i)
				eventually(t, "one more", func() bool { return a.Stats()[0].Delivered == uint64(51+i) && a.Stats()[1].Delivered == uint64(51+i) })
			}
			_, _, by := s.tally()
			for i := range 55 {
				entry := fmt.Sprintf(`{"task":%q,"n":"%d"}`, taskJSON(i), i)
				if by[taskJSON(i)] == 0 || by[entry] == 0 {
					t.Errorf("task %d: %d by field, %d whole", i, by[taskJSON(i)], by[entry])
				}
			}
			if r.int("XLEN", "s") != 55 || r.int("EXISTS", a.queues[0].store.Keys.Records, a.queues[1].store.Keys.Records) != 0 {
				t.Error("want all entries in the stream, and no record")
			}
		})
	}
}
