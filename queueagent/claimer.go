package queueagent

import (
	"errors"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

const (
	// downPoll is how often a waiting goroutine looks whether Redis is back. It costs
	// no command.
	downPoll = 100 * time.Millisecond
	// maxBlocked bounds the wait for a queue that is paused, limited or strictly in
	// order, which others can end.
	maxBlocked = time.Second
	// maxPause bounds the pause between tries after errors.
	maxPause = 5 * time.Second
)

// claimLoop leases tasks, only as many as there are free slots: a task that waits in
// this process is late for no reason, and a crash delays it further.
func (q *queue) claimLoop() {
	var seq uint64
	source := pause{base: time.Second, max: maxPause}
	for {
		n, gen, ok := q.permit()
		if !ok {
			return
		}
		seq++
		got, until, ok := q.claimBatch(seq, n)
		q.slots.put(n - len(got.Tasks))
		if !ok {
			return
		}
		if len(got.Tasks) == 0 {
			q.gate.unused(gen)
		}
		q.dispatch(got.Tasks, gen, until)
		if q.noteSource(got.SourceErr); got.SourceErr != "" {
			if !q.sleep(source.next()) {
				return
			}
			continue
		}
		source.reset()
		q.noteClaim(got)
		if !q.afterClaim(got, n) {
			return
		}
	}
}

// afterClaim waits until another claim makes sense, when there was less than asked
// for; false when the queue stops.
func (q *queue) afterClaim(got tasks.Claimed, n int) bool {
	now := time.Now()
	switch {
	case got.Blocked != "":
		// The source may be full: only time helps, or somebody who resumes the queue.
		return q.sleep(min(max(got.Next.Sub(now), time.Millisecond), maxBlocked))
	case len(got.Tasks) == n, !got.Next.IsZero() && !got.Next.After(now):
		return true
	}
	q.alarm.set(got.Next)
	return q.awaitWork()
}

// noteClaim keeps what others ask for.
func (q *queue) noteClaim(got tasks.Claimed) {
	paused := got.Blocked == "paused"
	if q.stats.paused.Swap(paused) != paused {
		if paused {
			q.log.Warn().Msg("the queue is paused: nothing is claimed until it is resumed")
		} else {
			q.log.Info().Msg("the queue is resumed")
		}
	}
	if got.LastID != "" {
		q.watch.last.Store(&got.LastID)
	}
}

// permit waits until Redis is up, a slot is free and the gate is open. It takes the
// slots; it is false when the queue stops.
func (q *queue) permit() (n int, gen uint64, ok bool) {
	for !q.stopping() {
		if !q.redis.Up() || q.redis.Client() == nil {
			q.health.down(tasks.ErrNotConnected)
			q.sleep(downPoll)
			continue
		}
		got := q.slots.take(tasks.MaxBatch)
		if got == 0 {
			select {
			case <-q.slots.ready:
			case <-q.stop.Done():
			}
			continue
		}
		n, gen, at := q.gate.permit(time.Now())
		n = min(n, got)
		q.slots.put(got - n)
		if n > 0 {
			return n, gen, true
		}
		q.awaitGate(at)
	}
	return 0, 0, false
}

func (q *queue) awaitGate(at time.Time) {
	var timer <-chan time.Time
	if !at.IsZero() {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-q.gate.changed:
	case <-timer:
	case <-q.stop.Done():
	}
}

// claimBatch claims with one sequence number until Redis has answered: after a lost
// reply the next try gets the same batch. until is a time, by our clock, before which
// the leases cannot end.
func (q *queue) claimBatch(seq uint64, n int) (got tasks.Claimed, until time.Time, ok bool) {
	wait := pause{base: 50 * time.Millisecond, max: time.Second}
	for {
		q.alarm.clear()
		sent := time.Now()
		got, err := q.store.Claim(q.abort, seq, n)
		if err == nil {
			q.well()
			return got, sent.Add(q.cfg.Lease), true
		}
		stopping := q.stopping() // before the call too, or just now: this was the last try
		if !errors.Is(err, tasks.ErrLate) {
			q.trouble(err)
		}
		if stopping {
			return tasks.Claimed{}, time.Time{}, false
		}
		q.sleep(wait.next())
		for !q.redis.Up() {
			if !q.sleep(downPoll) {
				return tasks.Claimed{}, time.Time{}, false
			}
		}
	}
}

// dispatch hands leased tasks to the workers.
func (q *queue) dispatch(ts []tasks.Task, gen uint64, until time.Time) {
	if len(ts) == 0 {
		return
	}
	ds := make([]*delivery, len(ts))
	for i, t := range ts {
		ds[i] = &delivery{Task: t, gen: gen, margin: q.cfg.Lease / 6, leaseUntil: until}
		if t.Reason == tasks.Crash {
			q.stats.redelivered.Add(1)
		}
	}
	q.stats.claimed.Add(uint64(len(ts)))
	q.flight.add(ds)
	q.crew.expect(len(ds), q.workLoop)
	for _, d := range ds {
		q.work <- d
	}
}

// awaitWork waits until there may be a task again; false when the queue stops.
func (q *queue) awaitWork() bool {
	q.waiting.Store(true)
	defer q.waiting.Store(false)
	poke(q.armed)
	for {
		var timer <-chan time.Time
		var t *time.Timer
		if at := q.alarm.get(); !at.IsZero() {
			t = time.NewTimer(time.Until(at))
			timer = t.C
		}
		again := false
		select {
		case <-q.stop.Done():
			return false
		case <-q.wake:
		case <-timer:
		case <-q.alarm.changed: // it rings earlier
			again = true
		}
		if t != nil {
			t.Stop()
		}
		if !again {
			return true
		}
	}
}

// noteSource logs once that the source cannot be read, and once that it can again.
func (q *queue) noteSource(err string) {
	if old := q.stats.sourceErr.Swap(&err); old != nil && *old == err || old == nil && err == "" {
		return
	}
	if err == "" {
		q.log.Info().Msg("the queue's source can be read again")
		return
	}
	q.stats.fail("source")
	q.log.Error().Str("error", err).Str("key", q.store.Keys.Source).
		Msg("the queue's source cannot be read: check that the key is of the type that the configuration says")
}
