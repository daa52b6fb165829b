package tasks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"
)

// An agent that was cut off from Redis for longer than its last claim is remembered
// repeats the claim. Meanwhile others have its tasks: what it gets now are new tasks,
// which must not be written over those.
func TestAClaimRepeatedTooLateLosesNothing(t *testing.T) {
	for _, kind := range []Kind{List, Delay, Stream} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t)
			s := r.store("a", kind, "src", time.Minute)
			add := func(n int) {
				p := strconv.Itoa(n)
				switch kind {
				case List:
					r.do("RPUSH", "src", p)
				case Delay:
					r.do("ZADD", "src", "0", p)
				case Stream:
					r.do("XADD", "src", "*", "n", p)
				}
			}
			for i := range 3 {
				add(i)
			}
			lost := mustClaim(t, s, 7, 3) // its reply never arrived
			r.do("DEL", s.Keys.Claim)     // it expires after the lease and 20 s
			if got, err := s.Reap(context.Background(), members(lost.Tasks)); err != nil || got.Requeued != 3 {
				t.Fatal(got, err)
			}
			r.do("ZADD", s.Keys.Retry, "XX", "99999999999999", lost.Tasks[0].ID, "99999999999999", lost.Tasks[1].ID, "99999999999999", lost.Tasks[2].ID)
			for i := range 3 {
				add(3 + i)
			}
			claimed := r.ms()
			eventually(t, "the time is another", func() bool { return r.ms() > claimed })
			again := mustClaim(t, s, 7, 3)
			for _, task := range again.Tasks {
				if slices.ContainsFunc(lost.Tasks, func(l Task) bool { return l.ID == task.ID }) {
					t.Errorf("task %q got the id of another", task.Payload)
				}
			}
			if n := r.int("HLEN", s.Keys.Records); n != 6 {
				t.Errorf("%d records: want all 6 tasks", n)
			}
		})
	}
}

// A batch that comes back from an agent that died is due in the order in which it was
// claimed, also beyond its tenth task.
func TestABatchComesBackInItsOrder(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	var want []string
	for i := range 120 {
		p := fmt.Sprint(i)
		want = append(want, p)
		r.do("RPUSH", "l", p)
	}
	got := mustClaim(t, s, 1, 120)
	for len(got.Tasks) > 0 {
		n := min(len(got.Tasks), MaxReap)
		if _, err := s.Reap(context.Background(), members(got.Tasks[:n])); err != nil {
			t.Fatal(err)
		}
		got.Tasks = got.Tasks[n:]
	}
	var back []string
	for _, task := range mustClaim(t, s, 2, 120).Tasks {
		back = append(back, task.Payload)
	}
	if !slices.Equal(back, want) {
		t.Errorf("came back as %q", back)
	}
}

// ms gives the clock of Redis.
func (r *rig) ms() int64 {
	r.tb.Helper()
	now, err := r.do("TIME").AsIntSlice()
	if err != nil {
		r.tb.Fatal(err)
	}
	return now[0]*1000 + now[1]/1000
}

// Tasks that were abandoned more than once come back apart from each other, so that one
// that kills its agent is alone when it does so again.
func TestSuspectsComeBackApart(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2", "3")
	for round, gap := range []float64{0, 100, 200} {
		r.do("ZUNIONSTORE", s.Keys.Retry, "1", s.Keys.Retry, "WEIGHTS", "0") // all are due
		got := mustClaim(t, s, uint64(round+1), 3)
		if _, err := s.Reap(context.Background(), members(got.Tasks)); err != nil || len(got.Tasks) != 3 {
			t.Fatal(got, err)
		}
		due, err := r.do("ZRANGE", s.Keys.Retry, "0", "-1", "WITHSCORES").AsZScores()
		if err != nil || len(due) != 3 {
			t.Fatal(due, err)
		}
		for i, z := range due[1:] {
			if d := z.Score - due[i].Score; d != gap {
				t.Errorf("abandoned %d times: %v ms apart: want %v", round+1, d, gap)
			}
		}
	}
}

// A Redis at its maxmemory refuses writes that need memory. Leases must be renewed and
// ended nevertheless, or a delivery longer than its lease would never end.
func TestLeasesAreKeptInAFullRedis(t *testing.T) {
	r := newRig(t, "--maxmemory-policy", "noeviction")
	s := r.store("a", List, "l", time.Minute)
	ctx := context.Background()
	r.do("RPUSH", "l", "1", "2", "3", "4", "5")
	got := mustClaim(t, s, 1, 5).Tasks
	r.do("CONFIG", "SET", "maxmemory", "1")
	if again, err := s.Claim(ctx, 1, 5); err != nil || len(again.Tasks) != 5 {
		t.Errorf("the claim again: %+v, %v", again, err)
	}
	if lost, err := s.Renew(ctx, members(got)); err != nil || len(lost) != 0 {
		t.Errorf("renew: %v, lost %q", err, lost)
	}
	if _, err := s.Nack(ctx, []Back{{Member: got[0].Member, Attempt: true, Delay: time.Hour}}); err != nil {
		t.Errorf("nack: %v", err)
	}
	if n, err := s.Bury(ctx, []Grave{{Member: got[1].Member, Reason: "gone"}}); err != nil || n != 1 {
		t.Errorf("bury: %d, %v", n, err)
	}
	if n, err := s.Pend(ctx, []Pending{{Member: got[2].Member, Lease: time.Hour}}); err != nil || n != 1 {
		t.Errorf("pend: %d, %v", n, err)
	}
	for _, act := range []Action{ActExtend, ActRelease} {
		res := Resolution{ID: got[2].ID, Token: got[2].Token(), Action: act, After: time.Hour}
		if got, err := s.Resolve(ctx, res); err != nil || !got.Done {
			t.Errorf("%s: %+v, %v", act, got, err)
		}
	}
	if reaped, err := s.Reap(ctx, members(got[3:4])); err != nil || reaped.Requeued != 1 {
		t.Errorf("reap: %+v, %v", reaped, err)
	}
	if n, err := s.Ack(ctx, members(got[4:])); err != nil || n != 1 {
		t.Errorf("ack: %d, %v", n, err)
	}
}
