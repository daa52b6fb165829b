package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent"
)

const (
	// trickleTasks is how many tasks come a second to a queue that is drained at once.
	trickleTasks = 10
	// backlogTasks is how many wait when the agents start.
	backlogTasks = 4000
)

// The kinds of sources, as scenarios name them.
const (
	kindList   = "list"
	kindDelay  = "delay"
	kindStream = "stream"
)

func kinds() []string { return []string{kindList, kindDelay, kindStream} }

// queue is a queue of the kind, with the settings of a user who sets none.
func queue(kind, hook string) queueagent.Config {
	cfg := queueagent.Default()
	cfg.Name, cfg.Webhook.URL = "tasks", hook
	switch kind {
	case kindList:
		cfg.List = "app:tasks"
	case kindDelay:
		cfg.Delay = "app:tasks"
	case kindStream:
		cfg.Stream, cfg.Field = "app:tasks", "task"
	}
	return cfg
}

// add adds tasks to the queue.
func (r *rig) add(ctx context.Context, kind string, n int) error {
	const task = `{"type": "welcome-email", "user": 42}`
	cmds := make(rueidis.Commands, 0, n)
	for i := range n {
		words := []string{"RPUSH", "app:tasks", task}
		switch kind {
		case kindDelay:
			words = []string{"ZADD", "app:tasks", "1", fmt.Sprintf(`{"n": %d}`, i)} // due long ago
		case kindStream:
			words = []string{"XADD", "app:tasks", "*", "task", task}
		}
		cmds = append(cmds, r.app.B().Arbitrary(words...).Build())
	}
	for _, reply := range r.app.DoMulti(ctx, cmds...) {
		if err := reply.Error(); err != nil {
			return err
		}
	}
	return nil
}

// agents are the queue agents of all pods, and the application that they call.
type agents struct {
	agents    []*queueagent.Agent
	delivered atomic.Int64
	hook      http.Server
	url       string
	end       context.CancelFunc
	all       sync.WaitGroup
	failed    atomic.Pointer[error]
}

// newAgents starts the application.
func newAgents() (*agents, error) {
	a := &agents{end: func() {}}
	a.hook.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.delivered.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a.url = "http://" + ln.Addr().String() + "/"
	a.all.Go(func() { _ = a.hook.Serve(ln) })
	return a, nil
}

// run starts an agent on each pod.
func (a *agents) run(ctx context.Context, r *rig, kind string) error {
	ctx, a.end = context.WithCancel(ctx)
	for i, p := range r.pods {
		agent, err := queueagent.New([]queueagent.Config{queue(kind, a.url)}, p.conn, defaults().Prefix, fmt.Sprintf("pod-%d", i), zerolog.Nop())
		if err != nil {
			return err
		}
		a.agents = append(a.agents, agent)
		a.all.Go(func() {
			if err := agent.Run(ctx); err != nil {
				a.failed.CompareAndSwap(nil, &err)
			}
		})
	}
	return nil
}

func (a *agents) stop() error {
	a.end()
	err := a.hook.Close()
	a.all.Wait()
	if failed := a.failed.Load(); failed != nil {
		err = errors.Join(err, *failed)
	}
	return err
}

// done waits until n tasks have been delivered.
func (a *agents) done(ctx context.Context, n int64) error {
	return await(ctx, fmt.Sprintf("%d tasks are delivered", n), func() (bool, error) { return a.delivered.Load() >= n, nil })
}

// settled waits until the results of n tasks are in Redis.
func (a *agents) settled(ctx context.Context, n int) error {
	return await(ctx, "the results are written", func() (bool, error) {
		var sum uint64
		for _, agent := range a.agents {
			sum += agent.Stats()[0].Delivered
		}
		return sum >= uint64(n), nil
	})
}

// withAgents runs do with agents on n pods, of one queue.
func withAgents(ctx context.Context, n int, kind string, prepare, do func(*rig, *agents) error) error {
	r, err := with(ctx, n, patient())
	if err != nil {
		return err
	}
	defer r.close()
	a, err := newAgents()
	if err != nil {
		return err
	}
	if err = prepare(r, a); err == nil {
		err = a.run(ctx, r, kind)
	}
	if err == nil {
		err = do(r, a)
	}
	return errors.Join(err, a.stop())
}

