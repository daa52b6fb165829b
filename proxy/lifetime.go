package proxy

import (
	"bytes"
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// streamsAfter is how long a response without a length must last to be bound to its
// session. What ends sooner, as most do, costs no watch.
const streamsAfter = time.Second

// lifetime ends a streamed response with the session that asked for it. It is part of
// a call and used again with it; everything but armed and timer is guarded by mu, since
// the timer and the watch run in goroutines of their own.
type lifetime struct {
	armed bool        // by the goroutine that owns the call
	timer *time.Timer // made once for each call

	mu       sync.Mutex
	turn     uint64         // which response this is
	body     *upstream.Body // nil when it is over
	sessions *sessioncheck.Checker
	session  *sessioncheck.Session
	policy   *sessioncheck.CompiledPolicy
	stop     func() // ends the watch; nil without one
}

// endWithSession binds a response that may last for ever to the session: at once if it
// is a stream of events, else when it has lasted for a while.
func (x *exchange) endWithSession(c *call) {
	if x.session == nil || x.background || c.body.Size() >= 0 {
		return
	}
	l := &c.life
	l.armed = true
	l.mu.Lock()
	l.body, l.sessions, l.session, l.policy = c.body, x.h.sessions, x.session, x.route.session
	l.mu.Unlock()
	switch {
	case isEventStream(x.ctx.Response.Header.ContentType()):
		l.watch()
	case l.timer == nil:
		l.timer = time.AfterFunc(streamsAfter, l.watch)
	default:
		l.timer.Reset(streamsAfter)
	}
}

func isEventStream(contentType []byte) bool {
	name, _, _ := bytes.Cut(contentType, []byte{';'})
	return syntax.FoldEqual(syntax.TrimOWS(name), "text/event-stream")
}

// watch begins to watch the session. A timer that fires while its response ends may find
// the next one of the same call here: that is then watched somewhat early.
func (l *lifetime) watch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.body == nil || l.stop != nil {
		return
	}
	turn := l.turn
	l.stop = l.sessions.Watch(l.session, l.policy, func() { l.abort(turn) })
}

// abort cuts the body short: the client sees a response that is not complete, and the
// application that its connection has gone. One that comes late finds another turn.
func (l *lifetime) abort(turn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn == turn && l.body != nil {
		l.body.Abort()
	}
}

// over is called before the body is closed.
func (l *lifetime) over() {
	if !l.armed {
		return
	}
	l.armed = false
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Lock()
	stop := l.stop
	l.turn++
	l.body, l.session, l.policy, l.stop = nil, nil, nil, nil
	l.mu.Unlock()
	if stop != nil {
		stop()
	}
}
