package sessioncheck

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// recheck is how often a watched session is looked at when nothing was heard of it.
	recheck = 30 * time.Second
	// maxLooks bounds the lookups of watches that are under way at one moment: after
	// a FLUSHDB or a lost connection all of them look, and must not keep requests
	// from Redis.
	maxLooks = 64
	// minLook is the shortest wait between two looks at one session. Redis's clock may
	// be behind ours, so that a session outlives its time for a moment.
	minLook = 20 * time.Millisecond
)

// watches are the sessions on which something depends that lives longer than a
// request: one goroutine for each session, however many depend on it.
type watches struct {
	mu        sync.Mutex
	byKey     map[string]*watch
	closed    bool
	running   sync.WaitGroup
	ctx       context.Context
	stop      context.CancelFunc
	looks     chan struct{} // one element for each lookup under way
	staleness time.Duration // between two looks when nothing is pushed, or nothing is known
}

// watch is one session. Its subscribers are guarded by watches.mu.
type watch struct {
	key         string
	subscribers map[*subscriber]struct{}
	poke        chan struct{} // look now: there is a new subscriber
	quit        chan struct{} // closed when the last has left
}

type subscriber struct {
	user   string // its UserKey
	policy *CompiledPolicy
	ended  func()
}

func newWatches(staleness time.Duration) *watches {
	w := &watches{
		byKey: make(map[string]*watch), looks: make(chan struct{}, maxLooks), staleness: staleness,
	}
	w.ctx, w.stop = context.WithCancel(context.Background())
	return w
}

// WithStaleness says how old what is known of a watched session may be where Redis
// pushes no invalidations; without it, a second.
func WithStaleness(d time.Duration) Option { return func(o *options) { o.staleness = d } }

// Watch calls ended, once and from another goroutine, when the session is over: when
// its key has gone or expired, holds no session or another user's, or when the policy
// does not allow it any more; a nil policy allows all. Being renewed or changed is no
// end. While Redis is down nothing is known and nothing ends; the check is made up for
// when it is back. stop ends the watch; ended may still be called a moment later.
// After Close nothing is watched.
func (c *Checker) Watch(s *Session, p *CompiledPolicy, ended func()) (stop func()) {
	ws := c.watches
	sub := &subscriber{user: s.userKey, policy: p, ended: ended}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return func() {}
	}
	w := ws.byKey[s.key]
	if w == nil {
		w = &watch{
			key: s.key, subscribers: make(map[*subscriber]struct{}),
			poke: make(chan struct{}, 1), quit: make(chan struct{}),
		}
		ws.byKey[s.key] = w
		ws.running.Go(func() { c.keepWatch(w) })
	}
	w.subscribers[sub] = struct{}{}
	// A change between the subscriber's own check and this moment may have been seen by
	// the watch already: the next look is for the new one.
	select {
	case w.poke <- struct{}{}:
	default:
	}
	return func() { ws.leave(w, sub) }
}

func (ws *watches) leave(w *watch, sub *subscriber) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, in := w.subscribers[sub]; !in {
		return // it was told already, or has left
	}
	delete(w.subscribers, sub)
	if len(w.subscribers) == 0 {
		delete(ws.byKey, w.key)
		close(w.quit)
	}
}

// Close ends all watches and waits for them. Nobody is told.
func (c *Checker) Close() {
	ws := c.watches
	ws.mu.Lock()
	ws.closed = true
	ws.mu.Unlock()
	ws.stop()
	ws.running.Wait()
}

// keepWatch looks at one session whenever it may have changed, until nobody depends on
// it any more.
func (c *Checker) keepWatch(w *watch) {
	// The signal first, then the look: a change in between is seen by one of the two.
	changed, stop := c.store.Watch(w.key)
	defer stop()
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		r := c.look(w)
		if r.Status != Unknown && c.judge(w, r) {
			return
		}
		timer.Reset(c.nextLook(r, time.Now()))
		select {
		case <-changed:
		case <-w.poke:
		case <-timer.C:
		case <-w.quit:
			return
		case <-c.watches.ctx.Done():
			return
		}
	}
}

func (c *Checker) look(w *watch) Result {
	ws := c.watches
	select {
	case ws.looks <- struct{}{}:
	case <-w.quit:
		return Result{}
	case <-ws.ctx.Done():
		return Result{}
	}
	defer func() { <-ws.looks }()
	r, _ := c.lookup(ws.ctx, []byte(w.key), time.Now())
	return r
}

// judge tells those whose session it is no more. It is true when nobody is left.
func (c *Checker) judge(w *watch, r Result) bool {
	ws := c.watches
	var over []*subscriber
	ws.mu.Lock()
	for sub := range w.subscribers {
		if r.Status == Valid && r.Session.userKey == sub.user && (sub.policy == nil || sub.policy.Allows(r.Session)) {
			continue
		}
		over = append(over, sub)
		delete(w.subscribers, sub)
	}
	// Without subscribers before: the last has left, and has removed the watch itself.
	last := len(w.subscribers) == 0
	if last && len(over) > 0 {
		delete(ws.byKey, w.key)
	}
	ws.mu.Unlock()
	c.counters.ended.Add(uint64(len(over)))
	for _, sub := range over {
		sub.ended() // not under the lock: it may call stop
	}
	return last
}

// nextLook says when to look again when nothing is heard: when the session expires, and
// after a while in any case. Up to a quarter less, at random, so that many watches that
// began to wait together do not look together.
func (c *Checker) nextLook(r Result, now time.Time) time.Duration {
	d := recheck
	if r.Status == Unknown || !c.store.Tracking() {
		d = c.watches.staleness
	}
	d -= rand.N(d/4 + 1)
	if r.Session != nil && r.Session.expireAt != 0 {
		d = min(d, time.UnixMilli(r.Session.expireAt+1).Sub(now))
	}
	return max(d, minLook)
}
