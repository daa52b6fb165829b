package proxy

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/redisconn"
)

// fetch asks the application, once per key: of the requests that miss the same key
// at the same time one leads, and the others wait for what it brings.
func (x *exchange) fetch() {
	if !x.keyed || x.isHead() || x.ranged {
		x.pass()
		return
	}
	// What must be validated for each request is not waited for: it could not be shared.
	if x.solo || x.stale != nil && x.stale.entry.Flags&cache.FlagValidate != 0 {
		x.fill()
		return
	}
	key := x.fillKey()
	f, lead := x.h.flights.join(key)
	if !lead {
		x.follow(f)
		return
	}
	x.flight, x.flightKey = f, key
	// Also when the fill panics: followers must not wait for what never comes.
	defer x.endFlight(nil)
	x.fill()
}

// takeFlight hands the duty to end the flight to somebody else.
func (x *exchange) takeFlight() (*flight, string) {
	f := x.flight
	x.flight = nil
	return f, x.flightKey
}

// endFlight ends the flight that this request leads, if it still does.
func (x *exchange) endFlight(result *stored) {
	if f, key := x.takeFlight(); f != nil {
		x.h.flights.end(key, f, result)
	}
}

// fillKey is the Redis key that the response is expected to be stored under, copied.
func (x *exchange) fillKey() string {
	if x.index != nil {
		return string(x.varyName)
	}
	return string(x.redisKey)
}

// pass forwards the request as it is.
func (x *exchange) pass() {
	if x.answersHere() {
		return
	}
	if x.wantsTunnel() {
		asked := time.Now()
		x.upgradeTo()
		x.upstreamTook += time.Since(asked)
		return
	}
	x.outcome = outcomePass
	if x.postForGet() || x.keyed && x.fillPart() {
		return
	}
	if !x.forward(false) {
		return
	}
	switch {
	case x.fwd == cache.FwdMethod:
		x.invalidate()
	case x.isHead() && x.stale != nil:
		x.headEffect()
	}
	x.addStatus(cache.Status{Fwd: x.fwd, Detail: x.detail})
}

// follow waits for another request's fill. When that brings nothing that this
// request may have, it goes to the application itself, beside the others: what
// cannot be shared must not be queued for.
func (x *exchange) follow(f *flight) {
	x.waited = true
	timer := time.NewTimer(x.patience())
	defer timer.Stop()
	select {
	case <-f.ready:
		if x.serveLive(f.live) {
			return
		}
	case <-f.done:
	case <-timer.C:
		x.tooLate()
		return
	}
	select {
	case <-f.done:
	case <-timer.C:
		x.tooLate()
		return
	}
	if s := f.result; s != nil && x.selects(s) && x.current(s) {
		x.collapsed(s)
		return
	}
	if f.failure != cache.FailureNone && x.serveOnFailure(f.failure) {
		return // rather than that all who waited try an application that is down
	}
	if x.patience() <= 0 {
		x.tooLate()
		return
	}
	x.fill()
}

// patience is for how long this request may still wait for the application, be it
// another request's fill or its own: waits that follow each other do not add up.
func (x *exchange) patience() time.Duration { return x.route.fillTimeout - time.Since(x.began) }

// collapsed answers with what another request brought.
func (x *exchange) collapsed(s *stored) {
	x.outcome = outcomeCollapsed
	x.serve(s, cache.Status{Fwd: x.fwd, Collapsed: true, TTL: s.entry.TTL(x.now), HasTTL: true})
}

func (x *exchange) tooLate() {
	x.outcome = outcomeError
	x.h.stats.upstreamFailed(x.route.upstream, fasthttp.StatusGatewayTimeout)
	x.problem(fasthttp.StatusGatewayTimeout, "The application did not answer in time.", "")
}

// selects says whether the response of a fill is the one for this request.
func (x *exchange) selects(s *stored) bool {
	if s.names == nil {
		return string(s.entry.Key) == string(x.keyText)
	}
	return x.setVariant(s.names, s.generation) && string(s.entry.Key) == string(x.varyText)
}

// fill fetches and stores. When the request leads a flight, that gets what others
// may be answered with; otherwise it is on its own, and stores only if the lease is
// free.
func (x *exchange) fill() {
	x.outcome = outcomeMiss
	c := candidate{}
	storing := !x.solo
	if storing {
		// Marks first, then the lease, then the application: a purge after any of
		// them makes what comes back invalid or unstorable.
		if c.tags, storing = x.tags(); storing {
			var s *stored
			if c.lease, s = x.begin(x.flight != nil && !x.background); s != nil {
				x.collapsed(s)
				x.endFlight(s)
				return
			}
			if x.background && c.lease == nil {
				return // another pod refreshes it
			}
		}
	}
	if x.waited && x.patience() <= 0 {
		x.h.giveBack(c.lease)
		x.tooLate()
		return
	}
	x.validateStale(storing)
	c.requested = time.Now()
	if !x.forward(!x.solo) {
		x.h.giveBack(c.lease)
		return
	}
	c.received = time.Now()
	x.answered(&c, storing)
}

