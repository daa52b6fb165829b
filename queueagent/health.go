package queueagent

import (
	"sync/atomic"

	"github.com/rs/zerolog"
)

// health logs once, for all queues, that Redis cannot be reached, and once that it can
// again. On a Cluster queues are on several nodes: while one is down, the others go on.
type health struct {
	log  zerolog.Logger
	down atomic.Int64 // queues that cannot reach Redis
}

// access is what one queue knows of it.
type access struct {
	health *health
	isDown atomic.Bool
}

func (r *access) down(err error) {
	if !r.isDown.Load() && !r.isDown.Swap(true) && r.health.down.Add(1) == 1 {
		r.health.log.Warn().Err(err).Msg("the queues wait for redis")
	}
}

func (r *access) up() {
	if r.isDown.Load() && r.isDown.Swap(false) && r.health.down.Add(-1) == 0 {
		r.health.log.Info().Msg("the queues go on: redis answers")
	}
}
