package queueagent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func mustClaim(t *testing.T, s *store, seq uint64, n int) claimed {
	t.Helper()
	got, err := s.claim(context.Background(), seq, n)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func payloads(ts []task) string {
	var out []string
	for _, t := range ts {
		out = append(out, t.payload)
	}
	return strings.Join(out, ",")
}

func members(ts []task) []string {
	var out []string
	for _, t := range ts {
		out = append(out, t.member)
	}
	return out
}

// wantEmpty fails when a queue holds anything but its last claim.
func (r *rig) wantEmpty(s *store) {
	r.tb.Helper()
	for _, k := range []string{s.keys.source, s.keys.records, s.keys.leases, s.keys.retry} {
		if r.int("EXISTS", k) != 0 {
			r.tb.Errorf("%s is left", k)
		}
	}
}

func TestClaimTakesFromTheLeftInOrder(t *testing.T) {
	r := newRig(t, true)
	s := r.store("a", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2", "3")
	got := mustClaim(t, s, 1, 2)
	if p := payloads(got.tasks); p != "1,2" {
		t.Errorf("claimed %s: want 1,2", p)
	}
	one := got.tasks[0]
	if one.reason != reasonFirst || one.attempts != 0 || time.Since(one.first) > time.Minute {
		t.Errorf("a fresh task is %+v", one)
	}
	if got.tasks[0].id == got.tasks[1].id {
		t.Error("two tasks have one id")
	}
	if r.int("ZCARD", s.keys.leases) != 2 || r.int("HLEN", s.keys.records) != 2 || r.int("LLEN", "l") != 1 {
		t.Error("want 2 leases, 2 records, 1 in the list")
	}
}

func TestClaimAgainWithTheSameNumberGivesTheSameBatch(t *testing.T) {
	r := newRig(t, true)
	s := r.store("a", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2", "3", "4")
	first := mustClaim(t, s, 1, 3)
	if n, err := s.ack(context.Background(), members(first.tasks[:1])); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	again := mustClaim(t, s, 1, 3)
	if p := payloads(again.tasks); p != "2,3" {
		t.Errorf("second try gave %s: want what is left of the batch, 2,3", p)
	}
	if again.tasks[0].member != first.tasks[1].member {
		t.Error("the lease has another name")
	}
	if r.int("LLEN", "l") != 1 {
		t.Error("the second try took from the list")
	}
}

// A claim that was stuck in a socket, and runs after a later one or much later, would
// lease tasks to nobody.
func TestAnOldClaimDoesNothing(t *testing.T) {
	r := newRig(t, true)
	s := r.store("a", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	mustClaim(t, s, 2, 1)
	if _, err := s.claim(context.Background(), 1, 1); err != errLate {
		t.Errorf("claim 1 after claim 2: %v", err)
	}
	s.skew.Store(s.skew.Load() - (2 * claimWindow).Milliseconds())
	if _, err := s.claim(context.Background(), 3, 1); err != errLate {
		t.Errorf("a claim sent long ago: %v", err)
	}
	if p := payloads(mustClaim(t, s, 3, 1).tasks); p != "2" {
		t.Errorf("the clock was not corrected by the refusal: got %q", p)
	}
}

func TestAckIsByIDAndIdempotent(t *testing.T) {
	r := newRig(t, true)
	a, b := r.store("a", kindList, "l", 100*time.Millisecond), r.store("b", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	got := mustClaim(t, a, 1, 2)
	reapAll(t, b, 2)
	// One task waits in retry, the other is leased by b, when a's acks come late.
	taken := mustClaim(t, b, 1, 1)
	for want := range 2 {
		n, err := a.ack(context.Background(), members(got.tasks))
		if err != nil || n != 2*(1-want) {
			t.Errorf("ack %d removed %d, %v", want+1, n, err)
		}
	}
	if n, err := b.ack(context.Background(), members(taken.tasks)); n != 0 || err != nil {
		t.Errorf("the new owner's ack removed %d, %v", n, err)
	}
	r.wantEmpty(a)
}

// reapAll waits until n leases have expired and been taken.
func reapAll(t *testing.T, s *store, n int) reaped {
	t.Helper()
	var sum reaped
	eventually(t, "leases expire", func() bool {
		got, err := s.reap(context.Background(), 5, nil)
		if err != nil {
			t.Fatal(err)
		}
		sum.taken += got.taken
		sum.requeued += got.requeued
		sum.poison += got.poison
		return sum.taken >= n
	})
	return sum
}

func TestNack(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	s := r.store("a", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	got := mustClaim(t, s, 1, 2)
	items := []back{{got.tasks[0].member, true, 10 * time.Minute}, {got.tasks[1].member, false, -1}}
	for range 2 { // the second time as after a lost reply
		next, err := s.nack(ctx, items)
		if err != nil || next.IsZero() || time.Until(next) > 10*time.Millisecond {
			t.Errorf("nack: next at %s, %v; want at once", next, err)
		}
	}
	next := mustClaim(t, s, 2, 2)
	if payloads(next.tasks) != "2" || next.tasks[0].attempts != 0 || next.tasks[0].reason != reasonFirst {
		t.Errorf("given back: %+v", next.tasks)
	}
	if wait := time.Until(next.next); wait < 9*time.Minute || wait > 10*time.Minute {
		t.Errorf("next task in %s: want nearly 10m", wait)
	}
	r.do("ZADD", s.keys.retry, "1", got.tasks[0].id)
	failed := mustClaim(t, s, 3, 1).tasks[0]
	if failed.attempts != 1 || failed.reason != reasonRetry || failed.id != got.tasks[0].id || failed.payload != "1" {
		t.Errorf("failed once: %+v", failed)
	}
	// The lease of the first claim is over, although the task is leased to us again.
	if _, err := s.nack(ctx, items[:1]); err != nil {
		t.Fatal(err)
	}
	if r.int("ZCARD", s.keys.leases) != 2 {
		t.Error("an old nack took a newer lease away")
	}
}

func TestRenewIsFenced(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	a, b := r.store("a", kindList, "l", 300*time.Millisecond), r.store("b", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1", "2")
	got := mustClaim(t, a, 1, 2)
	before := r.int("ZRANK", a.keys.leases, got.tasks[0].member)
	if lost, err := a.renew(ctx, members(got.tasks)); err != nil || len(lost) != 0 {
		t.Fatal(lost, err, before)
	}
	if _, err := b.reap(ctx, 5, []string{got.tasks[0].member}); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, b, 1, 1)
	lost, err := a.renew(ctx, members(got.tasks))
	if err != nil || !slices.Equal(lost, members(got.tasks[:1])) {
		t.Errorf("lost %v, %v: want the first", lost, err)
	}
	if r.int("ZCARD", a.keys.leases) != 2 {
		t.Error("renew made or removed a lease")
	}
}

func TestReapAndPoison(t *testing.T) {
	r := newRig(t, true)
	s := r.store("a", kindList, "l", 100*time.Millisecond)
	r.do("RPUSH", "l", "1")
	for seq := uint64(1); seq <= 5; seq++ {
		got := mustClaim(t, s, seq, 1)
		if len(got.tasks) != 1 || got.tasks[0].abandons != int(seq-1) || got.tasks[0].attempts != 0 {
			t.Fatalf("claim %d: %+v", seq, got.tasks)
		}
		if want := map[bool]reason{true: reasonFirst, false: reasonCrash}[seq == 1]; got.tasks[0].reason != want {
			t.Errorf("claim %d has reason %s", seq, got.tasks[0].reason)
		}
		sum := reapAll(t, s, 1)
		if wantPoison := seq == 5; (sum.poison == 1) != wantPoison || (sum.requeued == 1) == wantPoison {
			t.Errorf("after claim %d: %+v", seq, sum)
		}
	}
	r.wantEmpty(s)
	r.wantDead(s, "poison", "1")
}

// wantDead fails unless there is one dead letter of that kind.
func (r *rig) wantDead(s *store, reason, payload string) {
	r.tb.Helper()
	dead, err := r.do("XRANGE", s.keys.dead, "-", "+").AsXRange()
	if err != nil || len(dead) != 1 {
		r.tb.Fatalf("%d dead letters, %v: want 1", len(dead), err)
	}
	if f := dead[0].FieldValues; f["reason"] != reason || f["payload"] != payload || f["id"] == "" {
		r.tb.Errorf("the dead letter is %v", f)
	}
}

func TestReapLeavesLivingLeasesAlone(t *testing.T) {
	r := newRig(t, true)
	s := r.store("a", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1")
	mustClaim(t, s, 1, 1)
	got, err := s.reap(context.Background(), 5, nil)
	if err != nil || got.taken != 0 || time.Until(got.nextLease) < 50*time.Second || !got.nextRetry.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestARestartedAgentFindsItsPredecessorsLeases(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	old := r.store("pod:1", kindList, "l", time.Hour)
	other := r.store("pod", kindList, "l", time.Hour)
	now := r.store("pod:1", kindList, "l", time.Hour)
	r.do("RPUSH", "l", "1", "2", "3")
	left := mustClaim(t, old, 1, 1)
	mustClaim(t, other, 1, 1)
	mustClaim(t, now, 1, 1)
	found, cursor, err := now.predecessors(ctx, 0)
	if err != nil || cursor != 0 || !slices.Equal(found, members(left.tasks)) {
		t.Fatalf("found %v, %d, %v: want %v", found, cursor, err, members(left.tasks))
	}
	got, err := now.reap(ctx, 5, found)
	if err != nil || got.requeued != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	again := mustClaim(t, now, 2, 5)
	if payloads(again.tasks) != "1" || again.tasks[0].reason != reasonCrash || again.tasks[0].id != left.tasks[0].id {
		t.Errorf("%+v", again.tasks)
	}
}

func TestBuryIsFenced(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	s := r.store("a", kindList, "l", time.Minute)
	r.do("RPUSH", "l", "1")
	got := mustClaim(t, s, 1, 1)
	g := []grave{{got.tasks[0].member, "gone", "status 410: bye", true}}
	for want := 1; want >= 0; want-- {
		if n, err := s.bury(ctx, g); n != want || err != nil {
			t.Errorf("buried %d, %v: want %d", n, err, want)
		}
	}
	r.wantEmpty(s)
	r.wantDead(s, "gone", "1")
}

func TestDelayClaimIsNeverEarlyByTheClockOfRedis(t *testing.T) {
	r := newRig(t, true)
	s := r.store("a", kindDelay, "z", time.Minute)
	now, _ := r.do("TIME").AsIntSlice()
	base := float64(now[0]) + float64(now[1])/1e6
	r.do("ZADD", "z", fmt.Sprintf("%.6f", base-1), "past", fmt.Sprintf("%.6f", base+0.05), "soon", "+inf", "never")
	got := mustClaim(t, s, 1, 5)
	due := time.UnixMicro(int64((base + 0.05) * 1e6)) // Redis shares our clock
	if early := due.Sub(got.next); payloads(got.tasks) != "past" || early.Abs() > 3*time.Millisecond {
		t.Errorf("claimed %s, next %s early", payloads(got.tasks), early)
	}
	for seq := uint64(2); ; seq++ {
		got = mustClaim(t, s, seq, 5)
		after, _ := r.do("TIME").AsIntSlice()
		if len(got.tasks) == 1 {
			if at := float64(after[0]) + float64(after[1])/1e6; at < base+0.05 {
				t.Errorf("claimed %f s early", base+0.05-at)
			}
			break
		}
	}
	if !got.next.IsZero() || r.int("ZCARD", "z") != 1 {
		t.Errorf("next at %s, want never; %d left, want 1", got.next, r.int("ZCARD", "z"))
	}
}

func TestClaimOfTheWrongTypeStillGivesRetries(t *testing.T) {
	for _, kind := range []string{kindList, kindDelay} {
		r := newRig(t, true)
		s := r.store("a", kind, "x", time.Minute)
		r.do("SET", "x", "a string")
		r.do("HSET", s.keys.records, "id-1", "r 2 1 1000\npayload")
		r.do("ZADD", s.keys.retry, "1", "id-1")
		got := mustClaim(t, s, 1, 5)
		if !strings.Contains(got.sourceErr, "WRONGTYPE") || payloads(got.tasks) != "payload" || got.tasks[0].attempts != 2 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
}

// A Redis that is at its maxmemory must still be drained: draining is what helps.
func TestDrainingAFullRedis(t *testing.T) {
	r := newRig(t, true)
	ctx := context.Background()
	s := r.store("a", kindList, "l", time.Minute)
	for i := range 10 {
		r.do("RPUSH", "l", fmt.Sprint(i))
	}
	r.do("CONFIG", "SET", "maxmemory", "1")
	got := mustClaim(t, s, 1, 4)
	if len(got.tasks) != 4 {
		t.Fatalf("claimed %d: want 4", len(got.tasks))
	}
	m := members(got.tasks)
	if _, err := s.ack(ctx, m[:1]); err != nil {
		t.Error(err)
	}
	if _, err := s.nack(ctx, []back{{m[1], true, 0}}); err != nil {
		t.Error(err)
	}
	if _, err := s.bury(ctx, []grave{{m[2], "gone", "", true}}); err != nil {
		t.Error(err)
	}
	if _, err := s.reap(ctx, 5, m[3:]); err != nil {
		t.Error(err)
	}
	if n := len(mustClaim(t, s, 2, 10).tasks); n != 8 {
		t.Errorf("claimed %d: want 6 fresh and 2 again", n)
	}
}

// The demo runs on miniredis where there is no redis-server.
func TestScriptsOnMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	f, err := newFake(m.Addr(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.client.Close()
	r := &rig{tb: t, redis: f, c: f.client}
	ctx := context.Background()
	for _, kind := range []string{kindList, kindDelay} {
		s := r.store("a", kind, kind, time.Minute)
		if kind == kindList {
			r.do("RPUSH", kind, "1", "2", "3", "4", "5")
		} else {
			r.do("ZADD", kind, "1", "1", "2", "2", "3", "3", "4", "4", "5.5", "5", fmt.Sprint(time.Now().Unix()+600), "later")
		}
		got := mustClaim(t, s, 1, 5)
		if payloads(got.tasks) != "1,2,3,4,5" {
			t.Fatalf("%s: claimed %s", kind, payloads(got.tasks))
		}
		if again := mustClaim(t, s, 1, 5); payloads(again.tasks) != "1,2,3,4,5" {
			t.Errorf("%s: second try gave %s", kind, payloads(again.tasks))
		}
		ms := members(got.tasks)
		if lost, err := s.renew(ctx, append(ms, "no|such")); err != nil || !slices.Equal(lost, []string{"no|such"}) {
			t.Errorf("%s: renew lost %v, %v", kind, lost, err)
		}
		if n, err := s.ack(ctx, ms[:1]); n != 1 || err != nil {
			t.Errorf("%s: ack %d, %v", kind, n, err)
		}
		if next, err := s.nack(ctx, []back{{ms[1], true, time.Minute}, {ms[2], false, -1}}); next.IsZero() || time.Until(next) > time.Second || err != nil {
			t.Errorf("%s: nack %s, %v", kind, next, err)
		}
		if n, err := s.bury(ctx, []grave{{ms[3], "gone", "x", true}}); n != 1 || err != nil {
			t.Errorf("%s: bury %d, %v", kind, n, err)
		}
		if got, err := s.reap(ctx, 5, ms[4:]); got.requeued != 1 || err != nil {
			t.Errorf("%s: reap %+v, %v", kind, got, err)
		}
		r.wantDead(s, "gone", "4")
		next := mustClaim(t, s, 2, 9)
		if payloads(next.tasks) != "3,5" || time.Until(next.next) < 50*time.Second || time.Until(next.next) > time.Minute+time.Second {
			t.Errorf("%s: then %s, next at %s", kind, payloads(next.tasks), next.next)
		}
	}
}

func TestClockEstimate(t *testing.T) {
	s := &store{}
	now := time.Now()
	s.noteTime(now.UnixMilli()+5000, now)
	first := s.skew.Load()
	if first < 4990 || first > 5010 {
		t.Fatalf("skew %d: want about 5000", first)
	}
	s.noteTime(now.UnixMilli()+4990, now.Add(-300*time.Millisecond)) // a slow reply that agrees
	if s.skew.Load() != first {
		t.Errorf("a slow reply moved the estimate to %d", s.skew.Load())
	}
	now = time.Now()
	s.noteTime(now.UnixMilli()-5000, now) // the clock was set
	if got := s.skew.Load(); got < -5050 || got > -4990 {
		t.Errorf("skew %d: want about -5000", got)
	}
}
