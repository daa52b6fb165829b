package queueagent

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// timeBounds are the upper bounds of the buckets of times, in seconds; attemptBounds those of
// attempts.
func timeBounds() []float64 {
	return []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
}

func attemptBounds() []float64 { return []float64{1, 2, 3, 5, 10, 20} }

// Histogram is a copy of a distribution, as Prometheus wants it: Buckets has, by upper
// bound, how many values were not above it.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64
}

// histogram counts values. Many may read it while one adds.
type histogram struct {
	bounds []float64
	counts []atomic.Uint64 // one for each bound, and one for what is above all
	sum    atomic.Uint64   // the bits of a float64
}

func newHistogram(bounds []float64) *histogram {
	return &histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

func (h *histogram) add(v float64) {
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Store(math.Float64bits(math.Float64frombits(h.sum.Load()) + v))
}

func (h *histogram) snapshot() Histogram {
	out := Histogram{Sum: math.Float64frombits(h.sum.Load()), Buckets: make(map[float64]uint64, len(h.bounds))}
	for i := range h.counts {
		out.Count += h.counts[i].Load()
		if i < len(h.bounds) {
			out.Buckets[h.bounds[i]] = out.Count
		}
	}
	return out
}

// distributions are the times of a queue's tasks, and their attempts.
type distributions struct{ lateness, endToEnd, attempts *histogram }

func newDistributions() distributions {
	return distributions{newHistogram(timeBounds()), newHistogram(timeBounds()), newHistogram(attemptBounds())}
}

// observe takes in a delivery's end. now is by the clock of Redis, as the time since when the
// task could be delivered is; the two clocks are in step to some milliseconds. Only the
// settler calls it.
//
// Lateness is that of first deliveries: when a retry was due is not known any more.
func (s *distributions) observe(o outcome, now time.Time) {
	if o.attempt && o.d.Reason == tasks.First {
		s.lateness.add(max(now.Add(-o.took).Sub(o.d.Since), 0).Seconds())
	}
	if o.verdict == verdictAck {
		s.endToEnd.add(max(now.Sub(o.d.Since), 0).Seconds())
		s.attempts.add(float64(o.d.Attempts + 1))
	}
}
