package queueagent

import (
	"errors"
	"runtime"
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
// this process is late for no reason, and a crash delays it further. It also writes
// acknowledgements, whose slots the same script fills again.
func (q *queue) claimLoop() {
	defer q.leaveAcks()
	var seq uint64
	source := pause{base: time.Second, max: maxPause}
	for {
		p, ok := q.permit()
		if !ok {
			return
		}
		seq++
		got, until, ok := q.claimBatch(seq, p)
		if !ok {
			q.slots.put(p.slots - len(p.acks))
			return
		}
		q.slots.put(p.slots - len(got.Tasks))
		if len(got.Tasks) == 0 {
			q.gate.unused(p.gen)
		}
		q.dispatch(got.Tasks, p.gen, until)
		if q.noteSource(got.SourceErr); got.SourceErr != "" {
			if !q.restFor(source.next()) {
				return
			}
			continue
		}
		source.reset()
		q.noteClaim(got)
		if !q.afterClaim(got, p.n) {
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
		return q.restFor(min(max(got.Next.Sub(now), time.Millisecond), maxBlocked))
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

// permission is what the claimer may do next.
type permission struct {
	n     int       // tasks that may be claimed
	gen   uint64    // of the gate
	acks  []outcome // to be written with the claim
	slots int       // slots in hand: those that were free, and one for each of acks
}

// permit waits until Redis is up, the gate is open, and there is a slot, free or about
// to be by an acknowledgement. It is false when the queue stops.
func (q *queue) permit() (permission, bool) {
	for !q.stopping() {
		if !q.redis.Up() || q.redis.Client() == nil {
			q.health.down(tasks.ErrNotConnected)
			q.sleep(downPoll)
			continue
		}
		runtime.Gosched() // as settleLoop does
		p := permission{acks: q.acks.take(tasks.MaxBatch)}
		free := q.slots.take(tasks.MaxBatch)
		if p.slots = free + len(p.acks); p.slots == 0 {
			select {
			case <-q.slots.ready:
			case <-q.acks.ready:
			case <-q.stop.Done():
			}
			continue
		}
		n, gen, at := q.gate.permit(time.Now())
		if n > 0 {
			p.n, p.gen = min(n, p.slots, tasks.MaxBatch), gen
			return p, true
		}
		q.slots.put(free)
		q.acks.putBack(p.acks)
		poke(q.acks.ready)
		q.rest(at, q.gate.changed, nil)
	}
	return permission{}, false
}

// claimBatch claims with one sequence number until Redis has answered: after a lost
// reply the next try gets the same batch. until is a time, by our clock, before which
// the leases cannot end. When it is not ok, the acknowledgements are back in the box.
func (q *queue) claimBatch(seq uint64, p permission) (got tasks.Claimed, until time.Time, ok bool) {
	members := ackMembers(p.acks)
	wait := pause{base: 50 * time.Millisecond, max: time.Second}
	for {
		q.alarm.clear()
		sent := time.Now()
		got, err := q.store.Claim(q.abort, seq, p.n, members...)
		if err == nil {
			q.well()
			q.acked(p.acks, got.Acked)
			return got, sent.Add(q.cfg.Lease), true
		}
		stopping := q.stopping() // before the call too, or just now: this was the last try
		if !errors.Is(err, tasks.ErrLate) {
			q.trouble(err)
		}
		if stopping || !q.awaitRedis(wait.next()) {
			q.acks.putBack(p.acks)
			return tasks.Claimed{}, time.Time{}, false
		}
	}
}

// awaitRedis waits for a while, and until Redis is up; false when the queue stops.
func (q *queue) awaitRedis(d time.Duration) bool {
	ok := q.sleep(d)
	for ok && !q.redis.Up() {
		ok = q.sleep(downPoll)
	}
	return ok
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
		switch q.rest(q.alarm.get(), q.wake, q.alarm.changed) {
		case restStopped:
			return false
		case restSecond: // it rings earlier
		default:
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
