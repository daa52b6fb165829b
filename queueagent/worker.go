package queueagent

import (
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// idleTimeout is how long a worker without work keeps its connection: less than the
// 5 s after which common servers close theirs.
const idleTimeout = 4 * time.Second

// crew counts workers and what they have to do, so that there is a worker for every
// delivery and none for long without one.
type crew struct {
	mu       sync.Mutex
	workers  int
	expected int // deliveries handed over and not finished
	wg       sync.WaitGroup
}

// expect announces n more deliveries and starts the workers that they need.
func (c *crew) expect(n int, loop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expected += n
	for c.workers < c.expected {
		c.workers++
		c.wg.Go(loop)
	}
}

func (c *crew) finished() {
	c.mu.Lock()
	c.expected--
	c.mu.Unlock()
}

// leave is true when an idle worker may end: when each delivery keeps one without it.
func (c *crew) leave() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.workers-1 < c.expected {
		return false
	}
	c.workers--
	return true
}

func (c *crew) wait() { c.wg.Wait() }

// workLoop is one worker, with a connection of its own. It ends when there is no work
// for a while, or never will be.
func (q *queue) workLoop() {
	w := q.hook.Sender()
	defer w.Close()
	idle := time.NewTimer(idleTimeout)
	defer idle.Stop()
	for {
		d, ok := q.nextWork(w, idle)
		if !ok {
			return
		}
		q.outcomes <- q.deliver(w, d)
		q.crew.finished()
	}
}

// nextWork waits for a delivery; false when there is none for this worker any more. To
// set a timer costs more than to take what is there already.
func (q *queue) nextWork(w *webhook.Sender, idle *time.Timer) (*delivery, bool) {
	select {
	case d, ok := <-q.work:
		return d, ok
	default:
	}
	for {
		idle.Reset(idleTimeout)
		select {
		case d, ok := <-q.work:
			return d, ok
		case <-idle.C:
			w.Close()
			if q.crew.leave() {
				return nil, false
			}
		}
	}
}

// deliver makes one delivery.
func (q *queue) deliver(w *webhook.Sender, d *delivery) outcome {
	if d.Damaged != "" {
		return outcome{d: d, verdict: verdictBury, kind: "damaged", bury: "damaged", detail: webhook.Printable([]byte(d.Damaged), maxDetail)}
	}
	began := time.Now()
	a := w.Send(q.abort, d, &webhook.Request{
		ID: d.ID, Payload: d.Payload, Attempt: d.Attempts + 1, Reason: d.Reason.String(), First: d.Since,
		Now: q.store.Reached(began), Token: d.Token(),
	})
	now := time.Now()
	o := q.policy.judge(d, a, q.store.Reached(now))
	if q.ready != nil && o.askable() && !q.ready.ready(q.abort) {
		o = q.policy.pardoned(o, q.store.Reached(time.Now()))
	}
	o.took = now.Sub(began)
	return o
}
