package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pillion-proxy/pillion/bench/latency"
	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
)

// DelayOptions are the size of the delay scenario.
type DelayOptions struct {
	Rate  int // tasks that become due in a second
	For   time.Duration
	Ahead time.Duration // from the first enqueued task until the first is due
}

// Delay measures how late tasks come that become due one after the other.
func (b *Bench) Delay(ctx context.Context, o DelayOptions) error {
	agents, err := b.agents(&pillion{b: b}, &asynqAgent{b: b}, &asynqAgent{b: b, tuned: true}, &bullmq{b: b})
	if err != nil {
		return err
	}
	for round := range b.Rounds {
		for _, a := range agents {
			var h *latency.Histogram
			err := b.Quiet(DelayName, a.name(), func() (foreign float64, err error) {
				h, foreign, err = b.delayOnce(ctx, a, o)
				return foreign, err
			})
			if err != nil {
				return err
			}
			b.Printf("%s round %d: %-11s late p50 %v p99 %v max %v, earliest %v\n", DelayName, round+1, a.name(),
				h.Percentile(50), h.Percentile(99), h.Max(), h.Min())
			b.noteDelay(a.name(), h)
		}
	}
	return b.Results.Print(b.Out, DelayName)
}

func (b *Bench) noteDelay(peer string, h *latency.Histogram) {
	add := func(metric string, v time.Duration) {
		b.Results.Add(result.Key{Scenario: DelayName, Peer: peer, Metric: metric, Unit: "ms"}, millis(v))
	}
	add("lateness p50", h.Percentile(50))
	add("lateness p99", h.Percentile(99))
	add("lateness max", h.Max())
	add("earliest", h.Min())
}

func (b *Bench) delayOnce(ctx context.Context, a agent, o DelayOptions) (h *latency.Histogram, foreign float64, err error) {
	dir, remove, err := b.Dir()
	if err != nil {
		return nil, 0, err
	}
	defer remove()
	r, err := proc.StartRedis(ctx, dir, nil)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	b.noteRedis(ctx, r)
	tasks := int(float64(o.Rate) * o.For.Seconds())
	to, err := startLocalSink(tasks, tasks)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, to.stop()) }()
	worker, err := a.start(ctx, r, "http://"+to.addr+"/tasks", options{queues: 1, delay: true})
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, worker.Stop()) }()
	first, step := time.Now().Add(o.Ahead), time.Second/time.Duration(o.Rate)
	due := func(id int) time.Time { return first.Add(time.Duration(id) * step) }
	if err := a.enqueue(ctx, r, tasks, due); err != nil {
		return nil, 0, err
	}
	if late := time.Since(first); late > 0 {
		return nil, 0, fmt.Errorf("enqueuing ended %v after the first task was due: raise --ahead", late)
	}
	w := proc.Watch()
	if err := to.waitFor(ctx, 0, o.Ahead+o.For+patience); err != nil {
		return nil, 0, fmt.Errorf("%w\nthe end of its log:\n%s", err, worker.Log())
	}
	return to.Latencies(), w.End().Foreign, nil
}
