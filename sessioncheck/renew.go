package sessioncheck

import (
	"context"
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
)

const (
	maxPendingRenewals = 4096
	renewalBatch       = 256
)

// renewal is sliding expiry off the request's path. Each EXPIRE drops its session
// from the memory of every pod, so a session is renewed at most once per interval.
type renewal struct {
	ttl   time.Duration
	slack time.Duration // of session.ttl; 0: nothing is ever due
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
		r.slack = min(cfg.TTL/10, time.Minute)
	}
	return r
}

// due judges by what is left of the lifetime. A session that the application gave a
// longer one than ours keeps it, and one without an expiry stays without.
func (r *renewal) due(s *Session, now time.Time) bool {
	return r.slack > 0 && s.expireAt != 0 && s.expireAt-now.UnixMilli() < (r.lifetime(s, now)-r.slackOf(s)).Milliseconds()
}

// own is the lifetime that the session was given, else session.ttl.
func (r *renewal) own(s *Session) time.Duration {
	if s.ttl != 0 {
		return s.ttl
	}
	return r.ttl
}

// slackOf is by how much a lifetime may run down before it is set again.
func (r *renewal) slackOf(s *Session) time.Duration { return min(r.own(s)/10, time.Minute) }

// lifetime is what the session shall have: never one beyond its absolute timeout.
func (r *renewal) lifetime(s *Session, now time.Time) time.Duration {
	if s.deadline == 0 {
		return r.own(s)
	}
	return min(r.own(s), time.UnixMilli(s.deadline).Sub(now))
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

// renew sends one pipeline. After a failure the next request of a session tries again.
func (c *Checker) renew(ctx context.Context, batch []*Session) {
	list, now := make([]redisconn.Lifetime, len(batch)), time.Now()
	for i, s := range batch {
		list[i] = redisconn.Lifetime{Key: s.key, TTL: c.renewal.lifetime(s, now), Slack: c.renewal.slackOf(s)}
	}
	raised, err := c.store.Raise(ctx, list)
	c.renewal.mu.Lock()
	for _, s := range batch {
		delete(c.renewal.pending, s.key)
	}
	c.renewal.mu.Unlock()
	if err == nil {
		c.counters.renewed.Add(uint64(raised)) // another pod may have been first
		return
	}
	c.counters.renewFailed.Add(uint64(len(batch)))
	for _, s := range batch {
		s.renewing.Store(false)
	}
	c.log.Debug().Err(err).Int("sessions", len(batch)).Msg("sessions were not renewed; their next requests try again")
}
