package queueagent

import (
	"context"
	"sync"
	"time"
)

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
	w := newWebhook(q)
	defer w.conn.close()
	idle := time.NewTimer(idleTimeout)
	defer idle.Stop()
	for {
		idle.Reset(idleTimeout)
		select {
		case d, ok := <-q.work:
			if !ok {
				return
			}
			q.outcomes <- w.deliver(q.abort, d, q.cfg)
			q.crew.finished()
		case <-idle.C:
			w.conn.close()
			if q.crew.leave() {
				return
			}
		}
	}
}

// deliver makes one delivery.
func (w *webhook) deliver(ctx context.Context, d *delivery, cfg Config) outcome {
	until, err := d.begin(cfg.Webhook.Timeout)
	if err != nil {
		return judge(d, cfg.Retry, answer{err: err})
	}
	if !w.prepare(&d.Task, time.Now()) {
		return badPayload(d)
	}
	w.resp.Reset()
	err = w.conn.post(ctx, d, until, &w.req, &w.resp)
	w.req.SetBodyRaw(nil) // a payload must not stay in memory with an idle worker
	return judge(d, cfg.Retry, w.read(err, time.Now()))
}
