package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// letters adds n dead letters, with the entries 1-1 to n-1.
func (r *rig) letters(s *Store, n int, change ...func(i int, fields map[string]string)) {
	r.tb.Helper()
	const part = 5000
	for from := 1; from <= n; from += part {
		var cmds rueidis.Commands
		for i := from; i <= min(n, from+part-1); i++ {
			f := map[string]string{
				"id": "t" + strconv.Itoa(i), "reason": []string{"gone", "poison"}[i%2], "detail": "status 410",
				"attempts": "1", "abandons": "0", "since": "1700000000000", "payload": fmt.Sprintf(`{"type":"k%d","n":%d}`, i%3, i),
			}
			for _, c := range change {
				c(i, f)
			}
			cmd := r.c.B().Xadd().Key(s.Keys.Dead).Id(strconv.Itoa(i) + "-1").FieldValue()
			for k, v := range f {
				cmd = cmd.FieldValue(k, v)
			}
			cmds = append(cmds, cmd.Build())
		}
		for _, res := range r.c.DoMulti(context.Background(), cmds...) {
			if err := res.Error(); err != nil {
				r.tb.Fatal(err)
			}
		}
	}
}

func entries(ds []DeadLetter) string {
	var out []string
	for _, d := range ds {
		out = append(out, strconv.FormatUint(d.Entry.MS, 10))
	}
	return strings.Join(out, " ")
}

func TestDeadLettersPageBothWays(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	ctx := context.Background()
	if page, err := s.DeadLetters(ctx, DeadQuery{}); err != nil || len(page.Letters) != 0 || !page.Next.IsZero() {
		t.Fatalf("without any: %+v, %v", page, err)
	}
	r.letters(s, 10)
	for _, c := range []struct {
		name string
		q    DeadQuery
		want string
		next string
	}{
		{"all", DeadQuery{}, "1 2 3 4 5 6 7 8 9 10", "0-0"},
		{"newest", DeadQuery{Newest: true, Limit: 3}, "10 9 8", "8-1"},
		{"newest, next page", DeadQuery{Newest: true, Limit: 3, DeadFilter: DeadFilter{Before: EntryID{8, 1}}}, "7 6 5", "5-1"},
		{"oldest", DeadQuery{Limit: 3}, "1 2 3", "3-1"},
		{"oldest, next page", DeadQuery{Limit: 3, DeadFilter: DeadFilter{After: EntryID{3, 1}}}, "4 5 6", "6-1"},
		{"exactly the rest", DeadQuery{Limit: 4, DeadFilter: DeadFilter{After: EntryID{6, 1}}}, "7 8 9 10", "0-0"},
		{"reason", DeadQuery{DeadFilter: DeadFilter{Reason: "poison"}}, "1 3 5 7 9", "0-0"},
		{"task", DeadQuery{DeadFilter: DeadFilter{ID: "t4"}}, "4", "0-0"},
		{"type", DeadQuery{DeadFilter: DeadFilter{Type: "k1"}}, "1 4 7 10", "0-0"},
		{"payload", DeadQuery{DeadFilter: DeadFilter{Contains: `"n":1`}}, "1 10", "0-0"},
		{"detail", DeadQuery{DeadFilter: DeadFilter{Contains: "410", Reason: "gone", Type: "k2"}}, "2 8", "0-0"},
		{"none", DeadQuery{DeadFilter: DeadFilter{Contains: "no such"}}, "", "0-0"},
		{"time", DeadQuery{DeadFilter: DeadFilter{Since: time.UnixMilli(4), Until: time.UnixMilli(6)}}, "4 5 6", "0-0"},
		{"time and entries", DeadQuery{DeadFilter: DeadFilter{Since: time.UnixMilli(2), After: EntryID{4, 1}, Before: EntryID{9, 1}, Until: time.UnixMilli(7)}}, "5 6 7", "0-0"},
		{"from nothing to nothing", DeadQuery{DeadFilter: DeadFilter{After: EntryID{5, 1}, Before: EntryID{5, 1}}}, "", "0-0"},
		{"after the last there can be", DeadQuery{DeadFilter: DeadFilter{After: EntryID{^uint64(0), ^uint64(0)}}}, "", "0-0"},
	} {
		page, err := s.DeadLetters(ctx, c.q)
		if got := entries(page.Letters); err != nil || got != c.want || page.Next.String() != c.next {
			t.Errorf("%s: %q, next %s, %v: want %q, next %s", c.name, got, page.Next, err, c.want, c.next)
		}
	}
}

