package queueagent

import (
	"math/rand/v2"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// kindUnacknowledged is the failure of an attempt that ends with the application's lease.
const kindUnacknowledged = "unacknowledged"

// maxCalm bounds how long a queue with neither lease nor retry goes unobserved.
const maxCalm = 10 * time.Second

// reapLoop first takes back what an earlier process of this agent left behind, then
// looks for expired leases about once a second. With no lease and no retry to wait
// for it looks less often: a lease lasts longer than that, but for one that the application
// has, of which it is told. Of a stream it also looks for entries that other consumers of
// the group have left.
func (q *queue) reapLoop() {
	if !q.reclaim() {
		return
	}
	calm := max(time.Second, min(maxCalm, q.cfg.Lease/3))
	every := time.Second
	adopt := adopter{queue: q}
	for q.awaitRound(every) {
		if !q.redis.Up() {
			continue
		}
		adopt.run()
		r, err := q.store.Reap(q.abort, nil)
		if err != nil {
			q.trouble(err)
			continue
		}
		q.well()
		q.noteReaped(r)
		switch {
		case r.Taken == tasks.MaxReap:
			every = time.Millisecond // there are more
		case r.NextLease.IsZero() && r.NextRetry.IsZero():
			every = calm
		default:
			every = time.Second
		}
	}
}

// awaitRound waits for about that long, or for about a second from when the application has
// been given a lease; false when the queue stops.
func (q *queue) awaitRound(every time.Duration) bool {
	t := time.NewTimer(every/2 + rand.N(every))
	defer t.Stop()
	for {
		select {
		case <-q.stop.Done():
			return false
		case <-t.C:
			return true
		case <-q.handed:
			if every > time.Second {
				every = time.Second
				t.Reset(every/2 + rand.N(every))
			}
		}
	}
}

// adopter takes over entries of a stream from other consumers.
type adopter struct {
	*queue
	seq  uint64
	next time.Time
	bad  string // the last error
}

// run makes a round when one is due: twice in min_idle.
func (a *adopter) run() {
	if a.store.Source.Kind != tasks.Stream || time.Now().Before(a.next) {
		return
	}
	a.next = time.Now().Add(a.cfg.MinIdle / 2)
	for cursor := "0-0"; ; {
		a.seq++
		n, next, err := a.store.Adopt(a.abort, a.seq, cursor)
		if !a.noteAdopted(n, err) || next == "0-0" || a.stopping() {
			return
		}
		cursor = next
	}
}

func (a *adopter) noteAdopted(n int, err error) bool {
	if n > 0 {
		a.alarm.set(time.Now())
		a.log.Warn().Int("entries", n).Str("group", a.cfg.Group).Msg("took over entries that another consumer of the group left unacknowledged")
	}
	switch {
	case err == nil:
		a.bad = ""
		return true
	case err.Error() != a.bad:
		a.bad = err.Error()
		a.log.Warn().Err(err).Msg("entries that other consumers of the group left cannot be taken over")
	}
	return false
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
		members, next, err := q.store.Predecessors(q.abort, cursor)
		if err != nil {
			return err
		}
		for len(members) > 0 {
			n := min(len(members), tasks.MaxReap)
			r, err := q.store.Reap(q.abort, members[:n])
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

func (q *queue) noteReaped(r tasks.Reaped) {
	q.alarm.set(r.NextRetry)
	q.stats.dead.Add(uint64(r.Buried))
	if r.Unacknowledged > 0 {
		q.stats.failed.Add(uint64(r.Unacknowledged))
		q.stats.fail(kindUnacknowledged)
	}
	if r.Requeued+r.Buried > 0 {
		q.log.Warn().Int("requeued", r.Requeued).Int("dead_lettered", r.Buried).Int("unacknowledged", r.Unacknowledged).
			Msg("took over tasks whose leases had ended: an agent died with them, or the application did not acknowledge them in time")
	}
}
