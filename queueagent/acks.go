package queueagent

import (
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// ackBox holds deliveries that have succeeded until the claimer writes them, with its
// next claim: one script then frees slots and fills them. It holds no more than there
// are slots, since each delivery in it still has its own.
type ackBox struct {
	mu     sync.Mutex
	all    []outcome
	closed bool
	ready  chan struct{} // capacity 1: there is something
}

func newAckBox() *ackBox { return &ackBox{ready: make(chan struct{}, 1)} }

// add is false when the box is closed: the caller has to write them.
func (b *ackBox) add(acks []outcome) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.all = append(b.all, acks...)
	poke(b.ready)
	return true
}

// take takes out up to limit.
func (b *ackBox) take(limit int) []outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(limit, len(b.all))
	if n == 0 {
		return nil
	}
	acks := append([]outcome(nil), b.all[:n]...)
	left := copy(b.all, b.all[n:])
	clear(b.all[left:])
	if b.all = b.all[:left]; left > 0 {
		poke(b.ready)
	}
	return acks
}

// putBack puts in what could not be written. Only the claimer calls it, before it closes
// the box.
func (b *ackBox) putBack(acks []outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, acks...)
}

// close gives what is left.
func (b *ackBox) close() []outcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.all
}

// flushAcks writes what is in the box without a claim. It tries once: false when Redis
// did not take it.
func (q *queue) flushAcks() bool {
	for {
		acks := q.acks.take(tasks.MaxBatch)
		if len(acks) == 0 {
			return true
		}
		removed, err := q.store.Ack(q.abort, ackMembers(acks))
		if err != nil {
			q.acks.putBack(acks)
			q.trouble(err)
			return false
		}
		q.well()
		q.acked(acks, removed)
		q.slots.put(len(acks))
	}
}

// acked notes that acknowledgements are in Redis. Their slots are still to be freed.
func (q *queue) acked(acks []outcome, removed int) {
	q.stats.delivered.Add(uint64(len(acks)))
	q.stats.unknownAcks.Add(uint64(len(acks) - removed))
	q.flight.remove(acks)
}

// leaveAcks hands what the claimer has not written over to the settler, as it ends. The
// channel has room, since each of them still holds a slot.
func (q *queue) leaveAcks() {
	for _, o := range q.acks.close() {
		o.noted = true
		q.outcomes <- o
	}
}

func ackMembers(acks []outcome) []string {
	members := make([]string, len(acks))
	for i := range acks {
		members[i] = acks[i].d.Member
	}
	return members
}

// rested says what has ended a rest.
type rested uint8

const (
	restStopped rested = iota // the queue stops
	restTimer
	restFirst  // the first signal
	restSecond // the second signal
)

// rest is how the claimer waits: until a time, if it is not zero, or one of two signals
// that may be nil. Meanwhile it writes acknowledgements, which nobody else does.
func (q *queue) rest(until time.Time, first, second <-chan struct{}) rested {
	var timer, again <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	for {
		select {
		case <-q.stop.Done():
			return restStopped
		case <-timer:
			return restTimer
		case <-first:
			return restFirst
		case <-second:
			return restSecond
		case <-q.acks.ready:
		case <-again:
		}
		if again = nil; !q.flushAcks() {
			again = time.After(downPoll)
		}
	}
}

// restFor rests for a while; false when the queue stops.
func (q *queue) restFor(d time.Duration) bool {
	return q.rest(time.Now().Add(d), nil, nil) != restStopped
}
