package queueagent

import (
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// keepLoop renews the leases of all that is in flight, every third of a lease; after a
// failure four times as often. A POST whose lease could not be renewed ends by its own
// deadline, before the lease does.
func (q *queue) keepLoop(stop <-chan struct{}) {
	every := q.cfg.Lease / 3
	t := time.NewTimer(every)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		if q.renewAll() {
			t.Reset(every)
		} else {
			t.Reset(every / 4)
		}
	}
}

func (q *queue) renewAll() bool {
	ds := q.flight.list()
	for len(ds) > 0 {
		n := min(len(ds), tasks.MaxBatch)
		if !q.renew(ds[:n]) {
			return false
		}
		ds = ds[n:]
	}
	return true
}

func (q *queue) renew(ds []*delivery) bool {
	members := make([]string, len(ds))
	for i, d := range ds {
		members[i] = d.Member
	}
	sent := time.Now()
	lost, err := q.store.Renew(q.abort, members)
	if err != nil {
		q.trouble(err)
		return false
	}
	q.well()
	gone := make(map[string]bool, len(lost))
	for _, m := range lost {
		gone[m] = true
	}
	for _, d := range ds {
		if gone[d.Member] {
			// Or its result was written since we listed it: then this does nothing.
			d.cancel(errLeaseLost)
		} else {
			d.renewed(sent.Add(q.cfg.Lease))
		}
	}
	return true
}
