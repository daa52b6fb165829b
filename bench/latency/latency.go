// Package latency holds histograms of times.
package latency

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	longest = 10 * time.Minute
	digits  = 3
	unit    = 100 * time.Nanosecond
)

// Histogram counts times, from 100 ns to ten minutes, with three significant digits.
// Negative ones, which only tasks that come too early have, are kept apart. It is for
// one goroutine at a time.
type Histogram struct {
	h        *hdrhistogram.Histogram
	negative *hdrhistogram.Histogram
}

// New makes an empty histogram.
func New() *Histogram {
	return &Histogram{h: fresh(), negative: fresh()}
}

func fresh() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(longest/unit), digits) }

// Record counts a time; one above ten minutes counts as that.
func (h *Histogram) Record(d time.Duration) {
	if d < 0 {
		_ = h.negative.RecordValue(int64(min(-d, longest) / unit))
		return
	}
	_ = h.h.RecordValue(int64(min(d, longest) / unit)) // within bounds: never fails
}

// Merge adds what another histogram counted.
func (h *Histogram) Merge(other *Histogram) {
	h.h.Merge(other.h)
	h.negative.Merge(other.negative)
}

// Count is how many were recorded.
func (h *Histogram) Count() int64 { return h.h.TotalCount() + h.negative.TotalCount() }

// Percentile gives the time that so many percent do not exceed.
func (h *Histogram) Percentile(p float64) time.Duration {
	early := h.negative.TotalCount()
	total := h.Count()
	if total == 0 {
		return 0
	}
	if rank := p / 100 * float64(total); rank <= float64(early) && early > 0 {
		return -time.Duration(h.negative.ValueAtPercentile(100*(1-rank/float64(early)))) * unit
	}
	late := h.h.TotalCount()
	rank := p/100*float64(total) - float64(early)
	return time.Duration(h.h.ValueAtPercentile(100*rank/float64(late))) * unit
}

// Max is the longest time.
func (h *Histogram) Max() time.Duration {
	if h.h.TotalCount() == 0 {
		return h.Percentile(100)
	}
	return time.Duration(h.h.Max()) * unit
}

// Min is the shortest time; negative when something came too early.
func (h *Histogram) Min() time.Duration {
	if h.negative.TotalCount() > 0 {
		return -time.Duration(h.negative.Max()) * unit
	}
	return time.Duration(h.h.Min()) * unit
}
