package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"
)

func mustClaim(t *testing.T, s *Store, seq uint64, n int) Claimed {
	t.Helper()
	got, err := s.Claim(context.Background(), seq, n)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func payloads(ts []Task) string {
	var out []string
	for _, t := range ts {
		out = append(out, t.Payload)
	}
	return strings.Join(out, ",")
}

func members(ts []Task) []string {
	var out []string
	for _, t := range ts {
		out = append(out, t.Member)
	}
	return out
}

// wantEmpty fails when a queue holds anything but its last claim.
func (r *rig) wantEmpty(s *Store) {
	r.tb.Helper()
	for _, k := range []string{s.Keys.Source, s.Keys.Records, s.Keys.Leases, s.Keys.Retry} {
		if r.int("EXISTS", k) != 0 {
			r.tb.Errorf("%s is left", k)
		}
	}
}

func TestClaimTakesFromTheLeftInOrder(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2", "3")
	got := mustClaim(t, s, 1, 2)
	if p := payloads(got.Tasks); p != "1,2" {
		t.Errorf("claimed %s: want 1,2", p)
	}
	one := got.Tasks[0]
	if one.Reason != First || one.Attempts != 0 || time.Since(one.Since) > time.Minute {
		t.Errorf("a fresh task is %+v", one)
	}
	if got.Tasks[0].ID == got.Tasks[1].ID {
		t.Error("two tasks have one id")
	}
	if r.int("ZCARD", s.Keys.Leases) != 2 || r.int("HLEN", s.Keys.Records) != 2 || r.int("LLEN", "l") != 1 {
		t.Error("want 2 leases, 2 records, 1 in the list")
	}
}

func TestClaimAgainWithTheSameNumberGivesTheSameBatch(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2", "3", "4")
	first := mustClaim(t, s, 1, 3)
	if n, err := s.Ack(context.Background(), members(first.Tasks[:1])); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	again := mustClaim(t, s, 1, 3)
	if p := payloads(again.Tasks); p != "2,3" {
		t.Errorf("second try gave %s: want what is left of the batch, 2,3", p)
	}
	if again.Tasks[0].Member != first.Tasks[1].Member {
		t.Error("the lease has another name")
	}
	if r.int("LLEN", "l") != 1 {
		t.Error("the second try took from the list")
	}
}

// A claim that was stuck in a socket, and runs after a later one or much later, would
// lease tasks to nobody.
func TestAnOldClaimDoesNothing(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	mustClaim(t, s, 2, 1)
	if _, err := s.Claim(context.Background(), 1, 1); err != ErrLate {
		t.Errorf("claim 1 after claim 2: %v", err)
	}
	s.clock.skew.Store(s.clock.skew.Load() - (2 * claimWindow).Milliseconds())
	if _, err := s.Claim(context.Background(), 3, 1); err != ErrLate {
		t.Errorf("a claim sent long ago: %v", err)
	}
	if p := payloads(mustClaim(t, s, 3, 1).Tasks); p != "2" {
		t.Errorf("the clock was not corrected by the refusal: got %q", p)
	}
}

func TestAckIsByIDAndIdempotent(t *testing.T) {
	r := newRig(t)
	a, b := r.store("a", List, "l", 100*time.Millisecond), r.store("b", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	got := mustClaim(t, a, 1, 2)
	reapAll(t, b, 2)
	// One task waits in retry, the other is leased by b, when a's acks come late.
	taken := mustClaim(t, b, 1, 1)
	for want := range 2 {
		n, err := a.Ack(context.Background(), members(got.Tasks))
		if err != nil || n != 2*(1-want) {
			t.Errorf("ack %d removed %d, %v", want+1, n, err)
		}
	}
	if n, err := b.Ack(context.Background(), members(taken.Tasks)); n != 0 || err != nil {
		t.Errorf("the new owner's ack removed %d, %v", n, err)
	}
	r.wantEmpty(a)
}

// reapAll waits until n leases have expired and been taken.
func reapAll(t *testing.T, s *Store, n int) Reaped {
	t.Helper()
	var sum Reaped
	eventually(t, "leases expire", func() bool {
		got, err := s.Reap(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		sum.Taken += got.Taken
		sum.Requeued += got.Requeued
		sum.Buried += got.Buried
		return sum.Taken >= n
	})
	return sum
}

func TestNack(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	got := mustClaim(t, s, 1, 2)
	items := []Back{{got.Tasks[0].Member, true, 10 * time.Minute}, {got.Tasks[1].Member, false, -1}}
	for range 2 { // the second time as after a lost reply
		next, err := s.Nack(ctx, items)
		if err != nil || next.IsZero() || time.Until(next) > time.Second {
			t.Errorf("nack: next at %s, %v; want at once", next, err)
		}
	}
	next := mustClaim(t, s, 2, 2)
	if payloads(next.Tasks) != "2" || next.Tasks[0].Attempts != 0 || next.Tasks[0].Reason != First {
		t.Errorf("given back: %+v", next.Tasks)
	}
	if wait := time.Until(next.Next); wait < 9*time.Minute || wait > 10*time.Minute {
		t.Errorf("next task in %s: want nearly 10m", wait)
	}
	r.do("ZADD", s.Keys.Retry, "1", got.Tasks[0].ID)
	failed := mustClaim(t, s, 3, 1).Tasks[0]
	if failed.Attempts != 1 || failed.Reason != Retry || failed.ID != got.Tasks[0].ID || failed.Payload != "1" {
		t.Errorf("failed once: %+v", failed)
	}
	// The lease of the first claim is over, although the task is leased to us again.
	if _, err := s.Nack(ctx, items[:1]); err != nil {
		t.Fatal(err)
	}
	if r.int("ZCARD", s.Keys.Leases) != 2 {
		t.Error("an old nack took a newer lease away")
	}
}

func TestRenewIsFenced(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	a, b := r.store("a", List, "l", 300*time.Millisecond), r.store("b", List, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	got := mustClaim(t, a, 1, 2)
	before := r.int("ZRANK", a.Keys.Leases, got.Tasks[0].Member)
	if lost, err := a.Renew(ctx, members(got.Tasks)); err != nil || len(lost) != 0 {
		t.Fatal(lost, err, before)
	}
	if _, err := b.Reap(ctx, []string{got.Tasks[0].Member}); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, b, 1, 1)
	lost, err := a.Renew(ctx, members(got.Tasks))
	if err != nil || !slices.Equal(lost, members(got.Tasks[:1])) {
		t.Errorf("lost %v, %v: want the first", lost, err)
	}
	if r.int("ZCARD", a.Keys.Leases) != 2 {
		t.Error("renew made or removed a lease")
	}
}

func TestReapAndPoison(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", 100*time.Millisecond)
	r.do("RPUSH", "l", "1")
	for seq := uint64(1); seq <= 5; seq++ {
		got := mustClaim(t, s, seq, 1)
		if len(got.Tasks) != 1 || got.Tasks[0].Abandons != int(seq-1) || got.Tasks[0].Attempts != 0 {
			t.Fatalf("claim %d: %+v", seq, got.Tasks)
		}
		if want := map[bool]Reason{true: First, false: Crash}[seq == 1]; got.Tasks[0].Reason != want {
			t.Errorf("claim %d has reason %s", seq, got.Tasks[0].Reason)
		}
		sum := reapAll(t, s, 1)
		if wantPoison := seq == 5; (sum.Buried == 1) != wantPoison || (sum.Requeued == 1) == wantPoison {
			t.Errorf("after claim %d: %+v", seq, sum)
		}
	}
	r.wantEmpty(s)
	r.wantDead(s, "poison", "1")
}

// wantDead fails unless there is one dead letter of that kind.
func (r *rig) wantDead(s *Store, reason, payload string) {
	r.tb.Helper()
	dead, err := r.do("XRANGE", s.Keys.Dead, "-", "+").AsXRange()
	if err != nil || len(dead) != 1 {
		r.tb.Fatalf("%d dead letters, %v: want 1", len(dead), err)
	}
	if f := dead[0].FieldValues; f["reason"] != reason || f["payload"] != payload || f["id"] == "" {
		r.tb.Errorf("the dead letter is %v", f)
	}
}

func TestReapLeavesLivingLeasesAlone(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1")
	mustClaim(t, s, 1, 1)
	got, err := s.Reap(context.Background(), nil)
	if err != nil || got.Taken != 0 || time.Until(got.NextLease) < 50*time.Second || !got.NextRetry.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestARestartedAgentFindsItsPredecessorsLeases(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	old := r.store("pod:1", List, "l", time.Hour)
	other := r.store("pod", List, "l", time.Hour)
	now := r.store("pod:1", List, "l", time.Hour)
	r.do("RPUSH", "l", "1", "2", "3")
	left := mustClaim(t, old, 1, 1)
	mustClaim(t, other, 1, 1)
	mustClaim(t, now, 1, 1)
	found, cursor, err := now.Predecessors(ctx, 0)
	if err != nil || cursor != 0 || !slices.Equal(found, members(left.Tasks)) {
		t.Fatalf("found %v, %d, %v: want %v", found, cursor, err, members(left.Tasks))
	}
	got, err := now.Reap(ctx, found)
	if err != nil || got.Requeued != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	again := mustClaim(t, now, 2, 5)
	if payloads(again.Tasks) != "1" || again.Tasks[0].Reason != Crash || again.Tasks[0].ID != left.Tasks[0].ID {
		t.Errorf("%+v", again.Tasks)
	}
}

func TestBuryIsFenced(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1")
	got := mustClaim(t, s, 1, 1)
	g := []Grave{{got.Tasks[0].Member, "gone", "status 410: bye", true}}
	for want := 1; want >= 0; want-- {
		if n, err := s.Bury(ctx, g); n != want || err != nil {
			t.Errorf("buried %d, %v: want %d", n, err, want)
		}
	}
	r.wantEmpty(s)
	r.wantDead(s, "gone", "1")
}

func TestDelayClaimIsNeverEarlyByTheClockOfRedis(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Delay, "z", time.Minute)
	now, _ := r.do("TIME").AsIntSlice()
	base := float64(now[0]) + float64(now[1])/1e6
	r.do("ZADD", "z", fmt.Sprintf("%.6f", base-1), "past", fmt.Sprintf("%.6f", base+1), "soon", "+inf", "never")
	asked := time.Now()
	got := mustClaim(t, s, 1, 5)
	took := time.Since(asked)                      // the clock of Redis is known no better after one reply
	due := time.UnixMicro(int64((base + 1) * 1e6)) // Redis shares our clock
	if early := due.Sub(got.Next); payloads(got.Tasks) != "past" || early.Abs() > 3*time.Millisecond+took {
		t.Errorf("claimed %s, next %s early", payloads(got.Tasks), early)
	}
	for seq := uint64(2); ; seq++ {
		got = mustClaim(t, s, seq, 5)
		after, _ := r.do("TIME").AsIntSlice()
		if len(got.Tasks) == 1 {
			if at := float64(after[0]) + float64(after[1])/1e6; at < base+1 {
				t.Errorf("claimed %f s early", base+1-at)
			}
			break
		}
	}
	if !got.Next.IsZero() || r.int("ZCARD", "z") != 1 {
		t.Errorf("next at %s, want never; %d left, want 1", got.Next, r.int("ZCARD", "z"))
	}
}

func TestClaimOfTheWrongTypeStillGivesRetries(t *testing.T) {
	for _, kind := range []Kind{List, Delay} {
		r := newRig(t)
		s := r.store("a", kind, "x", time.Minute)
		r.do("SET", "x", "a string")
		r.do("HSET", s.Keys.Records, "id-1", "r 2 1 1000\npayload")
		r.do("ZADD", s.Keys.Retry, "1", "id-1")
		got := mustClaim(t, s, 1, 5)
		if !strings.Contains(got.SourceErr, "WRONGTYPE") || payloads(got.Tasks) != "payload" || got.Tasks[0].Attempts != 2 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// A Redis that is at its maxmemory must still be drained: draining is what helps.
func TestDrainingAFullRedis(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	s := r.store("a", List, "l", time.Minute)
	for i := range 10 {
		r.do("RPUSH", "l", fmt.Sprint(i))
	}
	r.do("CONFIG", "SET", "maxmemory", "1")
	got := mustClaim(t, s, 1, 4)
	if len(got.Tasks) != 4 {
		t.Fatalf("claimed %d: want 4", len(got.Tasks))
	}
	m := members(got.Tasks)
	if _, err := s.Ack(ctx, m[:1]); err != nil {
		t.Error(err)
	}
	if _, err := s.Nack(ctx, []Back{{m[1], true, 0}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Bury(ctx, []Grave{{m[2], "gone", "", true}}); err != nil {
		t.Error(err)
	}
	if _, err := s.Reap(ctx, m[3:]); err != nil {
		t.Error(err)
	}
	if n := len(mustClaim(t, s, 2, 10).Tasks); n != 8 {
		t.Errorf("claimed %d: want 6 fresh and 2 again", n)
	}
}

// The demo runs on miniredis where there is no redis-server.
func TestScriptsOnMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{m.Addr()}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := &rig{tb: t, c: c}
	ctx := context.Background()
	for _, kind := range []Kind{List, Delay} {
		s := r.store("a", kind, string(kind), time.Minute)
		if kind == List {
			r.do("RPUSH", string(kind), "1", "2", "3", "4", "5")
		} else {
			r.do("ZADD", string(kind), "1", "1", "2", "2", "3", "3", "4", "4", "5.5", "5", fmt.Sprint(time.Now().Unix()+600), "later")
		}
		got := mustClaim(t, s, 1, 5)
		if payloads(got.Tasks) != "1,2,3,4,5" {
			t.Fatalf("%s: claimed %s", kind, payloads(got.Tasks))
		}
		if again := mustClaim(t, s, 1, 5); payloads(again.Tasks) != "1,2,3,4,5" {
			t.Errorf("%s: second try gave %s", kind, payloads(again.Tasks))
		}
		ms := members(got.Tasks)
		if lost, err := s.Renew(ctx, append(ms, "no|such")); err != nil || !slices.Equal(lost, []string{"no|such"}) {
			t.Errorf("%s: renew lost %v, %v", kind, lost, err)
		}
		if n, err := s.Ack(ctx, ms[:1]); n != 1 || err != nil {
			t.Errorf("%s: ack %d, %v", kind, n, err)
		}
		if next, err := s.Nack(ctx, []Back{{ms[1], true, time.Minute}, {ms[2], false, -1}}); next.IsZero() || time.Until(next) > time.Second || err != nil {
			t.Errorf("%s: nack %s, %v", kind, next, err)
		}
		if n, err := s.Bury(ctx, []Grave{{ms[3], "gone", "x", true}}); n != 1 || err != nil {
			t.Errorf("%s: bury %d, %v", kind, n, err)
		}
		if got, err := s.Reap(ctx, ms[4:]); got.Requeued != 1 || err != nil {
			t.Errorf("%s: reap %+v, %v", kind, got, err)
		}
		r.wantDead(s, "gone", "4")
		next := mustClaim(t, s, 2, 9)
		if payloads(next.Tasks) != "3,5" || time.Until(next.Next) < 50*time.Second || time.Until(next.Next) > time.Minute+time.Second {
			t.Errorf("%s: then %s, next at %s", kind, payloads(next.Tasks), next.Next)
		}
	}
}

func TestClockEstimate(t *testing.T) {
	s := &Store{clock: newClock()}
	now := time.Now()
	s.clock.note(now.UnixMilli()+5000, now, time.Now())
	first := s.clock.skew.Load()
	if first < 4990 || first > 5010 {
		t.Fatalf("skew %d: want about 5000", first)
	}
	s.clock.note(now.UnixMilli()+4990, now.Add(-300*time.Millisecond), time.Now()) // a slow reply that agrees
	if s.clock.skew.Load() != first {
		t.Errorf("a slow reply moved the estimate to %d", s.clock.skew.Load())
	}
	now = time.Now()
	s.clock.note(now.UnixMilli()-5000, now, time.Now()) // the clock was set
	if got := s.clock.skew.Load(); got < -5050 || got > -4990 {
		t.Errorf("skew %d: want about -5000", got)
	}
}
