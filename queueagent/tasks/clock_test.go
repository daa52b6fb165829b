package tasks

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"
)

// Setting the time of this host must move no alarm: times go by the monotonic clock.
func TestClockIsMonotonic(t *testing.T) {
	c := newClock()
	now := time.Now()
	c.note(now.UnixMilli()+60_000, now)
	got := c.local(now.UnixMilli() + 90_000)
	if d := got.Sub(now); d < 29*time.Second || d > 31*time.Second {
		t.Errorf("in %s: want 30s", d)
	}
	if !strings.Contains(got.String(), " m=") {
		t.Errorf("%s has no monotonic reading", got)
	}
	for _, far := range []int64{math.MaxInt64 / 2, 1e15} {
		if d := time.Until(c.local(far)); d < 100*365*24*time.Hour {
			t.Errorf("%d is in %s: want it far away", far, d)
		}
	}
	if d := time.Until(c.local(-1e15)); d > 0 {
		t.Errorf("long ago is in %s", d)
	}
}

// An agent whose queue is idle hears of it when the clock of Redis is set.
func TestIdleReapTellsTheTime(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Delay, "z", time.Minute)
	s.clock.skew.Store(time.Hour.Milliseconds() | 1)
	if _, err := s.Reap(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if d := s.Now().Sub(time.Now()).Abs(); d > time.Minute {
		t.Errorf("off by %s still", d)
	}
}
