package queueagent

import (
	"math/rand/v2"
	"time"
)

// delay gives the pause before the next attempt, after failed attempts (1 or more):
// anywhere between Min and a bound that doubles with each failure up to Max. The
// jitter is as wide as that, so that tasks that failed together do not come back
// together.
func (r Retry) delay(failed int) time.Duration {
	bound := r.Max
	if shift := min(failed, 40); r.Min < r.Max>>shift {
		bound = r.Min << shift
	}
	if bound <= r.Min {
		return r.Min
	}
	return r.Min + rand.N(bound-r.Min+1)
}

// pause is exponential backoff for our own work: waiting for Redis, or for a source
// that cannot be read. The zero value starts at base.
type pause struct {
	base, max, last time.Duration
}

// next gives the next pause, of which a quarter is jitter.
func (p *pause) next() time.Duration {
	p.last = min(max(2*p.last, p.base), p.max)
	return p.last - rand.N(p.last/4+1)
}

func (p *pause) reset() { p.last = 0 }