// answered deals with the application's answer to a fill.
func (x *exchange) answered(c *candidate, storing bool) {
	if f := cache.FailureOf(x.status); f != cache.FailureNone && x.serveOnFailure(f) {
		x.h.giveBack(c.lease)
		return
	}
	if x.status == fasthttp.StatusNotModified && x.conds.Stored.Any() {
		x.validated(c, storing)
		return
	}
	x.keep(c, storing)
}

// begin takes the fill lease, so that one pod asks the application. When another
// pod has it, the request waits for that pod's entry; patient says whether.
func (x *exchange) begin(patient bool) (*cache.Lease, *stored) {
	key, leaseKey := x.fillKey(), x.leaseKey()
	lease, there, err := x.takeFillLease(leaseKey, key)
	if lease != nil && there && (patient || x.background) {
		if s := x.storedMeanwhile(); s != nil {
			x.h.giveBack(lease)
			if x.lease = nil; x.background {
				s = nil // nobody waits for it
			}
			return nil, s
		}
	}
	if lease != nil || err != nil || !patient {
		return lease, nil
	}
	x.waited = true
	// As long as that pod holds its lease: it renews it while the application works,
	// and loses it soon after it died.
	ctx, cancel := context.WithTimeout(context.Background(), x.patience())
	defer cancel()
	x.h.store.Await(ctx, key, leaseKey, func(v *redisconn.Value) bool {
		x.now = time.Now()
		s := x.h.decode(v)
		return s != nil && (s.index && x.index == nil || !s.index && x.current(s))
	})
	x.now = time.Now()
	if s, _, _ := x.find(); s != nil && x.current(s) {
		return nil, s
	}
	// The other gave up, found it uncacheable, died, or brought another variant.
	lease, _ = x.takeLease(x.leaseKey())
	return lease, nil
}

// storedMeanwhile gives what was stored after this request had looked for it, and before
// that fill gave back the lease which this one has taken now. Only what is fresh counts: the
// stale entry that was found before may be of the same millisecond as the request.
func (x *exchange) storedMeanwhile() *stored {
	x.now = time.Now()
	if s, use, _ := x.find(); s != nil && use == cache.UseFresh && x.current(s) {
		return s
	}
	return nil
}

// takeLease takes a fill lease, and notes it: the store renews a lease until it is given
// back, so one that a panic leaves behind would keep its key from everybody.
func (x *exchange) takeLease(key string) (lease *cache.Lease, err error) {
	lease, err = x.h.store.Begin(context.Background(), key)
	x.lease = lease
	return lease, err
}

// takeFillLease is takeLease, and says whether there is an entry.
func (x *exchange) takeFillLease(key, entry string) (lease *cache.Lease, there bool, err error) {
	lease, there, err = x.h.store.BeginFill(context.Background(), key, entry)
	x.lease = lease
	return lease, there, err
}

func (x *exchange) leaseKey() string {
	if x.index != nil {
		return string(x.varyName) + ":l"
	}
	return cache.LeaseName(x.h.prefix, x.hash)
}

// tags gives the purge marks of the rule's tags as they are now. It is false when
// one cannot be known: what cannot be purged must not be stored.
func (x *exchange) tags() ([]cache.TagMark, bool) {
	if len(x.route.tags) == 0 {
		return nil, true
	}
	marks := make([]cache.TagMark, 0, len(x.route.tags))
	for _, t := range x.route.tags {
		tag, ok := cache.AppendTag(nil, t, x.param, x.sessionField)
		if !ok {
			x.detail = "tag-unknown"
			return nil, false
		}
		mark, err := x.h.store.Mark(context.Background(), cache.AppendTagName(nil, x.h.prefix, tag), x.now)
		if err != nil {
			return nil, false
		}
		marks = append(marks, cache.TagMark{Tag: tag, Mark: []byte(mark)})
	}
	return marks, true
}

func (x *exchange) param(name string) ([]byte, bool) {
	v := x.params.Get(name)
	return v, v != nil
}

func (x *exchange) sessionField(name string) ([]byte, bool) {
	if x.session == nil {
		return nil, false
	}
	v, ok := x.session.Field(name)
	return []byte(v), ok
}

// random spreads expiry times; nothing secret depends on it.
func random() uint64 { return rand.Uint64() }
