package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// UnavailableError is an ErrUnavailable: no request is sent for a while.
type UnavailableError struct {
	// After is when to try again.
	After time.Duration
	url   string
	cause error
}

// Error says for how long, and why.
func (e *UnavailableError) Error() string {
	return fmt.Sprintf("upstream %s: %v for another %v: %v", e.url, ErrUnavailable, e.After.Round(time.Millisecond), e.cause)
}

// Is makes errors.Is find ErrUnavailable. The cause is of another request, and is
// not unwrapped.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// evidence is what an exchange says about the application.
type evidence uint8

const (
	noEvidence evidence = iota
	alive
	dead
)

// breaker decides whether requests are sent. It is closed (they are), open (none
// is), or half-open (one at a time, to find out). Requests that fail open it for a
// while; a health check that fails opens it until the check succeeds.
type breaker struct {
	limit    int64         // failures in a row that open it; 0: requests do not
	pause    time.Duration // for which they do
	interval time.Duration // of the health check
	onChange func(available bool, cause error)

	// blocked is all that a request reads while the breaker is closed.
	blocked  atomic.Bool
	failures atomic.Int64

	mu        sync.Mutex // guards what follows, and the changes of blocked
	until     time.Time  // the end of the pause
	unhealthy bool       // the health check has the say
	trial     uint64     // the request that is let through; 0: none
	trialEnd  time.Time  // another one is then let through too
	trials    uint64
	opened    uint64 // times that it opened, to tell a check from before from one after
	cause     error
}

func (b *breaker) init(cfg Config, onChange func(bool, error)) {
	b.limit, b.pause, b.interval, b.onChange = int64(cfg.Breaker.Failures), cfg.Breaker.Open, cfg.Health.Interval, onChange
}

// refused says at once that a request will not be sent, before anything is read.
func (c *Client) refused() error {
	if !c.breaker.blocked.Load() {
		return nil
	}
	_, err := c.breaker.admit(c.url, false)
	return err
}

// admit asks whether a request may be sent now. When it is a trial, its number must
// be handed to note.
func (c *Client) admit() (trial uint64, err error) {
	if !c.breaker.blocked.Load() {
		return 0, nil
	}
	return c.breaker.admit(c.url, true)
}

func (b *breaker) admit(url string, take bool) (trial uint64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	var after time.Duration
	switch {
	case !b.blocked.Load():
		return 0, nil
	case b.unhealthy:
		after = b.interval
	case now.Before(b.until):
		after = b.until.Sub(now)
	case b.trial != 0 && now.Before(b.trialEnd):
		after = b.trialEnd.Sub(now)
	case take:
		// A trial may last, such as an upload: one that takes as long as a pause is not
		// waited for.
		b.trials++
		b.trial, b.trialEnd = b.trials, now.Add(b.pause)
		return b.trial, nil
	default:
		return 0, nil
	}
	return 0, &UnavailableError{After: after, url: url, cause: b.cause}
}

// note takes what became of a request. trial is what admit gave.
func (b *breaker) note(trial uint64, e evidence, cause error) {
	switch {
	case e == alive:
		if b.failures.Load() != 0 {
			b.failures.Store(0)
		}
		if trial != 0 {
			b.close(trial)
		}
	case e == dead && b.limit > 0:
		if n := b.failures.Add(1); n >= b.limit || trial != 0 {
			b.open(trial, n >= b.limit, cause)
		}
	case trial != 0:
		b.mu.Lock()
		if b.trial == trial {
			b.trial = 0
		}
		b.mu.Unlock()
	}
}

// open begins a pause: after enough failures, or again after the trial of the one
// before. Requests that were sent before the breaker opened and fail only now do not
// make a pause longer.
func (b *breaker) open(trial uint64, enough bool, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blocked.Load() {
		enough = trial != 0 && trial == b.trial
	}
	if !enough {
		return
	}
	b.until, b.trial = time.Now().Add(b.pause), 0
	b.block(cause)
}

// block is called with the mutex held.
func (b *breaker) block(cause error) {
	b.cause = cause
	b.opened++
	if !b.blocked.Swap(true) {
		b.onChange(false, cause)
	}
}

// close lets requests pass after a trial that was answered.
func (b *breaker) close(trial uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trial == trial {
		b.trial = 0
	}
	if !b.unhealthy {
		b.release()
	}
}

// release is called with the mutex held.
func (b *breaker) release() {
	b.until, b.trial, b.cause = time.Time{}, 0, nil
	b.failures.Store(0)
	if b.blocked.Swap(false) {
		b.onChange(true, nil)
	}
}

// generation tells whether the breaker opened between two calls.
func (b *breaker) generation() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened
}

// sick opens the breaker until well is called.
func (b *breaker) sick(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unhealthy = true
	b.block(cause)
}

// well closes the breaker, whoever opened it. A check that began before requests
// opened it says nothing about now.
func (b *breaker) well(generation uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.blocked.Load() && b.opened == generation {
		b.unhealthy = false
		b.release()
	}
}

// judge says what an outcome tells about the application. Any answer shows that it
// lives, also a 500. The end of the caller's own patience shows nothing.
func (c *Client) judge(ctx context.Context, r *Request, unproven bool, err error) evidence {
	switch {
	case err == nil:
		return alive
	case ctx.Err() != nil, unproven:
		return noEvidence
	case errors.Is(err, ErrTimeout) && r.HeaderTimeout > 0 && r.HeaderTimeout < c.cfg.Timeouts.ResponseHeader:
		return noEvidence
	case errors.Is(err, ErrConnect), errors.Is(err, ErrTimeout), errors.Is(err, ErrReset):
		return dead
	}
	return noEvidence
}
