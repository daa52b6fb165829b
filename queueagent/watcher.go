package queueagent

import (
	"context"
	"math"
	"time"

	"github.com/redis/rueidis"
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
// leaves the list as it was; a sorted set is polled. BLMOVE is not used for both,
// because it is a write (it goes to replicas and the AOF, and a Redis at its maxmemory
// refuses it), brings the whole payload along, and needs a connection per queue.
func (q *queue) watchLoop() {
	changed, stopWatch := q.redis.Watch(q.store.keys.source)
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
	isList := q.store.kind == kindList
	if isList && !tracked {
		return q.block()
	}
	select {
	case <-changed: // before what is read now
	default:
	}
	looked := time.Now()
	if isList {
		if done, err = q.lookList(); done || err != nil {
			return done, err
		}
	} else if err = q.lookDelay(tracked); err != nil {
		return false, err
	}
	wait := maxBlock
	if !tracked {
		wait = delayPoll
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-q.stop.Done():
	case <-t.C:
	case <-changed:
		if isList {
			poke(q.wake)
			return true, nil
		}
		q.sleep(lookPace - time.Since(looked))
	}
	return false, nil
}

// lookList reads the list's length, tracked; done when there is something.
func (q *queue) lookList() (done bool, err error) {
	c, err := q.store.client()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(q.stop, callTimeout)
	defer cancel()
	n, err := c.DoCache(ctx, c.B().Llen().Key(q.store.keys.source).Cache(), trackFor).AsInt64()
	if err != nil || n == 0 {
		return false, err
	}
	poke(q.wake)
	return true, nil
}

// lookDelay reads the sorted set's head and sets the alarm for it.
func (q *queue) lookDelay(tracked bool) error {
	c, err := q.store.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(q.stop, callTimeout)
	defer cancel()
	cmd := c.B().Zrange().Key(q.store.keys.source).Min("0").Max("0").Withscores()
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
	if due := head[0].Score * 1000; due < 1e15 { // not inf; later than this is a matter for another year
		q.alarm.set(q.store.local(int64(math.Ceil(max(due, 0)))))
	}
	return nil
}

// block waits for the list to have an element, without taking it.
func (q *queue) block() (done bool, err error) {
	c, err := q.store.client()
	if err != nil {
		return false, err
	}
	// No deadline: with one, rueidis would not see the end of the context.
	ctx, cancel := context.WithCancel(q.stop)
	defer cancel()
	late := time.AfterFunc(maxBlock+callTimeout, cancel)
	defer late.Stop()
	key := q.store.keys.source
	cmd := c.B().Blmove().Source(key).Destination(key).Left().Left().Timeout(maxBlock.Seconds()).Build()
	err = c.Do(ctx, cmd).Error()
	if rueidis.IsRedisNil(err) || q.stopping() {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	poke(q.wake)
	return true, nil
}
