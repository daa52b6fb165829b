package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	mixWrites = 20 // a second
	// Commands as docs/scaling.md counts them.
	readCommands    = 5 // a tracked read
	checkCommands   = readCommands + 1
	renewalCommands = 3 // by the pod that renews
	taskCommands    = 8 // of a list: the task's own
	wakeCommands    = 13
)

// mix has pods do everything at once, and compares the commands with the formulas of
// docs/scaling.md.
func mix(ctx context.Context, o options) (*table, error) {
	t := &table{title: fmt.Sprintf("mix: %d writes a second of keys that all pods hold, sessions on two pods each, and a list with %d tasks a second", mixWrites, trickleTasks), columns: []column{
		{"pods", 0}, {"writes/s", 1}, {"renewals/s", 1}, {"tasks/s", 1}, {"commands/s", 0}, {"by the formulas", 0}, {"CPU %", 1}, {"bytes out/s", 0},
	}}
	for _, n := range o.pods {
		if err := mixStep(ctx, o, n, t); err != nil {
			return nil, err
		}
	}
	t.fit("pods", "CPU %", "")
	return t, nil
}

func mixStep(ctx context.Context, o options, n int, t *table) error {
	return withAgents(ctx, n, kindList, func(*rig, *agents) error { return nil }, func(r *rig, a *agents) (err error) {
		h := newHot(r)
		if err := errors.Join(r.set(ctx, h.names(), entry()), h.watch(ctx)); err != nil {
			return errors.Join(err, h.stop())
		}
		defer func() { err = errors.Join(err, h.stop()) }()
		c, err := newCheckers(ctx, r)
		if err != nil {
			return err
		}
		c.start(ctx)
		defer c.stop()
		if err := pause(ctx, sessionTTL/10*2); err != nil {
			return err
		}
		tasks := max(int(o.window.Seconds()*trickleTasks), 1)
		s, err := r.during(ctx, func() error {
			written := make(chan error, 1)
			go func() { written <- h.write(ctx, mixWrites, time.Duration(tasks)*time.Second/trickleTasks) }()
			return errors.Join(a.trickle(ctx, r, kindList, tasks), <-written)
		})
		if err == nil {
			t.add(mixRow(s, float64(n), float64(h.sent), float64(tasks))...)
		}
		return err
	})
}

func mixRow(s span, pods, writes, tasks float64) []float64 {
	sec, used := s.seconds(), min(pods, 2)
	renewals := s.calls("pexpire")
	formula := s.calls("ping") + writes*(1+readCommands*pods) + renewals*(renewalCommands+checkCommands*used) + tasks*(taskCommands+wakeCommands*pods)
	return []float64{pods, writes / sec, renewals / sec, tasks / sec, s.commands() / sec, formula / sec, 100 * s.cpu() / sec, s.out() / sec}
}
