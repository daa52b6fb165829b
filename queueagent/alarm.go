package queueagent

import (
	"sync"
	"time"
)

// alarm holds the earliest time at which there may be a task to claim. Anyone may
// set it; one goroutine waits for it.
type alarm struct {
	mu      sync.Mutex
	at      time.Time     // zero: not set
	changed chan struct{} // capacity 1: at has become earlier
}

func newAlarm() *alarm { return &alarm{changed: make(chan struct{}, 1)} }

// set asks for a wake-up at that time, or earlier if one is set already.
// The zero time means never.
func (a *alarm) set(at time.Time) {
	if at.IsZero() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.at.IsZero() && !at.Before(a.at) {
		return
	}
	a.at = at
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// clear forgets the time. It must come before the claim that it is cleared for: the
// claim's reply tells of everything before it, and everything after it sets the
// alarm anew.
func (a *alarm) clear() {
	a.mu.Lock()
	a.at = time.Time{}
	a.mu.Unlock()
}

func (a *alarm) get() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at
}
