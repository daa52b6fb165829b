package queueagent

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

const (
	breakerMin = 100 * time.Millisecond
	breakerMax = 5 * time.Second
)

// gate says whether tasks may be claimed. It closes for a while when the application
// asks for it (throttle), and when the application cannot be reached at all (the
// breaker opens): then one task at a time probes, at growing intervals.
//
// With webhook.ready the breaker does not spend tasks: it is open until readiness has
// been told that the application can take them, from the start on.
//
// Deliveries that were under way when the breaker changed still report. Each carries
// the generation it was claimed in; reports of an older one are ignored, or sixteen
// refused connections would look like sixteen failed probes.
type gate struct {
	mu        sync.Mutex
	gen       uint64
	open      bool // the breaker is open: claiming has stopped
	probing   bool // a probe is under way
	interval  time.Duration
	probeAt   time.Time
	throttled time.Time
	changed   chan struct{} // capacity 1
	asks      bool          // readiness probes, not a task
	opened    chan struct{} // capacity 1: the breaker has opened
}

// reach is what a delivery says about the application.
type reach uint8

const (
	reachUnknown reach = iota // the application was not asked
	reachYes                  // the request went out
	reachNo                   // no connection could be made
)

// newGate makes a gate. One whose application is asked is closed until it answers.
func newGate(asks bool) *gate {
	return &gate{changed: make(chan struct{}, 1), opened: make(chan struct{}, 1), asks: asks, open: asks}
}

// permit gives how many tasks may be claimed now, and the generation they belong to.
// When it is none, at is when to ask again; the zero time: when changed signals.
// A probe that was permitted must be reported or returned.
func (g *gate) permit(now time.Time) (n int, gen uint64, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case now.Before(g.throttled):
		return 0, g.gen, g.throttled
	case !g.open:
		return tasks.MaxBatch, g.gen, time.Time{}
	case g.probing, g.asks:
		return 0, g.gen, time.Time{}
	case now.Before(g.probeAt):
		return 0, g.gen, g.probeAt
	}
	g.probing = true
	return 1, g.gen, time.Time{}
}

// report takes in what a delivery of a generation has shown; it is true when the
// breaker has opened or closed by it.
func (g *gate) report(gen uint64, r reach, now time.Time) (toggled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gen != g.gen {
		return false
	}
	wasOpen := g.open
	switch r {
	case reachNo:
		g.opens(now)
	case reachYes:
		if wasOpen {
			g.gen++
		}
		g.open, g.interval = false, 0
	}
	g.probing = false
	g.signal()
	return g.open != wasOpen
}

// opens is called with the lock held, when the application cannot take tasks.
func (g *gate) opens(now time.Time) {
	g.gen++
	g.open = true
	g.interval = min(max(2*g.interval, breakerMin), breakerMax)
	g.probeAt = now.Add(g.interval - rand.N(g.interval/5))
	poke(g.opened)
}

// told takes in whether the application says that it can take tasks; it is true when
// the breaker has opened or closed by it. The interval only shrinks when a delivery
// succeeds: an application that says yes and then fails is asked less and less often.
func (g *gate) told(ready bool, now time.Time) (toggled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	toggled = g.open == ready
	switch {
	case !ready:
		g.opens(now)
	case g.open:
		g.gen++
		g.open = false
	}
	g.signal()
	return toggled
}

// probeTime gives when the application is to be asked again, if the breaker is open.
func (g *gate) probeTime() (at time.Time, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.probeAt, g.open
}

// unused returns a permit for which there was no task.
func (g *gate) unused(gen uint64) { g.report(gen, reachUnknown, time.Time{}) }

// throttle stops claiming until then.
func (g *gate) throttle(until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.After(g.throttled) {
		g.throttled = until
	}
}

// heldBack says whether the application has asked for a pause that is not over.
func (g *gate) heldBack(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return now.Before(g.throttled)
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// signal is called with the lock held.
func (g *gate) signal() {
	select {
	case g.changed <- struct{}{}:
	default:
	}
}
