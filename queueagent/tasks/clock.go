package tasks

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// clock estimates the clock of Redis, by which leases and due times go. Safe for
// concurrent use.
//
// Ours is the monotonic clock, counted on from the time of day when the store was made:
// when somebody sets the time of this host, no alarm may ring an hour early or late.
type clock struct {
	base time.Time // with its monotonic reading; whole ms
	// skew is the clock of Redis less ours in ms, made odd: 0 means unknown.
	skew atomic.Int64
	// least is what the clock of Redis is ahead of ours at least, in ms, once skew is known.
	least atomic.Int64
}

// note corrects the estimate by a reply: what it says was true at some moment between the
// two times of ours, when the command was sent and the reply received. An estimate that
// agrees with that is kept: one slow reply must not make delayed tasks late.
func (c *clock) note(redisMS int64, sent, received time.Time) {
	low, high := redisMS-c.ms(received), redisMS-c.ms(sent)
	old := c.skew.Load()
	// Of our ms, rounded down, up to 1 is missing. Above high+1 the bound was true once: one
	// of the clocks has been set, or they drift apart.
	if least := c.least.Load(); old == 0 || least < low-1 || least > high+1 {
		c.least.Store(low - 1)
	}
	switch {
	case old == 0:
		c.skew.Store((low+high)/2 | 1)
	case old < low-1:
		c.skew.Store(low | 1)
	case old > high+1:
		c.skew.Store(high | 1)
	}
}

func newClock() clock {
	now := time.Now()
	return clock{base: now.Add(-time.Duration(now.Nanosecond()) % time.Millisecond)}
}

// ms gives a time, which has a monotonic reading, by our clock.
func (c *clock) ms(t time.Time) int64 {
	return c.base.UnixMilli() + t.Sub(c.base).Milliseconds()
}

// farMS is a time.Duration of 200 years, in ms; one of 300 years overflows.
const farMS = 200 * 365 * 24 * 3600 * 1000

// local turns a time by the clock of Redis, in ms, into one by ours, which has a
// monotonic reading.
func (c *clock) local(redisMS int64) time.Time {
	after := redisMS - c.skew.Load() - c.base.UnixMilli()
	return c.base.Add(time.Duration(min(max(after, -farMS), farMS)) * time.Millisecond)
}

// after gives the time by our clock that is wait ms after a time of Redis; zero when
// wait is negative.
func (c *clock) after(redisMS, wait int64) time.Time {
	if wait < 0 {
		return time.Time{}
	}
	return c.local(redisMS + wait)
}

// Reached gives a time that the clock of Redis has reached at t, which is of ours and has
// a monotonic reading. That clock is ahead of it by little more than the quickest reply
// has taken. What must not happen before its time goes by this one.
func (s *Store) Reached(t time.Time) time.Time {
	return time.UnixMilli(s.clock.ms(t) + s.clock.least.Load())
}

// Now gives the time by the clock of Redis, as far as it is known.
func (s *Store) Now() time.Time {
	return time.UnixMilli(s.clock.ms(time.Now()) + s.clock.skew.Load())
}

// Local turns a time by the clock of Redis, in ms, into one by ours.
func (s *Store) Local(redisMS int64) time.Time { return s.clock.local(redisMS) }

// Clock estimates the clock of Redis from the last reply that told it; it asks
// when there was none.
func (s *Store) Clock(ctx context.Context) (time.Time, error) {
	if s.clock.skew.Load() == 0 {
		c, err := s.client()
		if err != nil {
			return time.Time{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, CallTimeout)
		defer cancel()
		sent := time.Now()
		// In a script of a key: of a Cluster the client would ask any node, also one that
		// is down, and each has a clock of its own.
		t, err := c.Do(ctx, c.B().Eval().Script("return redis.call('TIME')").Numkeys(1).Key(s.Keys.Control).Build()).AsIntSlice()
		if err != nil {
			return time.Time{}, err
		}
		if len(t) != 2 {
			return time.Time{}, fmt.Errorf("TIME gave %d values: want 2", len(t))
		}
		s.clock.note(t[0]*1000+t[1]/1000, sent, time.Now())
	}
	return s.Now(), nil
}
