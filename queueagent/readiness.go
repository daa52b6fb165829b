package queueagent

import (
	"context"
	"sync"
	"time"
)

// readiness asks the application whether it can take tasks (webhook.ready): before the
// first claim, while the breaker is open, and when a delivery has failed in a way that
// may not be the task's fault. One goroutine asks; any number of workers may wait for
// the same answer.
type readiness struct {
	ask  func(context.Context) error
	gate *gate
	log  func(err error) // told when claiming stops or goes on by an answer

	mu      sync.Mutex
	waiting []chan bool
	asked   chan struct{} // capacity 1: somebody waits
}

func newReadiness(g *gate, ask func(context.Context) error, log func(error)) *readiness {
	return &readiness{ask: ask, gate: g, log: log, asked: make(chan struct{}, 1)}
}

// ready waits for the answer to a question that is asked from now on: one under way
// may be from before the application failed. It is true when ctx, which must end no
// later than that of the loop, is done first.
func (r *readiness) ready(ctx context.Context) bool {
	answer := make(chan bool, 1)
	r.mu.Lock()
	r.waiting = append(r.waiting, answer) // bounded: each waiter is a worker
	r.mu.Unlock()
	poke(r.asked)
	select {
	case ok := <-answer:
		return ok
	case <-ctx.Done():
		return true
	}
}

// loop asks until ctx is done.
func (r *readiness) loop(ctx context.Context) {
	for first := true; r.await(ctx); {
		r.mu.Lock()
		waiting := r.waiting
		r.waiting = nil
		r.mu.Unlock()
		err := r.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		toggled := r.gate.told(err == nil, time.Now())
		for _, w := range waiting {
			w <- err == nil
		}
		if toggled || first && err != nil {
			r.log(err)
		}
		first = false
	}
}

// await waits until there is a reason to ask; false when ctx is done.
func (r *readiness) await(ctx context.Context) bool {
	for {
		at, open := r.gate.probeTime()
		var timer <-chan time.Time
		if open {
			t := time.NewTimer(time.Until(at))
			defer t.Stop()
			timer = t.C
		}
		select {
		case <-ctx.Done():
			return false
		case <-r.asked:
			return true
		case <-timer:
			return true
		case <-r.gate.opened:
		}
	}
}
