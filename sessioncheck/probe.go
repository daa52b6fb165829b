package sessioncheck

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
)

const (
	// maxProbes bounds the checks that ask Redis at one moment. It is a fraction of what
	// may wait for Redis in all, so that a flood of made-up ids leaves room for
	// everything else that asks it.
	maxProbes = 512
	// probeWait is how long a check waits for its turn; then nothing is known.
	probeWait = 100 * time.Millisecond
)

// probeLimit holds one element for each check that asks Redis. A session that is in
// memory never comes here.
type probeLimit struct {
	slots    chan struct{}
	rejected *atomic.Uint64
}

func newProbeLimit() probeLimit {
	return probeLimit{slots: make(chan struct{}, maxProbes), rejected: new(atomic.Uint64)}
}

// probe asks Redis about a session that is not in memory.
func (c *Checker) probe(ctx context.Context, key string) (*redisconn.Value, error) {
	if err := c.probes.enter(ctx); err != nil {
		return nil, err
	}
	defer func() { <-c.probes.slots }()
	return c.store.Get(ctx, key, c.schema.mode())
}

func (p *probeLimit) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(probeWait)
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	p.rejected.Add(1)
	return fmt.Errorf("%w: %d session checks are waiting already", redisconn.ErrUnavailable, maxProbes)
}
