package web

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// stormCount is the key that counts a storm's changes.
const stormCount = "bench:storm"

// Storm changes Redis at a steady rate: it purges a tag, or ends a session and makes it
// anew in one transaction, so that it is never absent.
type Storm struct {
	Redis    string // host:port
	Kind     string // purge or revocation
	Rate     int    // a second
	Sessions int
}

// Run goes on until the context ends.
func (s Storm) Run(ctx context.Context) error {
	if s.Kind != "purge" && s.Kind != "revocation" {
		return fmt.Errorf("--kind %q: use purge or revocation", s.Kind)
	}
	if s.Rate < 1 {
		return fmt.Errorf("--rate %d: set 1 or more", s.Rate)
	}
	r := redis.NewClient(&redis.Options{Addr: s.Redis, DisableIdentity: true})
	defer r.Close()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	began, done := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		due := int(time.Since(began).Seconds() * float64(s.Rate))
		if due == done {
			continue
		}
		if err := s.change(ctx, r, due-done); err != nil && ctx.Err() == nil {
			return err
		}
		done = due
	}
}

// change makes n changes, each in a transaction.
func (s Storm) change(ctx context.Context, r *redis.Client, n int) error {
	_, err := r.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for range n {
			if s.Kind == "purge" {
				p.Set(ctx, "pillion:t:storm", strconv.FormatUint(rand.Uint64(), 36), 10*24*time.Hour)
				continue
			}
			i := rand.IntN(s.Sessions)
			p.Del(ctx, "session:"+SessionID(i))
			p.Set(ctx, "session:"+SessionID(i), sessionValue(i), 24*time.Hour)
		}
		p.IncrBy(ctx, stormCount, int64(n))
		return nil
	})
	return err
}
