package latency

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// exact is the value of that rank in the sorted samples.
func exact(sorted []time.Duration, p float64) time.Duration {
	i := int(p/100*float64(len(sorted))+0.5) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

func TestPercentiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, from := range map[string]time.Duration{"late": 0, "some early": -300 * time.Millisecond, "all early": -2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			h, parts := New(), []*Histogram{New(), New()}
			var all []time.Duration
			for i := range 10000 {
				d := from + time.Duration(random.Int64N(int64(time.Second)))
				all = append(all, d)
				parts[i%2].Record(d)
			}
			h.Merge(parts[0])
			h.Merge(parts[1])
			slices.Sort(all)
			if h.Count() != int64(len(all)) {
				t.Fatalf("count %d, want %d", h.Count(), len(all))
			}
			for _, p := range []float64{1, 25, 50, 90, 99, 99.9} {
				want := exact(all, p)
				if got := h.Percentile(p); (got - want).Abs() > want.Abs()/500+2*time.Millisecond {
					t.Errorf("p%g is %v, want %v", p, got, want)
				}
			}
			for got, want := range map[time.Duration]time.Duration{h.Min(): all[0], h.Max(): all[len(all)-1]} {
				if (got - want).Abs() > want.Abs()/500+time.Microsecond {
					t.Errorf("an extreme is %v, want %v", got, want)
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	h := New()
	if h.Percentile(50) != 0 || h.Max() != 0 || h.Min() != 0 {
		t.Error("an empty histogram must give 0")
	}
	h.Record(time.Hour)
	if got := h.Max(); got < longest || got > longest+longest/500 {
		t.Errorf("an hour counts as %v, want %v", got, longest)
	}
}
