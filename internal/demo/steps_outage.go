package demo

import (
	"context"
	"net"
	"net/http"
	"time"
)

// soon is how fast a protected page must be refused while Redis is down. It is
// generous: what is seen is printed.
const soon = time.Second

func (t *tour) outage(ctx context.Context, r *report) {
	t.redis.kill()
	r.saw("kill Redis", "it is gone without a goodbye")
	var a answer
	honest := true
	took := r.eventually(ctx, "503 on a protected page", func() bool {
		a = t.getAs(ctx, "grace", t.grace, "/profile")
		// For a moment memory may still be trusted; 401 would be a lie all the time.
		honest = honest && (a.status == http.StatusOK || a.status == http.StatusServiceUnavailable)
		return a.status == http.StatusServiceUnavailable
	})
	r.want(honest, "a protected page must be 200 or 503: that the session is gone is not known")
	r.show(a, http.StatusServiceUnavailable)
	a = t.getAs(ctx, "grace", t.grace, "/profile")
	r.show(a, http.StatusServiceUnavailable)
	r.want(a.header.Get("Retry-After") != "" && a.calls == 0, "503 must come with Retry-After, without a call of the application")
	r.want(a.took < soon, "503 must come fast, not after %s", short(a.took))
	r.saw("", "first seen %s after the kill; this one took %s", short(took), short(a.took))
	r.show(t.get(ctx, "/api/products/1"), http.StatusOK)
	r.show(t.get(ctx, "/api/products/77"), http.StatusOK)
	s := readReady(ctx, t.http, t.rig.admin)
	r.saw("GET /readyz (admin)", "%d  still ready for public pages", s.status)
	r.want(s.status == http.StatusOK, "pillion must stay ready: it can serve without Redis")
}

func (t *tour) recovery(ctx context.Context, r *report) {
	err := t.redis.restart()
	r.saw("start Redis", "it has kept nothing%s", orError(err))
	if r.want(err == nil, "Redis must start again"); err != nil {
		return
	}
	old := t.grace
	var a answer
	took := r.eventually(ctx, "an answer about the old session", func() bool {
		a = t.getAs(ctx, "grace", old, "/profile")
		return a.status != http.StatusServiceUnavailable
	})
	r.show(a, http.StatusUnauthorized)
	r.saw("", "%s after the start: that session is gone", short(took))
	// The application's own client has to find its way back too.
	r.eventually(ctx, "the application to reach Redis", func() bool {
		return t.rig.app.do(ctx, t.rig.app.redis.B().Ping().Build()) == nil
	})
	t.grace = t.loginAs(ctx, r, "grace")
	first := t.getAs(ctx, "grace", t.grace, "/profile")
	r.show(first, http.StatusOK)
	r.want(first.field("hello") == "grace", "grace must be known again")
	r.sameHit(t.getAs(ctx, "grace", t.grace, "/profile"), first)
	payload := newTask("hello", time.Time{})
	err = t.rig.app.push(ctx, payload)
	r.saw("RPUSH "+listKey, "%s%s", payload, orError(err))
	d := t.accepted(ctx, r, payload)[0]
	r.saw("webhook POST /tasks/"+d.kind, "the queues work again too")
}

// drain stops pillion as SIGTERM would, with a request and a delivery in flight.
func (t *tour) drain(ctx context.Context, r *report) {
	inFlight := make(chan answer, 1)
	go func() { inFlight <- t.get(ctx, "/slow") }()
	payload := newTask("slow", time.Time{})
	err := t.rig.app.push(ctx, payload)
	r.want(err == nil, "the task must be queued%s", orError(err))
	r.eventually(ctx, "a request and a delivery in flight", func() bool { return len(t.rig.app.waiting) == 2 })
	t.rig.cancel()
	r.saw("stop pillion", "while GET /slow and POST /tasks/slow are in flight")
	r.eventually(ctx, "new connections to be refused", func() bool { return !dials(t.rig.proxy) })
	s := readReady(ctx, t.http, t.rig.admin)
	r.saw("GET /readyz (admin)", "%d  draining: %t; new connections are refused", s.status, s.Draining)
	r.want(s.status == http.StatusServiceUnavailable && s.Draining, "readiness must be false during the drain")
	select {
	case <-t.rig.done:
		r.want(false, "pillion must not end before what is in flight")
	default:
	}
	t.rig.app.release()
	r.show(<-inFlight, http.StatusOK)
	began := time.Now()
	err = t.rig.stopPillion()
	all := t.rig.app.deliveries(payload)
	r.saw("webhook POST /tasks/slow", "delivered %d×", len(all))
	r.want(len(all) == 1 && all[0].status == http.StatusNoContent, "the delivery in flight must finish, once")
	r.saw("pillion has ended", "%s after the last answer%s", short(time.Since(began)), orError(err))
	r.want(err == nil, "it must end without an error")
}

func dials(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