// Entries that pillion did not write are shown, not replayed, and can be deleted.
func TestDamagedAndLargeDeadLetters(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	ctx := context.Background()
	big := strings.Repeat("\xff\x00", 5<<20)
	r.do("XADD", s.Keys.Dead, "1-1", "id", "big", "reason", "gone", "detail", "", "attempts", "2", "abandons", "1", "since", "5", "payload", big)
	r.do("XADD", s.Keys.Dead, "2-1", "some", "thing")
	r.do("XADD", s.Keys.Dead, "3-1", "id", "x", "reason", "gone", "detail", "", "attempts", "-2", "abandons", "1", "since", "5", "payload", "")
	page, err := s.DeadLetters(ctx, DeadQuery{})
	if err != nil || len(page.Letters) != 3 {
		t.Fatal(page, err)
	}
	one := page.Letters[0]
	if one.ID != "big" || one.Attempts != 2 || one.Abandons != 1 || one.Payload != big[:DeadExcerpt] || one.PayloadBytes != len(big) || one.Damaged != "" {
		t.Errorf("the large one: %q attempts %d, %d bytes, damaged %q", one.ID, one.Attempts, one.PayloadBytes, one.Damaged)
	}
	for _, d := range page.Letters[1:] {
		if d.Damaged == "" {
			t.Errorf("%s is not called damaged", d.Entry)
		}
	}
	for i, id := range []string{"a|b", "a b", "a\n"} { // a lease of such a task could not be told from another's
		entry := EntryID{4, uint64(i)}
		r.do("XADD", s.Keys.Dead, entry.String(), "id", id, "reason", "gone", "detail", "", "attempts", "0", "abandons", "0", "since", "5", "payload", "")
		d, _, err := s.DeadLetter(ctx, entry)
		n, errReplay := s.ReplayEntries(ctx, []EntryID{entry})
		if err != nil || errReplay != nil || d.Damaged == "" || n != 0 {
			t.Errorf("%q: %+v, replayed %d, %v, %v: want it damaged, and left", id, d, n, err, errReplay)
		}
	}
	whole, found, err := s.DeadLetter(ctx, EntryID{1, 1})
	if err != nil || !found || whole.Payload != big {
		t.Errorf("alone: found %t, %d bytes, %v", found, len(whole.Payload), err)
	}
	if _, found, err := s.DeadLetter(ctx, EntryID{1, 2}); found || err != nil {
		t.Error("found what is not there", err)
	}
	if page, err := s.DeadLetters(ctx, DeadQuery{DeadFilter: DeadFilter{Contains: "\x00\xff"}}); err != nil || entries(page.Letters) != "1" || len(page.Letters[0].Payload) != DeadExcerpt {
		t.Error("binary text is not found", err)
	}
	if n, err := s.ReplayEntries(ctx, []EntryID{{1, 1}, {2, 1}, {9, 9}}); n != 1 || err != nil {
		t.Errorf("replayed %d, %v: want 1", n, err)
	}
	got := mustClaim(t, s, 1, 10).Tasks
	if len(got) != 1 || got[0].Payload != big || got[0].Reason != Replay || got[0].Attempts != 0 || got[0].ID != "big" {
		t.Errorf("%d tasks after the replay", len(got))
	}
	if n, err := s.DeleteEntries(ctx, []EntryID{{2, 1}, {2, 1}, {3, 1}}); n != 2 || err != nil {
		t.Errorf("deleted %d, %v: want 2", n, err)
	}
}

