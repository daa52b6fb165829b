package queueagent

import (
	"runtime"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// settleLoop writes results to Redis, but leaves acknowledgements to the claimer as long as
// there is one. What has piled up during one call goes into the next: the busier the
// queue, the larger the batches. It ends when outcomes is closed.
func (q *queue) settleLoop() {
	batch := make([]outcome, 0, tasks.MaxBatch)
	for o := range q.outcomes {
		batch = append(batch[:0], o)
		// What wakes this goroutine also has it run next. Workers that can run come first:
		// their outcomes make a larger batch, and cost nothing when there are none.
		runtime.Gosched()
		for len(batch) < tasks.MaxBatch && q.more(&batch) {
		}
		now, stored := time.Now(), q.store.Now()
		for _, o := range batch {
			if !o.noted {
				q.note(o, now, stored)
			}
		}
		acks := acksFirst(batch)
		if q.acks.add(batch[:acks]) {
			q.settle(batch[acks:])
		} else {
			q.settle(batch)
		}
		clear(batch)
	}
}

// acksFirst moves successful deliveries to the front, and counts them.
func acksFirst(batch []outcome) (n int) {
	for i := range batch {
		if batch[i].verdict == verdictAck {
			batch[i], batch[n] = batch[n], batch[i]
			n++
		}
	}
	return n
}

// settle writes results and frees their slots.
func (q *queue) settle(batch []outcome) {
	if len(batch) == 0 {
		return
	}
	ok := q.write(batch)
	q.flight.remove(batch)
	if ok {
		q.slots.put(len(batch))
	}
}

// more adds an outcome that is there already.
func (q *queue) more(batch *[]outcome) bool {
	select {
	case o, ok := <-q.outcomes:
		if ok {
			*batch = append(*batch, o)
		}
		return ok
	default:
		return false
	}
}

// note counts and logs an outcome, and tells the gate. It is given the time by this
// process's clock, and by that of Redis.
func (q *queue) note(o outcome, now, stored time.Time) {
	q.times.observe(o, stored)
	if q.gate.report(o.d.gen, o.reach, now) {
		if o.reach == reachNo {
			q.log.Warn().Str("error", o.detail).Msg("the webhook cannot be reached: claiming stops, one task at a time probes")
		} else {
			q.log.Info().Msg("the webhook answers again: claiming goes on")
		}
	}
	if o.throttle > 0 {
		q.gate.throttle(now.Add(o.throttle))
		q.stats.throttled.Add(1)
	}
	if o.verdict == verdictAck || o.verdict == verdictPend {
		return
	}
	if o.kind == string(webhook.KindNotDue) {
		return // nothing is wrong
	}
	q.stats.fail(o.kind)
	if o.attempt {
		q.stats.failed.Add(1)
	}
	q.logFailure(o)
}

// noteReady is told when claiming stops or goes on by an answer to webhook.ready.
func (q *queue) noteReady(err error) {
	if err == nil {
		q.log.Info().Msg("the application is ready: claiming goes on")
		return
	}
	q.stats.fail(kindNotReady)
	q.log.Warn().Str("error", webhook.Printable([]byte(err.Error()), maxDetail)).
		Msg("the application is not ready: claiming waits until webhook.ready answers with a 2xx")
}

func (q *queue) logFailure(o outcome) {
	e := q.failed.Warn()
	if o.verdict == verdictBury {
		e = q.log.Error() // each of these waits for somebody
	} else if !o.attempt {
		e = q.failed.Debug()
	}
	e = e.Str("id", o.d.ID).Str("kind", o.kind).Int("status", o.status).Dur("duration_ms", o.took).
		Int("attempt", o.d.Attempts+1).Int("max_attempts", q.cfg.Retry.MaxAttempts)
	if o.excerpt != "" {
		e = e.Str("excerpt", o.excerpt)
	} else {
		e = e.Str("detail", o.detail)
	}
	switch o.verdict {
	case verdictBury:
		e.Str("reason", o.bury).Msg("task moved to the dead letters")
	case verdictRetry:
		e.Dur("next_ms", o.delay).Time("next", time.Now().Add(o.delay).UTC()).Msg("delivery failed")
	case verdictGiveBack:
		e.Msg("task given back")
	case verdictDrop:
		e.Msg("task left to its new owner")
	}
}

// write writes a batch, and tries again until it succeeds: giving up would deliver
// twice. It is false when a shutdown has run out of time. Every script is safe to run
// again when its reply was lost.
func (q *queue) write(batch []outcome) bool {
	var acks []string
	var backs []tasks.Back
	var graves []tasks.Grave
	var pends []tasks.Pending
	for _, o := range batch {
		switch o.verdict {
		case verdictAck:
			acks = append(acks, o.d.Member)
		case verdictRetry, verdictGiveBack:
			backs = append(backs, tasks.Back{Member: o.d.Member, Attempt: o.verdict == verdictRetry, Delay: o.delay})
		case verdictBury:
			graves = append(graves, tasks.Grave{Member: o.d.Member, Reason: o.bury, Detail: o.detail, Attempt: o.attempt})
		case verdictPend:
			pends = append(pends, tasks.Pending{Member: o.d.Member, Lease: o.lease})
		case verdictDrop:
		}
	}
	return q.writeAcks(acks) && q.writePends(pends) && q.writeBacks(backs) && q.writeGraves(graves)
}

func (q *queue) writeAcks(acks []string) bool {
	if len(acks) == 0 {
		return true
	}
	return q.persist(func() error {
		n, err := q.store.Ack(q.abort, acks)
		if err == nil {
			q.stats.delivered.Add(uint64(len(acks)))
			q.stats.unknownAcks.Add(uint64(len(acks) - n))
		}
		return err
	})
}

// writePends hands tasks over to the application.
func (q *queue) writePends(pends []tasks.Pending) bool {
	if len(pends) == 0 {
		return true
	}
	return q.persist(func() error {
		_, err := q.store.Pend(q.abort, pends)
		if err == nil {
			poke(q.handed)
		}
		return err
	})
}

func (q *queue) writeBacks(backs []tasks.Back) bool {
	if len(backs) == 0 {
		return true
	}
	return q.persist(func() error {
		next, err := q.store.Nack(q.abort, backs)
		if err == nil {
			for _, b := range backs {
				if b.Attempt {
					q.stats.retries.Add(1)
				}
			}
			q.alarm.set(next)
		}
		return err
	})
}

func (q *queue) writeGraves(graves []tasks.Grave) bool {
	if len(graves) == 0 {
		return true
	}
	return q.persist(func() error {
		n, err := q.store.Bury(q.abort, graves)
		if err == nil {
			q.stats.dead.Add(uint64(n))
		}
		return err
	})
}

// persist tries until it succeeds; false: until giveUp.
func (q *queue) persist(call func() error) bool {
	wait := pause{base: 20 * time.Millisecond, max: time.Second}
	for {
		err := call()
		if err == nil {
			q.well()
			return true
		}
		q.trouble(err)
		t := time.NewTimer(wait.next())
		select {
		case <-q.giveUp:
			t.Stop()
			return false
		case <-t.C:
		}
	}
}
