package queueagent

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

const (
	// maxBlock bounds how long a wait for the source goes without a look at it, for
	// the case that a signal was lost.
	maxBlock = 5 * time.Second
	// delayPoll is how often a sorted set is looked at without tracking: 4 commands a
	// second.
	delayPoll = 250 * time.Millisecond
	// lookPace is the least time between two looks at a source that keeps changing.
	lookPace = 2 * time.Millisecond
	// trackFor is the local lifetime of what DoCache reads. It is never used from
	// local memory: reading it makes Redis tell when it changes.
	trackFor = time.Minute
)

// watchLoop waits, each time the claimer has found nothing, until the source may have
// a task. It takes no task itself: what is blocked upon and lost with a connection
// must not be a task.
//
// With client-side caching the source is read once, and Redis tells when it changes.
// Without, a list is waited for by BLMOVE onto itself, from left to left, which
// leaves the list as it was; for a stream by XREAD, which takes nothing either; a sorted
// set is polled. BLMOVE is not used in any case,
// because it is a write (it goes to replicas and the AOF, and a Redis at its maxmemory
// refuses it), brings the whole payload along, and needs a connection per queue.
func (q *queue) watchLoop() {
	changed, stopWatch := q.redis.Watch(q.store.Keys.Source)
	defer stopWatch()
	failed := pause{base: 100 * time.Millisecond, max: time.Second}
	for {
		select {
		case <-q.stop.Done():
			return
		case <-q.armed:
		}
		for done := false; !done && q.waiting.Load() && !q.stopping(); {
			var err error
			if done, err = q.watchOnce(changed); err == nil {
				failed.reset()
				continue
			}
			if _, replied := rueidis.IsRedisErr(err); !replied {
				q.trouble(err)
			}
			// What is wrong with the source the claimer finds out, and says. And where
			// only watching fails, this polls.
			q.sleep(failed.next())
			poke(q.wake)
		}
	}
}

// watchOnce looks at the source and waits for a change or a while; done when the
// claimer has been told to look for itself.
func (q *queue) watchOnce(changed <-chan struct{}) (done bool, err error) {
	if !q.redis.Up() {
		q.sleep(downPoll)
		return false, nil
	}
	tracked := q.redis.Tracking()
	switch kind := q.store.Source.Kind; {
	case kind == tasks.Stream && tracked:
		return q.watchStream(changed)
	case kind == tasks.Stream:
		return q.blockStream()
	case kind == tasks.List && !tracked:
		return q.block()
	case kind == tasks.List:
		return q.watchList(changed)
	}
	return false, q.watchDelay(changed, tracked)
}

// drainSignal forgets a change from before what is read next.
func drainSignal(changed <-chan struct{}) {
	select {
	case <-changed:
	default:
	}
}

// awaitChange is true when the source has changed within that time.
func (q *queue) awaitChange(changed <-chan struct{}, wait time.Duration) bool {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-q.stop.Done():
	case <-t.C:
	case <-changed:
		return true
	}
	return false
}

// watchList looks once, and then only when Redis has told of a change.
func (q *queue) watchList(changed <-chan struct{}) (done bool, err error) {
	if time.Now().After(q.watch.tracked) {
		drainSignal(changed)
		if done, err = q.lookList(); done || err != nil {
			return done, err
		}
		q.watch.tracked = time.Now().Add(trackFor / 2)
	}
	if done = q.awaitChange(changed, maxBlock); done {
		q.watch.tracked = time.Time{}
		poke(q.wake)
	}
	return done, nil
}

func (q *queue) watchDelay(changed <-chan struct{}, tracked bool) error {
	looked := time.Now()
	if looked.After(q.watch.tracked) {
		drainSignal(changed)
		if err := q.lookDelay(tracked); err != nil {
			return err
		}
		q.watch.tracked = looked.Add(trackFor / 2)
	}
	wait := maxBlock
	if !tracked {
		wait, q.watch.tracked = delayPoll, time.Time{}
	}
	if q.awaitChange(changed, wait) {
		q.watch.tracked = time.Time{}
		q.sleep(lookPace - time.Since(looked))
	}
	return nil
}

// watchState is what the watcher knows of the source.
type watchState struct {
	// tracked is how long it holds that the key was read so that Redis tells of its next
	// change, and none was told since. Of the watcher.
	tracked time.Time
	// last is, of a stream, the entry that the group was given last, as the last claim says.
	last atomic.Pointer[string]
}