// Two who replay everything at once move each task once.
func TestConcurrentReplayMovesEachOnce(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	const n = 2000
	r.letters(s, n)
	moved := make([]int, 4)
	var all sync.WaitGroup
	for i := range moved {
		all.Go(func() {
			got, err := s.ReplayDead(context.Background(), DeadFilter{})
			if err != nil || !got.Done {
				t.Error(got, err)
			}
			moved[i] = got.Changed
		})
	}
	all.Wait()
	if sum := moved[0] + moved[1] + moved[2] + moved[3]; sum != n {
		t.Errorf("moved %v: want %d together", moved, n)
	}
	if r.int("HLEN", s.Keys.Records) != n || r.int("ZCARD", s.Keys.Retry) != n || r.int("XLEN", s.Keys.Dead) != 0 {
		t.Error("not every task waits once")
	}
}

// What dies while a replay runs is not replayed by it.
// What has died in order is delivered in that order again, whatever the ids are.
func TestReplayKeepsTheOrder(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	fifo := func(o *Options) { o.FIFO = true }
	var want []string
	for i := range 250 { // three calls of the script
		s := r.store("a", List, "l", time.Minute, fifo) // a nonce of its own
		r.do("RPUSH", "l", strconv.Itoa(i))
		want = append(want, strconv.Itoa(i))
		if _, err := s.Bury(ctx, []Grave{{Member: mustClaim(t, s, 1, 1).Tasks[0].Member, Reason: "gone"}}); err != nil {
			t.Fatal(err)
		}
	}
	s := r.store("b", List, "l", time.Minute, fifo)
	if got, err := s.ReplayDead(ctx, DeadFilter{}); got.Changed != len(want) || err != nil {
		t.Fatalf("%+v, %v", got, err)
	}
	var got []string
	for seq, acks := uint64(1), []string(nil); len(got) < len(want); seq++ {
		c, err := s.Claim(ctx, seq, 1, acks...)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range c.Tasks {
			got = append(got, task.Payload)
		}
		acks = members(c.Tasks)
	}
	if !slices.Equal(got, want) {
		t.Errorf("delivered again as %v", got)
	}
}

func TestReplayEndsWhereItBegan(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.letters(s, 500)
	calls := 0
	got, err := s.sweep(context.Background(), DeadFilter{}, func(ctx context.Context, ids []EntryID) (int, error) {
		calls++
		for _, id := range ids { // each dies again at once
			r.do("XADD", s.Keys.Dead, "*", "id", "again"+id.String(), "payload", "")
		}
		return s.ReplayEntries(ctx, ids)
	})
	if err != nil || got.Changed != 500 || !got.Done || r.int("XLEN", s.Keys.Dead) != 500 {
		t.Errorf("%+v in %d calls, %v", got, calls, err)
	}
}

// A change that is cut short says where to go on, and comes on even when it finds nothing.
func TestSweepGoesOnWhereItWasCut(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	r.letters(s, 3000)
	f := DeadFilter{ID: "t3000"}
	for call := 1; ; call++ {
		ctx, cancel := context.WithCancel(context.Background())
		s.Redis = &cutAfter{r.c, 3, cancel}
		got, err := s.DeleteDead(ctx, f)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if got.Done {
			if got.Changed != 1 {
				t.Errorf("deleted %d: want 1", got.Changed)
			}
			return
		}
		if !f.After.Less(got.After) || call > 100 {
			t.Fatalf("call %d came from %s to %s", call, f.After, got.After)
		}
		f.After, f.Before = got.After, got.Before
	}
}

// cutAfter ends a context with some use of Redis.
type cutAfter struct {
	c    rueidis.Client
	left int
	cut  func()
}

func (c *cutAfter) Client() rueidis.Client {
	if c.left--; c.left == 0 {
		c.cut()
	}
	return c.c
}

