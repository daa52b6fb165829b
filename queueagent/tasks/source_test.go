package tasks

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPopRight(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute, func(o *Options) { o.Source.FromRight = true })
	r.do("LPUSH", "l", "1", "2", "3")
	if p := payloads(mustClaim(t, s, 1, 2).Tasks); p != "1,2" {
		t.Errorf("claimed %s: want 1,2", p)
	}
}

func TestScoresInMilliseconds(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Delay, "z", time.Minute, func(o *Options) { o.Source.Millis = true })
	now := time.Now().UnixMilli()
	r.do("ZADD", "z", strconv.FormatInt(now-5000, 10), "past", strconv.FormatInt(now+60000, 10), "later")
	got := mustClaim(t, s, 1, 5)
	if payloads(got.Tasks) != "past" || got.Tasks[0].Since.UnixMilli() != now-5000 {
		t.Errorf("claimed %+v: want past, due 5 s ago", got.Tasks)
	}
	if wait := time.Until(got.Next); wait < 30*time.Second || wait > time.Minute {
		t.Errorf("next in %s: want a minute", wait)
	}
	d, err := Depths(context.Background(), []*Store{s})
	if err != nil || d[0].Ready != 0 || d[0].Scheduled != 1 || d[0].Leased != 1 || time.Until(d[0].OldestDue) < 30*time.Second {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestSinceTellsHowLongATaskHasWaited(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	delay, stream := r.store("a", Delay, "z", time.Minute), r.store("a", Stream, "s", time.Minute)
	r.do("ZADD", "z", strconv.FormatInt(now.Unix()-90, 10), "late", "5", "at once", "-inf", "first of all")
	r.do("XADD", "s", strconv.FormatInt(now.UnixMilli()-7000, 10)+"-3", "payload", "old")
	r.do("XADD", "s", "99999999999999-1", "payload", "from the future")
	want := map[string]time.Duration{"late": 90 * time.Second, "at once": 0, "first of all": 0, `{"payload":"old"}`: 7 * time.Second, `{"payload":"from the future"}`: 0}
	claimed := append(mustClaim(t, delay, 1, 5).Tasks, mustClaim(t, stream, 1, 5).Tasks...)
	slack := 2*time.Second + time.Since(now)
	for _, got := range claimed {
		age, ok := want[got.Payload]
		if have := now.Sub(got.Since); !ok || (have-age).Abs() > slack {
			t.Errorf("%q has waited %s: want %s", got.Payload, have, age)
		}
		delete(want, got.Payload)
	}
	if len(want) != 0 {
		t.Errorf("not claimed: %v", want)
	}
}

func TestStream(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Stream, "s", time.Minute, func(o *Options) { o.Source.Field = "p" })
	if got := mustClaim(t, s, 1, 5); len(got.Tasks) != 0 || got.SourceErr != "" || r.int("EXISTS", "s") != 0 {
		t.Errorf("no stream yet: %+v", got)
	}
	r.do("XADD", "s", "*", "p", "1", "other", "x")
	r.do("XADD", "s", "*", "p", "2")
	r.do("XADD", "s", "*", "no", "field", "q\"uote", "\x01\n")
	got := mustClaim(t, s, 2, 2)
	if p := payloads(got.Tasks); p != "1,2" {
		t.Errorf("claimed %s: want 1,2, also what was added before the group", p)
	}
	rest := mustClaim(t, s, 3, 5)
	if p := payloads(rest.Tasks); p != `{"no":"field","q\"uote":"\u0001\n"}` {
		t.Errorf("claimed %s: want the fields in order", p)
	}
	if again := mustClaim(t, s, 3, 5); payloads(again.Tasks) != payloads(rest.Tasks) {
		t.Errorf("the second try gave %s", payloads(again.Tasks))
	}
	if empty := mustClaim(t, s, 4, 5); len(empty.Tasks) != 0 || empty.LastID != rest.LastID || rest.LastID == "" {
		t.Errorf("last ids %q and %q", rest.LastID, empty.LastID)
	}
	if r.int("XLEN", "s") != 3 || r.pending("s", "g") != 0 {
		t.Error("want 3 entries left in the stream, and none pending")
	}
}

