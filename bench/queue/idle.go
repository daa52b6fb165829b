package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pillion-proxy/pillion/bench/latency"
	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
)

const (
	// IdleName and DelayName are the names of scenarios.
	IdleName  = "queue-idle"
	DelayName = "queue-delay"

	warmTasks = 50
	// settle is how long an agent is left alone before it counts as idle.
	settle = 3 * time.Second
)

// IdleOptions are the size of the idle scenario.
type IdleOptions struct {
	Tasks  int
	Every  time.Duration
	Idle   time.Duration
	Queues int
}

// Idle measures, on queues that are mostly empty, how long a task takes from the
// moment when it is enqueued until the application has it, and then what the agent
// does while no task comes at all.
func (b *Bench) Idle(ctx context.Context, o IdleOptions) error {
	agents, err := b.agents(&pillion{b: b}, &asynqAgent{b: b}, &asynqAgent{b: b, tuned: true}, &bullmq{b: b})
	if err != nil {
		return err
	}
	scenario := fmt.Sprintf("%s-%d", IdleName, o.Queues)
	for round := range b.Rounds {
		for _, a := range agents {
			var d idled
			err := b.Quiet(scenario, a.name(), func() (float64, error) {
				var err error
				d, err = b.idleOnce(ctx, a, o)
				return max(d.foreign, d.foreignIdle), err
			})
			if err != nil {
				return err
			}
			b.Printf("%s round %d: %-11s p50 %v p99 %v p99.9 %v; idle %.1f commands/s, agent %.2f%%, redis %.2f%% of a core\n", scenario,
				round+1, a.name(), d.h.Percentile(50), d.h.Percentile(99), d.h.Percentile(99.9), d.commands, d.agent*100, d.redis*100)
			b.noteIdle(scenario, a.name(), d, o)
		}
	}
	return b.Results.Print(b.Out, scenario)
}

// idled is the outcome of a round.
type idled struct {
	h                    *latency.Histogram
	commands             float64 // a second
	agent, redis         float64 // shares of a core
	foreign, foreignIdle float64
}

func (b *Bench) noteIdle(scenario, peer string, d idled, o IdleOptions) {
	add := func(metric, unit string, v float64) {
		b.Results.Add(result.Key{Scenario: scenario, Peer: peer, Metric: metric, Unit: unit}, v)
	}
	for _, p := range []float64{50, 99, 99.9} {
		add(fmt.Sprintf("latency p%g", p), "ms", millis(d.h.Percentile(p)))
	}
	add("commands while idle", "1/s", d.commands)
	add("commands while idle and queue", "1/s", d.commands/float64(o.Queues))
	add("CPU of the agent while idle", "% of a core", d.agent*100)
	add("CPU of Redis while idle", "% of a core", d.redis*100)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (b *Bench) idleOnce(ctx context.Context, a agent, o IdleOptions) (d idled, err error) {
	dir, remove, err := b.Dir()
	if err != nil {
		return d, err
	}
	defer remove()
	r, err := proc.StartRedis(ctx, dir, nil)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	b.noteRedis(ctx, r)
	to, err := startLocalSink(o.Tasks, min(warmTasks, o.Tasks), o.Tasks)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, to.stop()) }()
	worker, err := a.start(ctx, r, "http://"+to.addr+"/tasks", options{queues: o.Queues})
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, worker.Stop()) }()
	if err := pause(ctx, settle); err != nil {
		return d, err
	}
	w := proc.Watch()
	if err := a.trickle(ctx, r, o.Tasks, o.Every, o.Queues); err != nil {
		return d, err
	}
	if err := to.waitFor(ctx, 1, patience); err != nil {
		return d, fmt.Errorf("%w\nthe end of its log:\n%s", err, worker.Log())
	}
	d.foreign = w.End().Foreign
	d.h = to.Latencies()
	return d, b.rest(ctx, r, worker, o.Idle, &d)
}

// rest measures an agent that has nothing to do.
func (b *Bench) rest(ctx context.Context, r *proc.Redis, worker *proc.Process, idle time.Duration, d *idled) error {
	if err := pause(ctx, settle); err != nil {
		return err
	}
	before, err := r.Commands(ctx)
	if err != nil {
		return err
	}
	w := proc.Watch()
	agent, redis := proc.CPUOf(worker.PID()), proc.CPUOf(r.PID())
	if err := pause(ctx, idle); err != nil {
		return err
	}
	agentUsed, redisUsed := proc.CPUOf(worker.PID()).Since(agent), proc.CPUOf(r.PID()).Since(redis)
	span := w.End()
	after, err := r.Commands(ctx)
	if err != nil {
		return err
	}
	d.commands = float64(after-before) / span.Took.Seconds()
	d.agent, d.redis = agentUsed.Seconds()/span.Took.Seconds(), redisUsed.Seconds()/span.Took.Seconds()
	d.foreignIdle = span.Foreign
	return nil
}

func (s *localSink) waitFor(ctx context.Context, mark int, patience time.Duration) error {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-s.Reached(mark):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("%d different tasks have arrived within %v, which is too few", s.State().Distinct, patience)
	}
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// trickle calls send for each task at about the interval, at random within half of it,
// so that no agent's own rhythm is in step with it.
func trickle(ctx context.Context, n int, every time.Duration, send func(id int) error) error {
	began := time.Now()
	for id := range n {
		at := time.Duration((float64(id) + rand.Float64()/2) * float64(every))
		if err := pause(ctx, time.Until(began.Add(at))); err != nil {
			return err
		}
		if err := send(id); err != nil {
			return err
		}
	}
	return nil
}