// calmQueues is what queues cost that nothing comes to, in each pod.
func calmQueues(ctx context.Context, o options) (*table, error) {
	t := &table{title: "calm: a queue that nothing comes to, for each pod; without the heartbeat", columns: []column{
		{"pods", 0}, {"commands/s/pod", 3}, {"connections/pod", 2},
	}}
	steps := calmSteps(o.pods)
	rows := make([][]row, len(steps))
	for i, n := range steps {
		rows[i] = make([]row, len(kinds()))
		// Each kind has a Redis of its own, and all of them together are idle.
		err := times(len(kinds()), func(k int) (err error) {
			rows[i][k], err = calmStep(ctx, o, n, kinds()[k])
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	t.rows = slices.Concat(rows...)
	return t, nil
}

// calmSteps are a few of the numbers of pods: these measurements are long.
func calmSteps(pods counts) counts {
	if len(pods) <= 3 {
		return pods
	}
	return counts{pods[0], pods[len(pods)/2], pods[len(pods)-1]}
}

func calmStep(ctx context.Context, o options, n int, kind string) (out row, err error) {
	err = withAgents(ctx, n, kind, func(*rig, *agents) error { return nil }, func(r *rig, _ *agents) error {
		// The first looks are made at the start, and are not what is measured.
		if err := pause(ctx, o.calm/3); err != nil {
			return err
		}
		s, err := r.during(ctx, func() error { return pause(ctx, o.calm) })
		if err != nil {
			return err
		}
		list, err := r.clients(ctx)
		if err != nil {
			return err
		}
		per := s.seconds() * float64(n)
		out = row{label: kind, text: s.list(), numbers: []float64{
			float64(n), s.work() / per, float64(len(list)) / float64(n),
		}}
		return nil
	})
	return out, err
}

// trickle is a queue that a task comes to now and then: all pods hear of each.
func trickle(ctx context.Context, o options) (*table, error) {
	t := &table{title: fmt.Sprintf("trickle: a queue that %d tasks a second come to, one at a time", trickleTasks), columns: []column{
		{"pods", 0}, {"tasks", 0}, {"pushes/task", 2}, {"claims/task", 2}, {"commands/task", 1}, {"CPU us/task", 0}, {"bytes out/task", 0},
	}}
	for _, kind := range kinds() {
		for _, n := range calmSteps(o.pods) {
			if err := trickleStep(ctx, o, n, kind, t); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func trickleStep(ctx context.Context, o options, n int, kind string, t *table) error {
	first := func(r *rig, _ *agents) error { return r.add(ctx, kind, 1) }
	return withAgents(ctx, n, kind, first, func(r *rig, a *agents) error {
		if err := a.done(ctx, 1); err != nil {
			return err
		}
		if err := pause(ctx, 2*time.Second); err != nil { // until all wait for a task
			return err
		}
		tasks, before := max(int(o.window.Seconds()*trickleTasks), 5), r.invalidations()
		s, err := r.during(ctx, func() error { return a.trickle(ctx, r, kind, tasks) })
		if err != nil {
			return err
		}
		per := float64(tasks)
		t.rows = append(t.rows, row{label: kind, numbers: []float64{
			float64(n), per, float64(r.invalidations()-before) / per, s.calls("time") / per, s.work() / per,
			s.cpu() / per * 1e6, s.out() / per,
		}})
		return nil
	})
}

func (a *agents) trickle(ctx context.Context, r *rig, kind string, tasks int) error {
	tick := time.NewTicker(time.Second / trickleTasks)
	defer tick.Stop()
	had := int(a.delivered.Load())
	for range tasks {
		if err := r.add(ctx, kind, 1); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return a.settled(ctx, had+tasks)
}

// backlog is a queue that is never empty: claims and results go in batches.
func backlog(ctx context.Context, o options) (*table, error) {
	t := &table{title: fmt.Sprintf("backlog: %d tasks that wait when the agents start, concurrency 16", backlogTasks), columns: []column{
		{"pods", 0}, {"pushes/task", 2}, {"claims/task", 3}, {"commands/task", 2}, {"CPU us/task", 1}, {"bytes out/task", 0},
	}}
	for _, kind := range kinds() {
		for _, n := range calmSteps(o.pods) {
			if err := backlogStep(ctx, n, kind, t); err != nil {
				return nil, err
			}
		}
	}
	return t, nil
}

func backlogStep(ctx context.Context, n int, kind string, t *table) error {
	var from snapshot
	fill := func(r *rig, _ *agents) (err error) {
		if err = r.add(ctx, kind, backlogTasks); err == nil {
			from, err = r.info(ctx)
		}
		return err
	}
	return withAgents(ctx, n, kind, fill, func(r *rig, a *agents) error {
		if err := a.settled(ctx, backlogTasks); err != nil {
			return err
		}
		to, err := r.info(ctx)
		if err != nil {
			return err
		}
		s, per := span{from, to}, float64(backlogTasks)
		t.rows = append(t.rows, row{label: kind, numbers: []float64{
			float64(n), float64(r.invalidations()) / per, s.calls("time") / per, s.work() / per, s.cpu() / per * 1e6, s.out() / per,
		}})
		return nil
	})
}
