package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
	"github.com/pillion-proxy/pillion/bench/sink"
)

// DrainName is the scenario's name.
const DrainName = "queue-drain"

// warmShare of the tasks come before the measured ones.
const warmShare = 10

// patience bounds a round.
const patience = 120 * time.Second

// Drain measures how fast each agent delivers a full queue to a sink in a process of
// its own. Agent, Redis and sink share all cores as the kernel sees fit. The first
// tenth of the tasks is not measured, so that no agent's start is.
func (b *Bench) Drain(ctx context.Context, tasks map[string]int) error {
	agents, err := b.agents(&pillion{b: b}, &asynqAgent{b: b}, &bullmq{b: b})
	if err != nil {
		return err
	}
	for round := range b.Rounds {
		for _, a := range agents {
			var d drained
			err := b.Quiet(DrainName, a.name(), func() (float64, error) {
				var err error
				d, err = b.drainOnce(ctx, a, tasks[a.name()])
				return d.foreign, err
			})
			if err != nil {
				return err
			}
			b.Printf("%s round %d: %-8s %7.0f tasks/s, agent %5.1f us/task, redis %5.1f, sink %5.1f, %d twice, others took %.2f of a core\n",
				DrainName, round+1, a.name(), d.rate, d.agent, d.redis, d.sink, d.twice, d.foreign)
			b.noteDrain(a.name(), d)
		}
	}
	return b.Results.Print(b.Out, DrainName)
}

// drained is the outcome of a round; costs are in microseconds per task.
type drained struct {
	rate, agent, redis, sink, foreign float64
	twice                             int64
}

func (b *Bench) noteDrain(peer string, d drained) {
	add := func(metric, unit string, v float64) {
		b.Results.Add(result.Key{Scenario: DrainName, Peer: peer, Metric: metric, Unit: unit}, v)
	}
	add("throughput", "tasks/s", d.rate)
	add("CPU of the agent", "us/task", d.agent)
	add("CPU of Redis", "us/task", d.redis)
	add("CPU of the sink", "us/task", d.sink)
	add("CPU of all", "us/task", d.agent+d.redis+d.sink)
	add("delivered twice", "tasks", float64(d.twice))
}

func (b *Bench) drainOnce(ctx context.Context, a agent, tasks int) (d drained, err error) {
	if tasks < warmShare {
		return d, fmt.Errorf("%d tasks: set %d or more", tasks, warmShare)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
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
	to, err := b.startSink(ctx, tasks, tasks/warmShare)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, to.Stop()) }()
	if err := a.enqueue(ctx, r, tasks, nil); err != nil {
		return d, err
	}
	worker, err := a.start(ctx, r, "http://"+to.addr+"/tasks", options{queues: 1})
	if err != nil {
		return d, err
	}
	d, err = watchDrain(ctx, r, to, worker)
	// What comes twice may come late.
	err = errors.Join(err, worker.Stop())
	if err != nil {
		return d, fmt.Errorf("%w\nthe end of its log:\n%s", err, worker.Log())
	}
	st, err := to.ask(ctx, "/state")
	d.twice = st.Received - st.Distinct
	if err == nil && (st.Distinct != int64(tasks) || st.Bad > 0) {
		err = fmt.Errorf("%d of %d tasks arrived, and %d requests that were none", st.Distinct, tasks, st.Bad)
	}
	return d, err
}

// watchDrain measures from the first mark to the last.
func watchDrain(ctx context.Context, r *proc.Redis, to *remoteSink, worker *proc.Process) (drained, error) {
	begin, err := to.ask(ctx, "/wait?mark=0&seconds=100")
	if err != nil {
		return drained{}, err
	}
	w := proc.Watch()
	agent, redis, sinks := proc.CPUOf(worker.PID()), proc.CPUOf(r.PID()), proc.CPUOf(to.PID())
	end, err := to.ask(ctx, "/wait?mark=1&seconds=100")
	if err != nil {
		return drained{}, err
	}
	agentUsed, redisUsed, sinkUsed := proc.CPUOf(worker.PID()).Since(agent), proc.CPUOf(r.PID()).Since(redis), proc.CPUOf(to.PID()).Since(sinks)
	span := w.End()
	// The state was taken a moment after the mark, as the CPU times were.
	n := float64(end.Distinct - begin.Distinct)
	per := func(t time.Duration) float64 { return float64(t.Nanoseconds()) / 1e3 / n }
	return drained{
		rate:  n / end.At.Sub(begin.Seen).Seconds(),
		agent: per(agentUsed), redis: per(redisUsed), sink: per(sinkUsed), foreign: span.Foreign,
	}, nil
}

// ask gets the state of a sink.
func (s *remoteSink) ask(ctx context.Context, path string) (sink.State, error) {
	var st sink.State
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		return st, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
		return st, err
	}
	if res.StatusCode != http.StatusOK {
		return st, fmt.Errorf("%d different tasks (%d in all) have arrived, which is too few for the time; %d requests were no tasks", st.Distinct, st.Received, st.Bad)
	}
	return st, nil
}
