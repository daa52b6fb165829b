package tasks

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// clock estimates the clock of Redis, by which leases and due times go. Safe for
// concurrent use.
type clock struct {
	// skew is the clock of Redis less ours in ms, made odd: 0 means unknown.
	skew atomic.Int64
}

// note corrects the estimate by a reply: what it says was true at some moment since the
// command was sent. An estimate that agrees with that is kept: one slow reply must not
// make delayed tasks late.
func (c *clock) note(redisMS int64, sent time.Time) {
	low, high := redisMS-time.Now().UnixMilli(), redisMS-sent.UnixMilli()
	old := c.skew.Load()
	switch {
	case old == 0:
		c.skew.Store((low+high)/2 | 1)
	case old < low-1:
		c.skew.Store(low | 1)
	case old > high+1:
		c.skew.Store(high | 1)
	}
}

// local turns a time by the clock of Redis, in ms, into one by ours.
func (c *clock) local(redisMS int64) time.Time {
	return time.UnixMilli(redisMS - c.skew.Load())
}

// after gives the time by our clock that is wait ms after a time of Redis; zero when
// wait is negative.
func (c *clock) after(redisMS, wait int64) time.Time {
	if wait < 0 {
		return time.Time{}
	}
	return c.local(redisMS + wait)
}

// Now gives the time by the clock of Redis, as far as it is known.
func (s *Store) Now() time.Time {
	return time.Now().Add(time.Duration(s.clock.skew.Load()) * time.Millisecond)
}

// Local turns a time by the clock of Redis, in ms, into one by ours.
func (s *Store) Local(redisMS int64) time.Time { return s.clock.local(redisMS) }

// now estimates the clock of Redis from the last reply that told it; it asks
// when there was none.
func (s *Store) now(ctx context.Context) (time.Time, error) {
	if s.clock.skew.Load() == 0 {
		c, err := s.client()
		if err != nil {
			return time.Time{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, CallTimeout)
		defer cancel()
		sent := time.Now()
		t, err := c.Do(ctx, c.B().Time().Build()).AsIntSlice()
		if err != nil {
			return time.Time{}, err
		}
		if len(t) != 2 {
			return time.Time{}, fmt.Errorf("TIME gave %d values: want 2", len(t))
		}
		s.clock.note(t[0]*1000+t[1]/1000, sent)
	}
	return s.Now(), nil
}
