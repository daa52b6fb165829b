package queueagent

import (
	"sync/atomic"

	"github.com/rs/zerolog"
)

// health logs once, for all queues, that Redis cannot be reached, and once that it can
// again.
type health struct {
	log    zerolog.Logger
	isDown atomic.Bool
}

func (h *health) down(err error) {
	if !h.isDown.Load() && !h.isDown.Swap(true) {
		h.log.Warn().Err(err).Msg("the queues wait for redis")
	}
}

func (h *health) up() {
	if h.isDown.Load() && h.isDown.Swap(false) {
		h.log.Info().Msg("the queues go on: redis answers")
	}
}
