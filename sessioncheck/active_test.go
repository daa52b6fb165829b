package sessioncheck

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func counting(c *Config) {
	c.Lifecycle = false
	c.ActiveUsers = ActiveUsers{Enabled: true, MaxID: 1000}
}

// at checks a session as if it were another time.
func (f *lifeFixture) at(id string, now time.Time) {
	f.Helper()
	r, _ := f.lookup(context.Background(), []byte("session:"+id), time.Now())
	if r.Status != Valid {
		f.Fatalf("%s: %+v", id, r)
	}
	f.users.saw(r.Session, now)
}

func TestActiveUsers(t *testing.T) {
	f := startLife(t, false, counting)
	ctx, now := context.Background(), time.Now().UTC()
	day := func(ago int) time.Time { return now.AddDate(0, 0, -ago) }
	for _, user := range []string{"1", "2", "1000", "1001", "-1", "007", `anna`} {
		f.set("s"+user, fmt.Sprintf(`{"user_id": %q}`, user))
	}
	f.set("nobody", `{"cart": 1}`)
	for range 3 {
		for _, s := range []string{"s1", "s2", "s1000", "s1001", "s-1", "s007", "sanna", "nobody"} {
			f.at(s, now)
		}
	}
	f.at("s1", day(1))
	f.at("s2", day(3))
	f.at("s1", day(20))
	f.set("s3", `{"user_id": 3}`)
	f.at("s3", day(20))
	f.users.Flush(ctx)
	for _, c := range []struct {
		day  time.Time
		days int
		want ActiveCount
	}{
		{now, 1, ActiveCount{3, 4}}, {now, 7, ActiveCount{3, 4}}, {now, 30, ActiveCount{4, 4}},
		{day(1), 1, ActiveCount{1, 0}}, {day(1), 7, ActiveCount{2, 0}}, {day(2), 1, ActiveCount{}},
	} {
		if got, err := f.users.Active(ctx, c.day, c.days); err != nil || got != c.want {
			t.Errorf("%d days to %s: %+v, %v; want %+v", c.days, c.day.Format(time.DateOnly), got, err, c.want)
		}
	}
	for user, want := range map[string]int{"1": 2, "2": 1, "3": 0} {
		if got, err := f.users.Streak(ctx, user, now); err != nil || got != want {
			t.Errorf("streak of %s: %d, %v; want %d", user, got, err, want)
		}
	}
	if got, err := f.users.Streak(ctx, "1", now.AddDate(0, 0, 1)); err != nil || got != 2 {
		t.Errorf("streak that ended yesterday: %d, %v; want 2", got, err)
	}
	if _, err := f.users.Streak(ctx, "anna", now); !errors.Is(err, ErrUnknownStreak) {
		t.Errorf("streak of an estimated user: %v", err)
	}
	for _, key := range []string{f.users.activeKey(dayOf(now)), f.users.estimateKey(dayOf(now))} {
		ttl, err := f.redis.Do(ctx, f.redis.B().Pttl().Key(key).Build()).AsInt64()
		if d := time.Duration(ttl) * time.Millisecond; err != nil || d < activeTTL-48*time.Hour || d > activeTTL {
			t.Errorf("%s lives for %v, %v", key, d, err)
		}
	}
}

// TestSightsAreRecordedOnce: the first request of a day, and no other, is recorded.
func TestSightsAreRecordedOnce(t *testing.T) {
	f := startLife(t, false, func(c *Config) { counting(c); c.Index = true })
	ctx := context.Background()
	f.set("a", `{"user_id": 5}`)
	for range 100 {
		f.want(f.header("a"), Valid, ReasonNone, "5")
	}
	f.users.Flush(ctx)
	f.users.Flush(ctx)
	f.do("SET", "session:a", `{"user_id": 5, "n": 2}`) // another Session in memory, the same one for the records
	f.eventually("the change is seen", func() bool { _, ok := f.header("a").Session.Field("n"); return ok })
	f.users.Flush(ctx)
	if s := f.users.Stats(); s != (UserStats{Marked: 1, Indexed: 1}) {
		t.Errorf("%+v", s)
	}
	if list, err := f.users.List(ctx, "5"); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestRecordsWaitForRedis(t *testing.T) {
	f := startLife(t, false, func(c *Config) { counting(c); c.Index = true })
	ctx := context.Background()
	for i := range 600 { // more than one pipeline
		f.set(fmt.Sprint("s", i), fmt.Sprintf(`{"user_id": %d}`, i))
		f.header(fmt.Sprint("s", i))
	}
	f.faulty.failAt.Store(2)
	f.users.Flush(ctx)
	if s := f.users.Stats(); s.Failures != 1 || s.Marked == 600 {
		t.Fatalf("%+v", s)
	}
	f.users.Flush(ctx)
	if s := f.users.Stats(); s.Marked != 600 || s.Indexed != 600 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	if got, err := f.users.Active(ctx, time.Now(), 1); err != nil || got.Exact != 600 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRecordsAreBounded(t *testing.T) {
	f := startLife(t, false, counting)
	f.set("a", `{"user_id": 5}`)
	s := f.header("a").Session
	for i := range maxPending + 10 {
		f.users.active[activity{1, fmt.Sprint(i)}] = struct{}{}
	}
	s.sighted.Store(0)
	f.users.users[0].Store(0)
	clear(f.users.users)
	f.users.saw(s, time.Now().AddDate(0, 0, 1))
	if s.sighted.Load() != 0 || f.users.Stats().Dropped != 1 {
		t.Errorf("the session counts as noted on day %d, %+v", s.sighted.Load(), f.users.Stats())
	}
}

func TestRecordingCostsNothing(t *testing.T) {
	f := startLife(t, false, func(c *Config) { counting(c); c.Index = true })
	f.set("a", `{"user_id": 5}`)
	s, now := f.header("a").Session, time.Now()
	if n := testing.AllocsPerRun(1000, func() { f.users.saw(s, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := testing.AllocsPerRun(1000, func() { s.sighted.Store(0); f.users.saw(s, now) }); n != 0 {
		t.Errorf("%v allocations without tracking, where each request has a Session of its own", n)
	}
}

// TestMaxPerUserOfTheApplication: with session.index, sessions that the application
// writes itself are bounded on sight.
func TestMaxPerUserOfTheApplication(t *testing.T) {
	f := startLife(t, false, func(c *Config) { c.Lifecycle, c.Index, c.MaxPerUser = false, true, 2 })
	for _, id := range []string{"a", "b", "c"} {
		f.set(id, `{"user_id": 5}`)
		f.want(f.header(id), Valid, ReasonNone, "5")
		f.users.Flush(context.Background())
		f.tick()
	}
	for id, want := range map[string]Status{"a": Absent, "b": Valid, "c": Valid} {
		if got := f.header(id).Status; got != want {
			t.Errorf("session %s has status %d, want %d", id, got, want)
		}
	}
}
