package tasks

import (
	"context"
	"strconv"
	"testing"
	"time"
)

// What is called failed afterwards is bounded as what an answer calls so.
func TestTheLastAttemptThatIsCalledFailed(t *testing.T) {
	for want, c := range map[string]struct {
		age      time.Duration
		attempts int
	}{"max_attempts": {0, 3}, "max_age": {time.Hour, 1}} {
		r := newRig(t)
		s := r.store("a", List, "l", time.Minute, func(o *Options) { o.MaxAge = c.age })
		r.do("RPUSH", "l", "1")
		for seq := 1; seq <= c.attempts; seq++ {
			task := mustClaim(t, s, uint64(seq), 1).Tasks[0]
			ask := Resolution{ID: task.ID, Token: task.Token(), Action: ActRetry}
			if want == "max_age" {
				ask.After = 2 * time.Hour
			}
			got, err := s.Resolve(context.Background(), ask)
			if err != nil || !got.Done || got.Attempts != seq || (got.Dead == want) != (seq == c.attempts) {
				t.Errorf("%s: %d: %+v, %v", want, seq, got, err)
			}
		}
		r.wantEmpty(s)
		r.wantDead(s, want, "1")
	}
}

// A task that is too old when the application's lease ends is not tried again.
func TestAPendingLeaseThatEndsTooLate(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Delay, "z", time.Minute, func(o *Options) { o.MaxAge = time.Hour })
	yesterday := time.Now().Add(-24 * time.Hour).Unix()
	r.do("ZADD", "z", strconv.FormatInt(yesterday, 10), "1")
	task := mustClaim(t, s, 1, 1).Tasks[0]
	if n, err := s.Pend(context.Background(), []Pending{{task.Member, time.Hour}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	got, err := s.Reap(context.Background(), r.leases(s))
	if err != nil || got.Buried != 1 || got.Unacknowledged != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	r.wantEmpty(s)
	r.wantDead(s, "max_age", "1")
}
