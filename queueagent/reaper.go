package queueagent

import (
	"math/rand/v2"
	"time"
)

// maxCalm bounds how long a queue with neither lease nor retry goes unobserved.
const maxCalm = 10 * time.Second

// reapLoop first takes back what an earlier process of this agent left behind, then
// looks for expired leases about once a second. With no lease and no retry to wait
// for it looks less often: a lease lasts longer than that.
func (q *queue) reapLoop() {
	if !q.reclaim() {
		return
	}
	calm := min(maxCalm, q.cfg.Lease/3)
	every := time.Second
	for q.sleep(every/2 + rand.N(every)) {
		if !q.redis.Up() {
			continue
		}
		r, err := q.store.reap(q.abort, q.cfg.Retry.MaxAbandons, nil)
		if err != nil {
			q.trouble(err)
			continue
		}
		q.well()
		q.noteReaped(r)
		switch {
		case r.taken == maxBatch/10:
			every = time.Millisecond // there are more
		case r.nextLease.IsZero() && r.nextRetry.IsZero():
			every = max(time.Second, calm)
		default:
			every = time.Second
		}
	}
}

// reclaim takes the leases of earlier processes at once; false when the queue stops.
// Once only: two living processes that were given the same id would else take each
// other's leases for ever.
func (q *queue) reclaim() bool {
	wait := pause{base: 50 * time.Millisecond, max: maxPause}
	for {
		if q.redis.Up() && q.redis.Client() != nil {
			err := q.reclaimOnce()
			if err == nil {
				return true
			}
			q.trouble(err)
		}
		if !q.sleep(wait.next()) {
			return false
		}
	}
}

func (q *queue) reclaimOnce() error {
	for cursor := uint64(0); ; {
		members, next, err := q.store.predecessors(q.abort, cursor)
		if err != nil {
			return err
		}
		for len(members) > 0 {
			n := min(len(members), maxBatch/10)
			r, err := q.store.reap(q.abort, q.cfg.Retry.MaxAbandons, members[:n])
			if err != nil {
				return err
			}
			q.noteReaped(r)
			members = members[n:]
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

func (q *queue) noteReaped(r reaped) {
	q.alarm.set(r.nextRetry)
	q.stats.dead.Add(uint64(r.poison))
	if r.requeued+r.poison > 0 {
		q.log.Warn().Int("requeued", r.requeued).Int("poison", r.poison).
			Msg("took over tasks of an agent that ended without giving them back")
	}
}
