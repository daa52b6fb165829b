package sessioncheck

import (
	"context"
	"sync"
	"time"
)

const (
	maxPendingRenewals = 4096
	renewalBatch       = 256
)

// renewal is sliding expiry off the request's path. Each EXPIRE drops its session
// from the memory of every pod, so a session is renewed at most once per interval.
type renewal struct {
	ttl   time.Duration
	below int64 // milliseconds: a session with less left is due; 0: never
	queue chan *Session

	mu      sync.Mutex
	pending map[string]struct{} // keys from the moment they are queued until Redis has answered
}

func newRenewal(cfg *Config) *renewal {
	r := &renewal{
		ttl: cfg.TTL, queue: make(chan *Session, maxPendingRenewals),
		pending: make(map[string]struct{}),
	}
	if cfg.Sliding {
		r.below = dueBelow(cfg.TTL)
	}
	return r
}

// dueBelow gives what must be left of a lifetime, in ms, for a session not to be due.
func dueBelow(ttl time.Duration) int64 { return (ttl - min(ttl/10, time.Minute)).Milliseconds() }

// due judges by what is left of the lifetime. A session that the application gave a
// longer one than ours keeps it, and one without an expiry stays without.
func (r *renewal) due(s *Session, now time.Time) bool {
	below := r.below
	if s.ttl != 0 && below != 0 {
		below = dueBelow(s.ttl)
	}
	return s.expireAt != 0 && s.expireAt-now.UnixMilli() < below
}

// enqueue never waits. The flag in the session keeps later requests away from the
// lock; it goes with the session when the EXPIRE has invalidated it.
func (c *Checker) enqueue(s *Session) {
	if s.renewing.Load() || !s.renewing.CompareAndSwap(false, true) {
		return
	}
	r := c.renewal
	r.mu.Lock()
	defer r.mu.Unlock()
	// Without tracking each request has a Session of its own: the key tells.
	if _, waits := r.pending[s.key]; waits {
		s.renewing.Store(false) // should the one that waits fail, nobody would reset this flag
		return
	}
	select {
	case r.queue <- s:
		r.pending[s.key] = struct{}{}
	default:
		s.renewing.Store(false)
		c.counters.renewDropped.Add(1)
	}
}

// Run renews sessions until the context ends. One goroutine at a time may run it.
func (c *Checker) Run(ctx context.Context) {
	batch := make([]*Session, 0, renewalBatch)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-c.renewal.queue:
			batch = append(batch[:0], s)
		}
		for more := true; more && len(batch) < renewalBatch; {
			select {
			case s := <-c.renewal.queue:
				batch = append(batch, s)
			default:
				more = false
			}
		}
		c.renew(ctx, batch)
		clear(batch)
	}
}

// renew sends one pipeline for each lifetime; but for sessions with one of their own
// (ttlField) there is only session.ttl.
func (c *Checker) renew(ctx context.Context, batch []*Session) {
	for len(batch) > 0 {
		ttl := batch[0].ttl
		n := 1
		for i := 1; i < len(batch); i++ {
			if batch[i].ttl == ttl {
				batch[n], batch[i] = batch[i], batch[n]
				n++
			}
		}
		if ttl == 0 {
			ttl = c.renewal.ttl
		}
		c.renewFor(ctx, batch[:n], ttl)
		batch = batch[n:]
	}
}

// renewFor sends one pipeline. After a failure the next request of a session tries again.
func (c *Checker) renewFor(ctx context.Context, batch []*Session, ttl time.Duration) {
	keys := make([]string, len(batch))
	for i, s := range batch {
		keys[i] = s.key
	}
	err := c.store.Expire(ctx, keys, ttl)
	c.renewal.mu.Lock()
	for _, s := range batch {
		delete(c.renewal.pending, s.key)
	}
	c.renewal.mu.Unlock()
	if err == nil {
		c.counters.renewed.Add(uint64(len(batch)))
		return
	}
	c.counters.renewFailed.Add(uint64(len(batch)))
	for _, s := range batch {
		s.renewing.Store(false)
	}
	c.log.Debug().Err(err).Int("sessions", len(batch)).Msg("sessions were not renewed; their next requests try again")
}