func TestManyDeadLetters(t *testing.T) {
	if testing.Short() {
		t.Skip("200,000 entries")
	}
	r := newRig(t)
	s := r.store("a", List, "l", time.Minute)
	ctx := context.Background()
	const n = 200_000
	r.letters(s, n)
	// A filter that finds nothing looks at a bounded number, and goes on.
	q, pages := DeadQuery{DeadFilter: DeadFilter{Contains: "no such"}}, 0
	for {
		page, err := s.DeadLetters(ctx, q)
		if err != nil || len(page.Letters) != 0 {
			t.Fatal(len(page.Letters), err)
		}
		if pages++; page.Next.IsZero() {
			break
		}
		q.After = page.Next
	}
	if pages != n/deadLook {
		t.Errorf("%d pages: want %d", pages, n/deadLook)
	}
	count := 0
	stop := errors.New("enough")
	if err := s.EachDead(ctx, DeadFilter{}, func(*DeadLetter) error { count++; return nil }); err != nil || count != n {
		t.Errorf("each: %d, %v", count, err)
	}
	if err := s.EachDead(ctx, DeadFilter{}, func(*DeadLetter) error { return stop }); err != stop {
		t.Error(err)
	}
	half, err := s.ReplayDead(ctx, DeadFilter{Reason: "gone"})
	if err != nil || half.Changed != n/2 || r.int("ZCARD", s.Keys.Retry) != n/2 {
		t.Error(half, err)
	}
	rest, err := s.DeleteDead(ctx, DeadFilter{})
	if err != nil || rest.Changed != n/2 || r.int("XLEN", s.Keys.Dead) != 0 {
		t.Error(rest, err)
	}
}

func TestTypeOf(t *testing.T) {
	for _, c := range [][3]string{
		{`{"type":"a"}`, "", "a"}, {` {"x":[1,{"type":"b"}],"type":"c"}`, "", "c"}, {`{"type":"a","type":"b"}`, "", "b"},
		{`{"Type":"a"}`, "", ""}, {`{"type":5}`, "", ""}, {`{"type":"a","type":{}}`, "", ""}, {`["type","a"]`, "", ""}, {"", "", ""}, {"\xff", "", ""},
		{`{"type":"a","data":"cut off he`, "", "a"}, {`{"data":"cut off he`, "", ""}, {`{"type":"\u00e9"}`, "type", "é"}, {"{", "", ""}, {`{"type"`, "", ""},
		{`{"headers":{"x":{"task":1},"task":"a"},"type":"b"}`, "headers.task", "a"}, {`{"headers":["task","a"]}`, "headers.task", ""},
		{`{"headers":"task"}`, "headers.task", ""}, {`{"headers":{"task":"a","args":[1,2`, "headers.task", "a"}, {`{"headers":{"task":{"a":1}}}`, "headers.task", ""},
		{`{"headers":{"task":"a"},"headers":{}}`, "headers.task", ""}, {`{"a":{"b":{"c":"d"}}}`, "a.b.c", "d"}, {`{"a":null,"type":"x"}`, "a.b", ""},
	} {
		if got := typeOf(c[0], c[1]); got != c[2] {
			t.Errorf("type of %s at %q is %q: want %q", c[0], c[1], got, c[2])
		}
	}
}

func FuzzEntryID(f *testing.F) {
	for _, s := range []string{"0-0", "1-1", "18446744073709551615-18446744073709551615", "1", "-", "+1-2", "1-2-3", "01-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseEntryID(s)
		if err != nil {
			return
		}
		if again, err := ParseEntryID(id.String()); err != nil || again != id {
			t.Errorf("%q became %s, %v", s, again, err)
		}
		if n := id.next(); n != id && (!id.Less(n) || n.prev() != id) {
			t.Errorf("%s is not before its next, %s", id, n)
		}
	})
}

func FuzzTypeOf(f *testing.F) {
	for _, s := range []string{`{"type":"a"}`, `{"type":"a"`, `{"a":{"type":1}}`, `{}`, `{"type":"\ud800"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_ = typeOf(s, "a.type")
		if typ := typeOf(s, ""); typ != "" && !strings.Contains(s, "type") && !strings.Contains(s, `\u`) {
			t.Errorf("%q has the type %q", s, typ)
		}
	})
}