// watchStream waits for the stream to change. What is in it does not tell whether
// there is something to claim: so the claimer looks once more after Redis has been
// asked to tell.
func (q *queue) watchStream(changed <-chan struct{}) (done bool, err error) {
	if time.Now().After(q.watch.tracked) {
		drainSignal(changed)
		c, err := q.client()
		if err != nil {
			return false, err
		}
		ctx, cancel := context.WithTimeout(q.stop, tasks.CallTimeout)
		defer cancel()
		if err := c.DoCache(ctx, c.B().Type().Key(q.store.Keys.Source).Cache(), trackFor).Error(); err != nil {
			return false, err
		}
		q.watch.tracked = time.Now().Add(trackFor / 2)
		poke(q.wake)
		return true, nil
	}
	if !q.awaitChange(changed, maxBlock) {
		return false, nil
	}
	q.watch.tracked = time.Time{}
	poke(q.wake)
	return true, nil
}

// blockStream waits for an entry that the group has not been given, without taking it.
func (q *queue) blockStream() (done bool, err error) {
	last := q.watch.last.Load()
	if last == nil { // there is no stream or no group yet
		q.sleep(delayPoll)
		poke(q.wake)
		return true, nil
	}
	done, err = q.blockOn(func(b rueidis.Builder) rueidis.Completed {
		return b.Xread().Count(1).Block(maxBlock.Milliseconds()).Streams().Key(q.store.Keys.Source).Id(*last).Build()
	})
	if err == nil && !done && !q.stopping() {
		poke(q.wake) // the stream may have been made anew, with lower ids
		return true, nil
	}
	return done, err
}

func (q *queue) client() (rueidis.Client, error) {
	if c := q.redis.Client(); c != nil {
		return c, nil
	}
	return nil, tasks.ErrNotConnected
}

// lookList reads the list's length, tracked; done when there is something.
func (q *queue) lookList() (done bool, err error) {
	c, err := q.client()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(q.stop, tasks.CallTimeout)
	defer cancel()
	n, err := c.DoCache(ctx, c.B().Llen().Key(q.store.Keys.Source).Cache(), trackFor).AsInt64()
	if err != nil || n == 0 {
		return false, err
	}
	poke(q.wake)
	return true, nil
}

// lookDelay reads the sorted set's head and sets the alarm for it.
func (q *queue) lookDelay(tracked bool) error {
	c, err := q.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(q.stop, tasks.CallTimeout)
	defer cancel()
	cmd := c.B().Zrange().Key(q.store.Keys.Source).Min("0").Max("0").Withscores()
	var res rueidis.RedisResult
	if tracked {
		res = c.DoCache(ctx, cmd.Cache(), trackFor)
	} else {
		res = c.Do(ctx, cmd.Build())
	}
	head, err := res.AsZScores()
	if err != nil || len(head) == 0 {
		return err
	}
	if due := q.store.Source.Due(head[0].Score); due < 1e15 { // not inf; later than this is a matter for another year
		q.alarm.set(q.store.Local(int64(math.Ceil(max(due, 0)))))
	}
	return nil
}

// block waits for the list to have an element, without taking it: from the end where it
// is popped to the same end.
func (q *queue) block() (done bool, err error) {
	key := q.store.Keys.Source
	return q.blockOn(func(b rueidis.Builder) rueidis.Completed {
		cmd := b.Blmove().Source(key).Destination(key)
		if q.store.Source.FromRight {
			return cmd.Right().Right().Timeout(maxBlock.Seconds()).Build()
		}
		return cmd.Left().Left().Timeout(maxBlock.Seconds()).Build()
	})
}

// blockOn runs a blocking command and wakes the claimer when it replies with something.
func (q *queue) blockOn(build func(rueidis.Builder) rueidis.Completed) (done bool, err error) {
	c, err := q.client()
	if err != nil {
		return false, err
	}
	// No deadline: with one, rueidis would not see the end of the context.
	ctx, cancel := context.WithCancel(q.stop)
	defer cancel()
	late := time.AfterFunc(maxBlock+tasks.CallTimeout, cancel)
	defer late.Stop()
	err = c.Do(ctx, build(c.B())).Error()
	if rueidis.IsRedisNil(err) || q.stopping() {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	poke(q.wake)
	return true, nil
}
