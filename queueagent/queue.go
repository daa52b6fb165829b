package queueagent

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// queue drains one source. Its goroutines, each in a file of its own:
//
//	watcher  tells the claimer that the source may have a task        watcher.go
//	claimer  leases tasks for free slots, and acknowledges            claimer.go, acks.go
//	workers  POST them; up to Concurrency, started as needed          worker.go
//	settler  writes other results in batches, then frees slots        settler.go
//	keeper   renews leases                                            keeper.go
//	asker    asks the application whether it is ready, if it can be   readiness.go
//	reaper   takes leases away from the dead                          reaper.go
type queue struct {
	cfg    Config
	redis  Redis
	store  *tasks.Store
	hook   *webhook.Endpoint
	policy *policy
	ready  *readiness // nil: the application is not asked
	log    zerolog.Logger
	failed zerolog.Logger // at most a few lines a second
	health access

	gate     *gate
	alarm    *alarm
	slots    *slots
	acks     *ackBox
	flight   *flight
	stats    counters
	watch    watchState // of the watcher and the claimer
	times    distributions
	refusals refusals

	stop     context.Context // done: claim nothing more
	abort    context.Context // done: end POSTs too
	giveUp   chan struct{}   // closed: stop trying to write results
	armed    chan struct{}   // claimer to watcher: nothing there, watch; capacity 1
	wake     chan struct{}   // watcher to claimer; capacity 1
	handed   chan struct{}   // to the reaper: the application has a lease; capacity 1
	waiting  atomic.Bool     // the claimer waits for a task
	work     chan *delivery  // claimer to workers; never full, since each holds a slot
	outcomes chan outcome    // workers to settler; never full, likewise
	crew     crew
}

// refusals says when to log that Redis refuses something. It may refuse one script and take the next:
// without it each of them would be logged, several times a second.
type refusals struct {
	logged atomic.Bool // since the last end
	mu     sync.Mutex
	said   map[string]time.Time // by error; at most maxRefusals
}

const (
	refusalPace = time.Minute
	maxRefusals = 16
)

// note is true when an error is to be logged.
func (r *refusals) note(msg string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.said[msg]; ok && now.Sub(last) < refusalPace {
		return false
	}
	if r.said == nil || len(r.said) == maxRefusals {
		r.said = make(map[string]time.Time)
	}
	r.said[msg] = now
	r.logged.Store(true)
	return true
}

// end is true when it is to be logged that Redis takes what it refused.
func (r *refusals) end() bool { return r.logged.Load() && r.logged.Swap(false) }

// flushTime is how long a shutdown tries to write results after the last POST ended.
const flushTime = 3 * time.Second

// run drains the source until stop is done, then lets deliveries end, or ends them
// when abort is done. It gives the number of tasks whose result could not be written:
// their leases run out by themselves.
func (q *queue) run() (left int) {
	var front, back sync.WaitGroup
	front.Go(q.watchLoop)
	front.Go(q.claimLoop)
	front.Go(q.reapLoop)
	keeperStop := make(chan struct{})
	back.Go(func() { q.keepLoop(keeperStop) })
	asking, stopAsking := context.WithCancel(q.abort)
	defer stopAsking()
	if q.ready != nil {
		back.Go(func() { q.ready.loop(asking) })
	}
	settled := make(chan struct{})
	go func() { defer close(settled); q.settleLoop() }()

	<-q.stop.Done()
	front.Wait()
	q.drain()
	close(q.work)
	q.crew.wait()
	close(q.outcomes)
	<-settled
	close(keeperStop)
	stopAsking()
	back.Wait()
	return q.slots.inUse()
}

// drain waits until every slot is free. When abort is done first, it ends the POSTs
// under way; their tasks are given back.
func (q *queue) drain() {
	abort := q.abort.Done()
	var flush <-chan time.Time
	for q.slots.inUse() > 0 {
		select {
		case <-q.slots.ready:
		case <-abort:
			abort = nil
			for _, d := range q.flight.list() {
				d.cancel(errAborted)
			}
			t := time.NewTimer(flushTime)
			defer t.Stop()
			flush = t.C
		case <-flush:
			close(q.giveUp)
			return
		}
	}
}

func (q *queue) stopping() bool { return q.stop.Err() != nil }

// sleep waits; it is false when the queue is told to stop meanwhile.
func (q *queue) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-q.stop.Done():
		return false
	case <-t.C:
		return true
	}
}

// poke sends a signal that may already be there.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// trouble notes that a call to Redis failed. That Redis cannot be reached is logged
// once for all queues; an error that it replies with, once a minute for this one.
func (q *queue) trouble(err error) {
	q.stats.fail("redis")
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		q.health.down(err)
		return
	}
	// Without the script and its line: all of them may fail for one reason, which is said once.
	msg, _, _ := strings.Cut(reply.Error(), " script: ")
	if q.refusals.note(msg, time.Now()) {
		q.log.Error().Str("error", msg).Msg("redis refuses what the queue needs: the queue waits")
	}
}

// well notes that a call to Redis succeeded.
func (q *queue) well() {
	q.health.up()
	if q.refusals.end() {
		q.log.Info().Msg("redis accepts what the queue needs again")
	}
}
