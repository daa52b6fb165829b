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
	c.note(now.UnixMilli()+60_000, now, time.Now())
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

// The clock of Redis has always reached the time that Reached gives, also after a slow
// reply, and after a clock has been set or has drifted.
func TestReachedIsNeverAhead(t *testing.T) {
	s := &Store{clock: newClock()}
	now := s.clock.base
	for _, step := range []struct {
		name        string
		ahead       time.Duration // of the clock of Redis
		there, back time.Duration // what the command took, and the reply
		behind      time.Duration // most that Reached may stay behind
	}{
		{"first, and slow", time.Hour, 0, 300 * time.Millisecond, 303 * time.Millisecond},
		{"quick", time.Hour, time.Millisecond, time.Millisecond, 4 * time.Millisecond},
		{"slow back", time.Hour, 0, time.Second, 4 * time.Millisecond},
		{"slow there", time.Hour, time.Second, 0, 4 * time.Millisecond},
		{"set back", -time.Minute, time.Millisecond, time.Millisecond, 4 * time.Millisecond},
		{"drifted back", -time.Minute - 20*time.Millisecond, 0, time.Millisecond, 4 * time.Millisecond},
		{"set ahead", time.Minute + 700*time.Microsecond, time.Millisecond, 0, 4 * time.Millisecond},
	} {
		for range 5 {
			now = now.Add(2*time.Second + 333*time.Microsecond)
			sent := now.Add(-step.back - step.there)
			s.clock.note(now.Add(step.ahead-step.back).UnixMilli(), sent, now)
			for _, later := range []time.Duration{0, 400 * time.Microsecond, 999 * time.Microsecond} {
				at := now.Add(later)
				if behind := at.Add(step.ahead).Sub(s.Reached(at)); behind < 0 || behind > step.behind {
					t.Errorf("%s: behind the clock of Redis by %s: want 0s to %s", step.name, behind, step.behind)
				}
			}
		}
	}
}
