package tasks

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"
)

func mustFsck(t *testing.T, s *Store, repair bool) Report {
	t.Helper()
	r, err := s.Fsck(context.Background(), repair)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantFaults fails unless a report has these, and no others.
func wantFaults(t *testing.T, r Report, want map[Fault]int) {
	t.Helper()
	if !maps.Equal(r.Counts, want) && len(r.Counts)+len(want) > 0 {
		t.Errorf("found %v: want %v\n%+v", r.Counts, want, r.Findings)
	}
}

// A queue with something in every state, none of it wrong.
func healthy(t *testing.T, r *rig) *Store {
	t.Helper()
	s := r.store("a", List, "l", time.Minute)
	ctx := context.Background()
	for i := range 40 {
		r.do("RPUSH", "l", strings.Repeat("x", 1+i*i))
	}
	got := mustClaim(t, s, 1, 30).Tasks
	if _, err := s.Ack(ctx, members(got[:5])); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Nack(ctx, []Back{{got[5].Member, true, time.Hour}, {got[6].Member, false, -1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bury(ctx, []Grave{{got[7].Member, "gone", "status 410", true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pend(ctx, []Pending{{got[8].Member, time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Enqueue(ctx, NewTask{Payload: "later", ID: "later", Delay: 300 * 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFsckOfAHealthyQueueFindsNothing(t *testing.T) {
	r := newRig(t)
	s := healthy(t, r)
	got := mustFsck(t, s, false)
	wantFaults(t, got, nil)
	if got.Broken() || got.Records != 25 || got.Leases != 22 || got.Retries != 3 || got.Dead != 1 || got.Summary() != "nothing wrong" {
		t.Errorf("%+v", got)
	}
	wantFaults(t, mustFsck(t, r.store("b", Stream, "none", time.Minute, func(o *Options) { o.Queue = "other" }), true), nil)
}

func TestFsckFindsEachDamage(t *testing.T) {
	const year = 366 * 24 * 3600 * 1000
	now := time.Now().UnixMilli()
	later := strconv.FormatInt(now+60_000, 10)
	envelope := fmt.Sprintf("r 1 0 %d\npayload", now)
	for _, c := range []struct {
		fault  Fault
		broken bool
		repair bool // is possible
		damage func(r *rig, k Keys)
		after  func(r *rig, k Keys) bool // what a repair makes of it
	}{
		{FaultOrphan, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
		}, func(r *rig, k Keys) bool { return r.int("EXISTS", k.Retry) == 1 && r.int("ZRANK", k.Retry, "x") >= 0 }},
		{FaultBoth, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
			r.do("ZADD", k.Leases, later, "x|a:b:1")
			r.do("ZADD", k.Retry, later, "x")
		}, func(r *rig, k Keys) bool { return r.do("ZSCORE", k.Retry, "x").Error() != nil }},
		{FaultTwice, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
			r.do("ZADD", k.Leases, later, "x|a:b:1", later+"0", "y|", strconv.FormatInt(now+90_000, 10), "x|pending:c:d:2")
			r.do("ZREM", k.Leases, "y|")
		}, func(r *rig, k Keys) bool {
			return r.do("ZSCORE", k.Leases, "x|a:b:1").Error() != nil && r.do("ZSCORE", k.Leases, "x|pending:c:d:2").Error() == nil
		}},
		{FaultRecord, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", "no envelope \x00\xff")
			r.do("ZADD", k.Retry, later, "x")
		}, func(r *rig, k Keys) bool {
			return r.int("XLEN", k.Dead) == 2 && r.int("HEXISTS", k.Records, "x") == 0 && r.do("ZSCORE", k.Retry, "x").Error() != nil
		}},
		{FaultRecord, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", "f 1 -1 2\n")
			r.do("ZADD", k.Leases, later, "x|a:b:1")
		}, func(r *rig, k Keys) bool { return r.do("ZSCORE", k.Leases, "x|a:b:1").Error() != nil }},
		{FaultLease, true, true, func(r *rig, k Keys) {
			r.do("ZADD", k.Leases, later, "no bar")
		}, func(r *rig, k Keys) bool { return r.do("ZSCORE", k.Leases, "no bar").Error() != nil }},
		{FaultLeaseTime, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
			r.do("ZADD", k.Leases, "+inf", "x|a:b:1")
		}, func(r *rig, k Keys) bool { return r.int("ZCOUNT", k.Leases, "-inf", later) == 1 }},
		{FaultDueTime, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
			r.do("ZADD", k.Retry, strconv.Itoa(11*year+int(now)), "x")
		}, func(r *rig, k Keys) bool { return r.int("ZCOUNT", k.Retry, "-inf", later) == 2 }}, // and one that was given back
		{FaultDueTime, true, true, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
			r.do("ZADD", k.Retry, "1700000000", "x") // seconds
		}, func(r *rig, k Keys) bool { return r.int("ZCOUNT", k.Retry, "1e12", later) == 2 }},
		{FaultEmptyLease, false, true, func(r *rig, k Keys) {
			r.do("ZADD", k.Leases, later, "x|a:b:1")
		}, func(r *rig, k Keys) bool { return r.do("ZSCORE", k.Leases, "x|a:b:1").Error() != nil }},
		{FaultEmptyRetry, false, true, func(r *rig, k Keys) {
			r.do("ZADD", k.Retry, later, "x")
		}, func(r *rig, k Keys) bool { return r.do("ZSCORE", k.Retry, "x").Error() != nil }},
		{FaultDead, true, false, func(r *rig, k Keys) { r.do("XADD", k.Dead, "*", "some", "thing") }, nil},
		{FaultExpired, false, false, func(r *rig, k Keys) {
			r.do("HSET", k.Records, "x", envelope)
			r.do("ZADD", k.Leases, strconv.FormatInt(now-120_000, 10), "x|a:b:1")
		}, nil},
		{FaultPaused, false, false, func(r *rig, k Keys) { r.do("HSET", k.Control, "paused", "1") }, nil},
		{FaultType, true, false, func(r *rig, k Keys) { r.do("DEL", "l"); r.do("SET", "l", "x") }, nil},
		{FaultType, true, false, func(r *rig, k Keys) { r.do("DEL", k.Leases); r.do("SET", k.Leases, "x") }, nil},
	} {
		t.Run(string(c.fault), func(t *testing.T) {
			r := newRig(t)
			s := healthy(t, r)
			if c.fault == FaultLeaseTime { // of no other lease
				r.do("ZREMRANGEBYSCORE", s.Keys.Leases, "-inf", "+inf")
				r.do("DEL", s.Keys.Records, s.Keys.Retry)
			}
			c.damage(r, s.Keys)
			want := map[Fault]int{c.fault: 1}
			got := mustFsck(t, s, false)
			wantFaults(t, got, want)
			if got.Broken() != c.broken {
				t.Errorf("broken is %t", got.Broken())
			}
			again := mustFsck(t, s, true) // a check changes nothing
			wantFaults(t, again, want)
			if !c.repair {
				return
			}
			if again.Broken() || !again.Findings[0].Repaired {
				t.Errorf("not repaired: %+v", again.Findings)
			}
			wantFaults(t, mustFsck(t, s, false), nil)
			if !c.after(r, s.Keys) {
				t.Error("the repair did something else")
			}
		})
	}
}

// However the damages of one task come together, one repair is enough.
func TestARepairLeavesNothingBroken(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	now := time.Now().UnixMilli()
	later, last := strconv.FormatInt(now+60_000, 10), strconv.FormatInt(now+90_000, 10)
	good := fmt.Sprintf("r 1 0 %d\npayload", now)
	n := 0
	for _, record := range []string{"", good, "nonsense"} {
		for _, due := range []string{"", later, "5"} {
			for _, leases := range [][2]string{{}, {later, ""}, {"5", ""}, {later, last}, {"5", later}} {
				for _, unnamed := range []string{"", "5", later, last + "9"} {
					n++
					id := "x" + strconv.Itoa(n)
					if record != "" {
						r.do("HSET", s.Keys.Records, id, record)
					}
					if due != "" {
						r.do("ZADD", s.Keys.Retry, due, id)
					}
					for i, end := range leases {
						if end != "" {
							r.do("ZADD", s.Keys.Leases, end, fmt.Sprintf("%s|a:b:%d", id, i))
						}
					}
					if unnamed != "" {
						r.do("ZADD", s.Keys.Leases, unnamed, id)
					}
				}
			}
		}
	}
	if got := mustFsck(t, s, false); !got.Broken() {
		t.Error("nothing is broken")
	}
	if got := mustFsck(t, s, true); got.Broken() {
		t.Errorf("not all was repaired: %+v", got.Counts)
	}
	wantFaults(t, mustFsck(t, s, false), nil)
}

func TestFsckOfAStream(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Stream, "st", time.Minute)
	r.do("XADD", "st", "*", "n", "1")
	wantFaults(t, mustFsck(t, s, false), map[Fault]int{FaultNoGroup: 1})
	mustClaim(t, s, 1, 1)
	wantFaults(t, mustFsck(t, s, false), nil)
	r.do("XADD", "st", "*", "n", "2")
	r.do("XREADGROUP", "GROUP", "g", "another", "STREAMS", "st", ">") // its own affair
	wantFaults(t, mustFsck(t, s, false), nil)
	r.do("XADD", "st", "*", "n", "3")
	r.do("XREADGROUP", "GROUP", "g", "pillion", "STREAMS", "st", ">")
	got := mustFsck(t, s, false)
	wantFaults(t, got, map[Fault]int{FaultPending: 1})
	if !got.Broken() {
		t.Error("that is not called broken")
	}
}

// Thousands of faults, and of tasks of which nothing is wrong.
func TestFsckOfAFullQueue(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	const n = 5000
	due := strconv.FormatInt(time.Now().UnixMilli(), 10)
	for i := range n {
		id := strconv.Itoa(i)
		r.do("HSET", s.Keys.Records, id, "f 0 0 "+due+"\nx")
		if i%2 == 0 {
			r.do("ZADD", s.Keys.Retry, due, id)
		}
	}
	got := mustFsck(t, s, true)
	wantFaults(t, got, map[Fault]int{FaultOrphan: n / 2})
	if len(got.Findings) != maxFindings || got.Broken() {
		t.Errorf("%d findings, broken %t", len(got.Findings), got.Broken())
	}
	wantFaults(t, mustFsck(t, s, false), nil)
	if r.int("ZCARD", s.Keys.Retry) != n {
		t.Error("not every orphan waits")
	}
}

func TestFsckServer(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	for _, c := range []struct {
		policy, memory string
		fault          Fault
		evicts         string
	}{
		{"noeviction", "0", "", ""}, {"noeviction", "1gb", "", ""},
		{"allkeys-lru", "1gb", FaultEviction, "allkeys-lru"}, {"volatile-ttl", "0", FaultNotKnown, "volatile-ttl"},
	} {
		r.do("CONFIG", "SET", "maxmemory-policy", c.policy)
		r.do("CONFIG", "SET", "maxmemory", c.memory)
		want := map[Fault]int{FaultPersistence: 1, FaultReplicas: 1}
		if c.fault != "" {
			want[c.fault] = 1
		}
		got, err := FsckServer(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		wantFaults(t, got, want)
		if got.Broken() != (c.fault == FaultEviction) {
			t.Errorf("%s: broken is %t", c.policy, got.Broken())
		}
		if policy, err := Evicts(ctx, r); policy != c.evicts || err != nil {
			t.Errorf("Evicts gives %q, %v: want %q", policy, err, c.evicts)
		}
	}
}

func TestFsckStrays(t *testing.T) {
	r := newRig(t)
	s := healthy(t, r) // t:{l}:q:
	for _, key := range []string{"t:{l}:old:records", "t:{a:b}:q:dead", "t:{l}:q:elsewhere", "t:{active}:hll:20261125", "t:c:x", "other:{l}:old:records", "t:{l}:old:claim:a:b"} {
		r.do("SET", key, "x")
	}
	got, err := FsckStrays(context.Background(), r, "t:", []*Store{s})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, f := range got.Findings {
		keys = append(keys, f.What)
	}
	if fmt.Sprint(keys) != "[t:{a:b}:q:dead t:{l}:old:records]" || got.Broken() {
		t.Errorf("strays: %v", keys)
	}
}

func TestHolder(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	ctx := context.Background()
	r.do("RPUSH", "l", "1")
	one := mustClaim(t, s, 1, 1).Tasks[0]
	r.do("ZADD", s.Keys.Leases, "1", "a*b|tok", "2", `a\[x|other`)
	for id, want := range map[string]string{one.ID: one.Token(), "a*b": "tok", `a\[x`: "other", "*": "", "axb": "", "": ""} {
		if token, err := s.Holder(ctx, id); token != want || err != nil {
			t.Errorf("the holder of %s is %q, %v: want %q", id, token, err, want)
		}
	}
}

// Who knows the id of a task, which logs show, must not know the token of its lease.
func TestTokensDoNotFollowFromIDs(t *testing.T) {
	r := newRig(t)
	a := r.store("a", List, "l", time.Minute)
	b := New(a.Options)
	r.do("RPUSH", "l", "1", "2")
	one, two := mustClaim(t, a, 1, 1).Tasks[0], mustClaim(t, b, 1, 1).Tasks[0]
	if one.Token() == two.Token() || strings.Contains(one.Token(), a.Nonce[:8]) || !strings.Contains(one.ID, a.Nonce) {
		t.Errorf("task %s has the token %s, task %s the token %s", one.ID, one.Token(), two.ID, two.Token())
	}
}