// XPENDING's summary begins with the count: Int reads only a number.
func (r *rig) pending(key, group string) int64 {
	r.tb.Helper()
	sum, err := r.do("XPENDING", key, group).ToArray()
	if err != nil || len(sum) == 0 {
		r.tb.Fatal(sum, err)
	}
	n, err := sum[0].AsInt64()
	if err != nil {
		r.tb.Fatal(err)
	}
	return n
}

func TestStreamDelete(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Stream, "s", time.Minute, func(o *Options) { o.Source.Delete = true })
	for i := range 5 {
		r.do("XADD", "s", "*", "n", strconv.Itoa(i))
	}
	if n := len(mustClaim(t, s, 1, 3).Tasks); n != 3 || r.int("XLEN", "s") != 2 {
		t.Errorf("claimed %d, left %d: want 3 and 2", n, r.int("XLEN", "s"))
	}
	if d, err := Depths(context.Background(), []*Store{s}); err != nil || d[0].Ready != 2 || d[0].OldestDue.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
}

// The group is lost with the key: what is in the stream then is all to be done.
func TestStreamMadeAnew(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Stream, "s", time.Minute)
	r.do("XADD", "s", "9-1", "n", "1")
	mustClaim(t, s, 1, 5)
	r.do("DEL", "s")
	r.do("XADD", "s", "1-1", "n", "2")
	if p := payloads(mustClaim(t, s, 2, 5).Tasks); p != `{"n":"2"}` {
		t.Errorf("claimed %s", p)
	}
	r.do("XGROUP", "DESTROY", "s", "g")
	if p := payloads(mustClaim(t, s, 3, 5).Tasks); p != `{"n":"2"}` {
		t.Errorf("after the group was removed: %s, want all that is in the stream", p)
	}
}

