package queueagent

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

type counters struct {
	claimed, delivered, failed, retries, dead atomic.Uint64
	redelivered, throttled, unknownAcks       atomic.Uint64
	enqueued, duplicates, enqueueFailed       atomic.Uint64
	taskID                                    atomic.Uint64 // of the last task that was enqueued
	lastError                                 atomic.Pointer[string]
	sourceErr                                 atomic.Pointer[string]
	paused                                    atomic.Bool
}

// fail notes what went wrong last.
func (c *counters) fail(kind string) { c.lastError.Store(&kind) }

// QueueStats are one queue's numbers in this process. The counters only grow, from
// zero when the agent was made.
type QueueStats struct {
	Name   string
	Source string // "list", "delay" or "stream"
	// InFlight is how many tasks are leased to this process now.
	InFlight int
	// Claimed counts leases taken, Delivered those acknowledged after a 2xx.
	Claimed, Delivered uint64
	// Failed counts failed attempts, Retries those that are tried again.
	Failed, Retries uint64
	// DeadLettered counts tasks that this process moved to the dead letters.
	DeadLettered uint64
	// Redelivered counts tasks claimed again after an agent had died with them.
	Redelivered uint64
	// Throttled counts answers that asked for a pause (429 or 503 with Retry-After).
	Throttled uint64
	// UnknownAcks counts deliveries whose task was gone already: delivered twice.
	UnknownAcks uint64
	// Enqueued counts tasks that Enqueue added, Duplicates those that were there by
	// their deduplication key, EnqueueFailed those that Redis did not take.
	Enqueued, Duplicates, EnqueueFailed uint64
	// Paused: no agent claims, since somebody has stopped the queue.
	Paused bool
	// Lateness is how long after it could be delivered the first delivery of each task
	// began, EndToEnd until its webhook had answered with a 2xx, in seconds by the
	// clock of Redis. Attempts is how many deliveries each delivered task took.
	Lateness, EndToEnd, Attempts Histogram
	// HeldBack: the application has asked for a pause, and claiming has stopped.
	HeldBack bool
	// BreakerOpen: the webhook cannot be reached, and claiming has stopped.
	BreakerOpen bool
	// LastError is a word for what went wrong last, such as "timeout", "status_500", "application",
	// "unreachable" or "redis"; empty when nothing has.
	LastError string
}

func (q *queue) snapshot() QueueStats {
	s := QueueStats{
		Name: q.cfg.Name, Source: string(q.store.Source.Kind), InFlight: q.flight.len(),
		Claimed: q.stats.claimed.Load(), Delivered: q.stats.delivered.Load(),
		Failed: q.stats.failed.Load(), Retries: q.stats.retries.Load(),
		DeadLettered: q.stats.dead.Load(), Redelivered: q.stats.redelivered.Load(),
		Throttled: q.stats.throttled.Load(), UnknownAcks: q.stats.unknownAcks.Load(),
		Enqueued: q.stats.enqueued.Load(), Duplicates: q.stats.duplicates.Load(), EnqueueFailed: q.stats.enqueueFailed.Load(),
		Lateness: q.times.lateness.snapshot(), EndToEnd: q.times.endToEnd.snapshot(), Attempts: q.times.attempts.snapshot(),
		HeldBack: q.gate.heldBack(time.Now()), BreakerOpen: q.gate.isOpen(), Paused: q.stats.paused.Load(),
	}
	if kind := q.stats.lastError.Load(); kind != nil {
		s.LastError = *kind
	}
	return s
}

// Depth is how much of one queue is in Redis, whoever works on it.
type Depth = tasks.Depth

// Depths asks Redis how full each queue is. It is for metrics: the numbers of a queue
// are not from one moment.
func (a *Agent) Depths(ctx context.Context) ([]Depth, error) {
	stores := make([]*tasks.Store, len(a.queues))
	for i, q := range a.queues {
		stores[i] = q.store
	}
	return tasks.Depths(ctx, stores)
}
