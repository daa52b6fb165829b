package queueagent

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

type counters struct {
	claimed, delivered, failed, retries, dead atomic.Uint64
	redelivered, throttled, unknownAcks       atomic.Uint64
	lastError                                 atomic.Pointer[string]
	sourceErr                                 atomic.Pointer[string]
}

// fail notes what went wrong last.
func (c *counters) fail(kind string) { c.lastError.Store(&kind) }

// QueueStats are one queue's numbers in this process. The counters only grow, from
// zero when the agent was made.
type QueueStats struct {
	Name   string
	Source string // "list" or "delay"
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
	// BreakerOpen: the webhook cannot be reached, and claiming has stopped.
	BreakerOpen bool
	// LastError is a word for what went wrong last, such as "timeout", "status_500",
	// "unreachable" or "redis"; empty when nothing has.
	LastError string
}

func (q *queue) snapshot() QueueStats {
	s := QueueStats{
		Name: q.cfg.Name, Source: q.store.kind, InFlight: q.flight.len(),
		Claimed: q.stats.claimed.Load(), Delivered: q.stats.delivered.Load(),
		Failed: q.stats.failed.Load(), Retries: q.stats.retries.Load(),
		DeadLettered: q.stats.dead.Load(), Redelivered: q.stats.redelivered.Load(),
		Throttled: q.stats.throttled.Load(), UnknownAcks: q.stats.unknownAcks.Load(),
		BreakerOpen: q.gate.isOpen(),
	}
	if kind := q.stats.lastError.Load(); kind != nil {
		s.LastError = *kind
	}
	return s
}

// Depth is how much of one queue is in Redis, whoever works on it.
type Depth struct {
	Name      string
	Ready     int64 // tasks in the source that are due
	Scheduled int64 // tasks in the source that are due later; 0 for a list
	Retrying  int64 // tasks waiting for another attempt
	Leased    int64 // tasks leased to some agent
	Dead      int64 // dead letters
	// OldestDue is when the oldest task that is known by time was or will be due: in
	// a sorted set, or waiting for another attempt. Zero: none is. A list does not
	// tell when its tasks were added.
	OldestDue time.Time
}

// Depths asks Redis how full each queue is, in one round trip. It is for metrics: the
// numbers of a queue are not from one moment.
func (a *Agent) Depths(ctx context.Context) ([]Depth, error) {
	if len(a.queues) == 0 {
		return nil, nil
	}
	c := a.redis.Client()
	if c == nil {
		return nil, errNotConnected
	}
	var cmds rueidis.Commands
	for _, q := range a.queues {
		cmds = append(cmds, q.depthCommands(c.B())...)
	}
	replies := c.DoMulti(ctx, cmds...)
	depths := make([]Depth, len(a.queues))
	for i, q := range a.queues {
		n := 5
		if q.store.kind == kindDelay {
			n = 7
		}
		var err error
		if depths[i], err = q.depth(replies[:n]); err != nil {
			return nil, fmt.Errorf("queue %s: %w", q.cfg.Name, err)
		}
		replies = replies[n:]
	}
	return depths, nil
}

// depthCommands gives 5 commands for a list, 7 for a sorted set; depth reads them.
func (q *queue) depthCommands(b rueidis.Builder) []rueidis.Completed {
	k := q.store.keys
	cmds := []rueidis.Completed{
		b.Zcard().Key(k.retry).Build(),
		b.Zcard().Key(k.leases).Build(),
		b.Xlen().Key(k.dead).Build(),
		b.Zrange().Key(k.retry).Min("0").Max("0").Withscores().Build(),
	}
	if q.store.kind == kindList {
		return append(cmds, b.Llen().Key(k.source).Build())
	}
	now := strconv.FormatFloat(float64(time.Now().UnixMilli()+q.store.skew.Load())/1000, 'f', 3, 64)
	return append(cmds,
		b.Zcount().Key(k.source).Min("-inf").Max(now).Build(),
		b.Zcard().Key(k.source).Build(),
		b.Zrange().Key(k.source).Min("0").Max("0").Withscores().Build())
}

func (q *queue) depth(r []rueidis.RedisResult) (Depth, error) {
	var err error
	count := func(i int) int64 {
		n, e := r[i].AsInt64()
		if e != nil && err == nil {
			err = e
		}
		return n
	}
	d := Depth{Name: q.cfg.Name, Retrying: count(0), Leased: count(1), Dead: count(2), Ready: count(4)}
	oldest := func(i int, unitMS float64) {
		head, e := r[i].AsZScores()
		if e != nil && err == nil {
			err = e
		}
		if len(head) == 0 || math.Abs(head[0].Score*unitMS) > 1e15 {
			return
		}
		if at := time.UnixMilli(int64(head[0].Score * unitMS)); d.OldestDue.IsZero() || at.Before(d.OldestDue) {
			d.OldestDue = at
		}
	}
	oldest(3, 1)
	if q.store.kind == kindDelay {
		d.Scheduled = max(0, count(5)-d.Ready)
		oldest(6, 1000)
	}
	return d, err
}