func TestAdoptTakesOverFromADeadConsumer(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	s := r.store("a", Stream, "s", time.Minute, func(o *Options) { o.Source.MinIdle = 50 * time.Millisecond })
	if n, next, err := s.Adopt(ctx, 1, "0-0"); n != 0 || next != "0-0" || err != nil {
		t.Fatalf("no stream: %d, %s, %v", n, next, err)
	}
	r.do("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
	for i := range 250 {
		r.do("XADD", "s", "*", "n", strconv.Itoa(i))
	}
	r.do("XREADGROUP", "GROUP", "g", "other", "COUNT", "240", "STREAMS", "s", ">")
	entries, err := r.do("XRANGE", "s", "-", "+", "COUNT", "2").AsXRange()
	if err != nil {
		t.Fatal(err)
	}
	r.do("XDEL", "s", entries[1].ID) // delivered to the other, and removed since
	got, seq := 0, uint64(1)
	eventually(t, "the entries are idle for long enough", func() bool {
		for cursor := "0-0"; ; {
			seq++
			n, next, err := s.Adopt(ctx, seq, cursor)
			if err != nil {
				t.Fatal(err)
			}
			if got += n; next == "0-0" {
				return got >= 239
			}
			cursor = next
		}
	})
	if p := r.pending("s", "g"); got != 239 || p != 0 {
		t.Errorf("took over %d, %d are pending: want 239 and 0", got, p)
	}
	seen := map[string]bool{}
	for seq := uint64(1); seq <= 3; seq++ {
		for _, task := range mustClaim(t, s, seq, 100).Tasks {
			seen[task.Payload] = true
			if want := map[bool]Reason{true: First, false: Crash}[len(seen) > 239]; task.Reason != want {
				t.Errorf("%s has reason %s", task.Payload, task.Reason)
			}
		}
	}
	if len(seen) != 249 || seen[`{"n":"1"}`] {
		t.Errorf("%d tasks: want 249, without the one that was removed", len(seen))
	}
}

func TestFIFOIsOneAtATime(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	fifo := func(o *Options) { o.FIFO = true }
	a, b := r.store("a", List, "l", time.Minute, fifo), r.store("b", List, "l", time.Minute, fifo)
	r.do("RPUSH", "l", "1", "2", "3")
	one := mustClaim(t, a, 1, 10)
	if payloads(one.Tasks) != "1" {
		t.Fatalf("claimed %s: want 1", payloads(one.Tasks))
	}
	if got := mustClaim(t, b, 1, 10); len(got.Tasks) != 0 || got.Blocked != "busy" || got.Next.IsZero() {
		t.Errorf("beside it: %+v", got)
	}
	if _, err := a.Nack(ctx, []Back{{one.Tasks[0].Member, true, time.Hour}}); err != nil {
		t.Fatal(err)
	}
	if got := mustClaim(t, b, 2, 10); len(got.Tasks) != 0 || got.Blocked != "busy" || time.Until(got.Next) < 59*time.Minute {
		t.Errorf("while the first waits for its retry: %+v", got)
	}
	r.do("ZADD", a.Keys.Retry, "1", one.Tasks[0].ID)
	again := mustClaim(t, b, 3, 10)
	if payloads(again.Tasks) != "1" || again.Tasks[0].Attempts != 1 {
		t.Fatalf("the retry: %+v", again.Tasks)
	}
	if _, err := b.Ack(ctx, members(again.Tasks)); err != nil {
		t.Fatal(err)
	}
	if got := mustClaim(t, a, 2, 10); payloads(got.Tasks) != "2" {
		t.Errorf("then %s: want 2", payloads(got.Tasks))
	}
	if _, err := a.Enqueue(ctx, NewTask{Payload: "x", ID: "id", Delay: time.Second}); err != ErrFIFODelay {
		t.Errorf("a delayed task in strict order: %v", err)
	}
}

// The limit is one over all agents; what was not used is not saved up beyond the burst.
func TestRate(t *testing.T) {
	r := newRig(t)
	limit := func(o *Options) { o.Every, o.Burst = time.Hour, 3 }
	a, b := r.store("a", List, "l", time.Minute, limit), r.store("b", List, "l", time.Minute, limit)
	r.fill("l", 10)
	if got := mustClaim(t, a, 1, 2); len(got.Tasks) != 2 || got.Blocked != "" {
		t.Errorf("first: %+v", got)
	}
	got := mustClaim(t, b, 1, 5)
	if len(got.Tasks) != 1 || got.Blocked != "limited" || time.Until(got.Next) < 59*time.Minute {
		t.Errorf("what is left of the burst: %+v", got)
	}
	got = mustClaim(t, a, 2, 5)
	if len(got.Tasks) != 0 || got.Blocked != "limited" || time.Until(got.Next) < 59*time.Minute || time.Until(got.Next) > time.Hour {
		t.Errorf("nothing is left: %+v, next in %s", got, time.Until(got.Next))
	}
	fast := r.store("c", List, "m", time.Minute, func(o *Options) { o.Queue, o.Every, o.Burst = "m", 10*time.Millisecond, 1 })
	r.fill("m", 20)
	start, seq, n := time.Now(), uint64(0), 0
	for n < 20 {
		seq++
		n += len(mustClaim(t, fast, seq, 5).Tasks)
	}
	if took := time.Since(start); took < 19*10*time.Millisecond-time.Millisecond {
		t.Errorf("20 tasks in %s: want no faster than 100 a second", took)
	}
}

// A limit that was lower before, or a clock of Redis that was ahead, must not hold the queue
// up for as long as that was. Nor is the new burst free at once.
func TestRateAfterALowerOne(t *testing.T) {
	r := newRig(t)
	slow := r.store("a", List, "l", time.Minute, func(o *Options) { o.Every, o.Burst = time.Hour, 5 })
	r.fill("l", 10)
	if n := len(mustClaim(t, slow, 1, 5).Tasks); n != 5 {
		t.Fatalf("claimed %d: want the burst", n)
	}
	fast := r.store("b", List, "l", time.Minute, func(o *Options) { o.Every, o.Burst = time.Second, 2 })
	got := mustClaim(t, fast, 1, 5)
	if len(got.Tasks) != 0 || got.Blocked != "limited" || time.Until(got.Next) > time.Second {
		t.Errorf("under the new limit: %+v, next in %s; want to wait for a second at most", got, time.Until(got.Next))
	}
	seq := uint64(1)
	eventually(t, "the new limit lets a task through", func() bool {
		seq++
		return len(mustClaim(t, fast, seq, 5).Tasks) > 0
	})
}

func (r *rig) fill(key string, n int) {
	r.tb.Helper()
	for i := range n {
		r.do("RPUSH", key, strconv.Itoa(i))
	}
}

func TestPauseIsForAllAgents(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	a, b := r.store("a", List, "l", time.Minute), r.store("b", List, "l", time.Minute)
	r.fill("l", 3)
	mustClaim(t, a, 1, 1)
	if err := b.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	if got := mustClaim(t, a, 2, 5); len(got.Tasks) != 0 || got.Blocked != "paused" {
		t.Errorf("paused: %+v", got)
	}
	if got := mustClaim(t, a, 1, 1); len(got.Tasks) != 1 {
		t.Error("a lost reply must be had again in a paused queue too")
	}
	if d, err := Depths(ctx, []*Store{a}); err != nil || !d[0].Paused {
		t.Errorf("%+v, %v", d, err)
	}
	if err := b.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if got := mustClaim(t, a, 3, 5); len(got.Tasks) != 2 || got.Blocked != "" {
		t.Errorf("resumed: %+v", got)
	}
}

// A batch of large payloads is cut, or one reply would hold gigabytes.
func TestAClaimIsBoundedInBytes(t *testing.T) {
	r := newRig(t)
	big := strings.Repeat("x", 1<<20)
	for _, kind := range []Kind{List, Delay, Stream} {
		key := string(kind)
		s := r.store("a", kind, key, time.Minute, func(o *Options) { o.Queue = key })
		for i := range 12 {
			switch kind {
			case List:
				r.do("RPUSH", key, big)
			case Delay:
				r.do("ZADD", key, "1", strconv.Itoa(i)+big)
			case Stream:
				r.do("XADD", key, "*", "p", big)
			}
		}
		sum, rounds := 0, uint64(0)
		for sum < 12 && rounds < 12 {
			rounds++
			got := mustClaim(t, s, rounds, 100)
			if n := len(got.Tasks); n > 4 || sum+n < 12 && got.Next.After(time.Now()) {
				t.Errorf("%s: %d tasks in one claim, next in %s", kind, n, time.Until(got.Next))
			}
			sum += len(got.Tasks)
		}
		if sum != 12 {
			t.Errorf("%s: %d tasks in %d claims", kind, sum, rounds)
		}
		// Again, as retries.
		if _, err := s.Reap(context.Background(), r.leases(s)); err != nil {
			t.Fatal(err)
		}
		if got := mustClaim(t, s, 100, 100); len(got.Tasks) == 0 || len(got.Tasks) > 4 {
			t.Errorf("%s: %d retries in one claim", kind, len(got.Tasks))
		}
	}
}

func (r *rig) leases(s *Store) []string {
	r.tb.Helper()
	m, err := r.do("ZRANGE", s.Keys.Leases, "0", "-1").AsStrSlice()
	if err != nil {
		r.tb.Fatal(err)
	}
	return m
}

func TestTheAgeOfAListsHead(t *testing.T) {
	var a age
	at := func(sec int) time.Time { return time.Unix(1_000_000+int64(sec), 0) }
	for i, step := range []struct {
		sec           int
		taken, length int64
		want          int // the second since when the head has been there; -1: unknown
	}{
		{0, 0, 0, -1},
		{10, 0, 5, 10},
		{20, 2, 6, 10}, // 5 were there at 10, 2 are gone
		{30, 5, 3, 20}, // those of 10 are gone; 8 had come by 20
		{40, 7, 9, 20},
		{50, 8, 8, 40}, // nothing new since 40
		{60, 16, 0, -1},
		{70, 16, 1, 70},
	} {
		got := a.oldest(at(step.sec), step.taken, step.length)
		if want := at(step.want); step.want < 0 && !got.IsZero() || step.want >= 0 && !got.Equal(want) {
			t.Errorf("step %d: since %s, want %s", i, got, want)
		}
	}
	for i := range 10 * maxMarks {
		a.oldest(at(100+i), 16, int64(2+i))
		if len(a.marks) > maxMarks {
			t.Fatalf("%d marks", len(a.marks))
		}
	}
	if got := a.oldest(at(100_000), 16, 5); !got.Equal(at(70)) {
		t.Errorf("since %s: want the first mark to be kept", got)
	}
}

func TestDepthOfAList(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.fill("l", 4)
	before := time.Now()
	depth := func() Depth {
		d, err := Depths(context.Background(), []*Store{s})
		if err != nil {
			t.Fatal(err)
		}
		return d[0]
	}
	first := depth()
	if first.Ready != 4 || first.OldestDue.Before(before) {
		t.Errorf("%+v", first)
	}
	mustClaim(t, s, 1, 2)
	if d := depth(); d.Ready != 2 || !d.OldestDue.Equal(first.OldestDue) {
		t.Errorf("%+v: want the age of the first look", d)
	}
	r.do("RPUSH", "l", "new")
	mustClaim(t, s, 2, 2)
	if d := depth(); d.Ready != 1 || !d.OldestDue.After(first.OldestDue) {
		t.Errorf("%+v: want a younger head", d)
	}
}

// One source of the wrong type must not hide the others.
func TestDepthsWithAWrongSource(t *testing.T) {
	r := newRig(t)
	r.do("SET", "x", "a string")
	r.fill("l", 2)
	bad := r.store("a", List, "x", time.Minute, func(o *Options) { o.Queue = "bad" })
	badDelay := r.store("a", Delay, "x", time.Minute, func(o *Options) { o.Queue = "bad2" })
	badStream := r.store("a", Stream, "x", time.Minute, func(o *Options) { o.Queue = "bad3" })
	good := r.store("a", List, "l", time.Minute)
	d, err := Depths(context.Background(), []*Store{bad, badDelay, badStream, good})
	if err != nil || len(d) != 4 || d[0].Ready != -1 || d[1].Ready != -1 || d[2].Ready != -1 || d[3].Ready != 2 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestStreamDepth(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Stream, "s", time.Minute)
	depth := func() Depth {
		d, err := Depths(context.Background(), []*Store{s})
		if err != nil {
			t.Fatal(err)
		}
		return d[0]
	}
	if d := depth(); d.Ready != 0 || !d.OldestDue.IsZero() {
		t.Errorf("no stream: %+v", d)
	}
	began, ids := time.Now(), make([]string, 4)
	for i := range ids {
		ids[i] = fmt.Sprintf("%d-0", time.Now().UnixMilli()-int64(1000*(9-i)))
		r.do("XADD", "s", ids[i], "n", strconv.Itoa(i))
	}
	if d := depth(); d.Ready != 4 || time.Since(d.OldestDue) < 8*time.Second {
		t.Errorf("no group: %+v", d)
	}
	mustClaim(t, s, 1, 3)
	if d := depth(); d.Ready != 1 || d.Leased != 3 || (time.Since(d.OldestDue)-6*time.Second).Abs() > 2*time.Second+time.Since(began) {
		t.Errorf("one is left: %+v, oldest %s ago", d, time.Since(d.OldestDue))
	}
}

// What the application says of a task that it took with 202.
func TestPendAndResolve(t *testing.T) {
	ctx := context.Background()
	for _, pended := range []bool{true, false} { // false: it is faster than the agent that reads the 202
		for _, act := range []Action{ActAck, ActExtend, ActRetry, ActRelease, ActBury} {
			r := newRig(t)
			s := r.store("a", List, "l", 5*time.Second)
			r.do("RPUSH", "l", "1")
			task := mustClaim(t, s, 1, 1).Tasks[0]
			pend := func() int {
				n, err := s.Pend(ctx, []Pending{{task.Member, time.Hour}})
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
			if pended && pend() != 1 {
				t.Error("not handed over")
			}
			if again := r.store("a", List, "l", time.Minute); pended {
				if found, _, err := again.Predecessors(ctx, 0); err != nil || len(found) != 0 {
					t.Errorf("a restarted agent would take %v back, %v", found, err)
				}
			}
			ask := Resolution{ID: task.ID, Token: task.Token(), Action: act, After: 2 * time.Hour, Reason: "rejected", Detail: "no"}
			wrong := ask
			wrong.Token += "x"
			if got, err := s.Resolve(ctx, wrong); got.Done || err != nil {
				t.Errorf("%s with a wrong token: %+v, %v", act, got, err)
			}
			got, err := s.Resolve(ctx, ask)
			if !got.Done || err != nil {
				t.Fatalf("%s: %+v, %v", act, got, err)
			}
			next := got.Next
			if !pended && pend() != map[bool]int{true: 1, false: 0}[act == ActExtend] {
				t.Errorf("%s: the late 202 changed something", act)
			}
			leases, records := r.int("ZCARD", s.Keys.Leases), r.int("HLEN", s.Keys.Records)
			switch act {
			case ActAck:
				r.wantEmpty(s)
			case ActExtend:
				if leases != 1 || records != 1 {
					t.Errorf("extend: %d leases, %d records", leases, records)
				}
			case ActRetry, ActRelease:
				if leases != 0 || records != 1 || time.Until(next) < 119*time.Minute {
					t.Errorf("%s: %d leases, %d records, next in %s", act, leases, records, time.Until(next))
				}
				r.do("ZADD", s.Keys.Retry, "1", task.ID)
				if got := mustClaim(t, s, 2, 1).Tasks[0]; got.Attempts != map[bool]int{true: 1, false: 0}[act == ActRetry] {
					t.Errorf("%s: %d attempts", act, got.Attempts)
				}
			case ActBury:
				r.wantEmpty(s)
				r.wantDead(s, "rejected", "1")
			}
		}
	}
}

// A 202 that nobody follows up is a failed attempt.
func TestAPendingLeaseThatEnds(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	s := r.store("a", List, "l", time.Minute)
	r.do("RPUSH", "l", "1")
	for seq := uint64(1); seq <= 3; seq++ {
		task := mustClaim(t, s, seq, 1).Tasks[0]
		if task.Attempts != int(seq-1) || task.Abandons != 0 {
			t.Errorf("claim %d: %+v", seq, task)
		}
		if _, err := s.Pend(ctx, []Pending{{task.Member, 20 * time.Millisecond}}); err != nil {
			t.Fatal(err)
		}
		reapAll(t, s, 1)
	}
	r.wantEmpty(s)
	r.wantDead(s, "max_attempts", "1")
}

func TestEnqueue(t *testing.T) {
	ctx := context.Background()
	withField := func(o *Options) { o.Source.Field = "p" }
	for name, c := range map[string]struct {
		kind   Kind
		change func(*Options)
		order  string // in which tasks that are due at once are claimed
	}{
		"left":             {List, func(*Options) {}, "1,2"},
		"right":            {List, func(o *Options) { o.Source.FromRight = true }, "1,2"},
		"delay":            {Delay, func(*Options) {}, "1,2"},
		"stream":           {Stream, withField, "1,2"},
		"stream, no field": {Stream, func(*Options) {}, "1,2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			r := newRig(t)
			s := r.store("a", c.kind, "src", time.Minute, c.change)
			for i, payload := range []string{"1", "2", "1"} { // the third is a duplicate
				added, err := s.Enqueue(ctx, NewTask{Payload: payload, ID: "id-" + strconv.Itoa(i), Dedup: "d" + payload, DedupFor: time.Hour})
				if err != nil || added.Duplicate != (i == 2) {
					t.Errorf("task %d: %+v, %v", i, added, err)
				}
			}
			const delay = 2 * time.Second
			asked := time.Now()
			added, err := s.Enqueue(ctx, NewTask{Payload: "3", ID: "id-3", Delay: delay})
			if low, high := added.Due.Sub(asked), time.Until(added.Due); err != nil || added.Duplicate || high > delay || low < delay-delay/10 {
				t.Errorf("delayed: %+v, due %s after it was asked, %v", added, low, err)
			}
			got := mustClaim(t, s, 1, 5)
			took := time.Since(asked) // the clock of Redis is known no better
			p := strings.Split(payloads(got.Tasks), ",")
			slices.Sort(p)
			if strings.Join(p, ",") != c.order {
				t.Errorf("claimed %v: want %s", p, c.order)
			}
			if early := added.Due.Sub(got.Next); early.Abs() > 5*time.Millisecond+took {
				t.Errorf("the claimer is told of the delayed one %s early", early)
			}
			seq := uint64(1)
			eventually(t, "the delayed one is due", func() bool {
				seq++
				return payloads(mustClaim(t, s, seq, 5).Tasks) == "3"
			})
		})
	}
}

// Members of a sorted set are unique; tasks that are enqueued are not.
func TestEnqueueTheSamePayloadTwice(t *testing.T) {
	r := newRig(t)
	s := r.store("a", Delay, "z", time.Minute)
	for i := range 2 {
		if _, err := s.Enqueue(context.Background(), NewTask{Payload: "same", ID: strconv.Itoa(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if p := payloads(mustClaim(t, s, 1, 5).Tasks); p != "same,same" {
		t.Errorf("claimed %s", p)
	}
}
