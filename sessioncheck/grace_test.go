package sessioncheck

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func graceOf(d time.Duration) func(*Config) { return func(c *Config) { c.Grace = d } }

// at checks as of another moment.
func (f *fixture) at(id string, now time.Time) Result {
	return f.Check(context.Background(), []byte("X-Session-ID: "+id+"\r\n"), now)
}

// outage ends Redis and waits until the store knows.
func (f *fixture) outage() {
	f.Helper()
	f.srv.Kill()
	f.eventually("Redis is down", func() bool { return !f.store.Up() })
}

func TestGrace(t *testing.T) {
	f := start(t, graceOf(time.Minute))
	for _, id := range []string{"valid", "gone", "unseen", "changed", "expiring"} {
		f.set(id, `{"user_id":"`+id+`"}`)
	}
	f.do("PEXPIRE", "session:expiring", "30000")
	for _, id := range []string{"valid", "gone", "changed", "expiring"} {
		f.want(f.header(id), Valid, ReasonNone, id)
	}
	// A logout that is pushed counts though nobody asks again; a change does too, since
	// what the session is now was never read.
	f.do("DEL", "session:gone")
	f.do("SET", "session:changed", `{"user_id":"x"}`)
	f.eventually("both pushes", func() bool {
		now := time.Now()
		return f.store.Peek([]byte("session:gone"), now) == nil && f.store.Peek([]byte("session:changed"), now) == nil
	})
	f.outage()
	now := time.Now()
	f.want(f.at("valid", now), Valid, ReasonNone, "valid")
	f.want(f.at("valid", now.Add(50*time.Second)), Valid, ReasonNone, "valid")
	f.want(f.at("valid", now.Add(61*time.Second)), Unknown, ReasonUnavailable, "")
	f.want(f.at("expiring", now), Valid, ReasonNone, "expiring")
	f.want(f.at("expiring", now.Add(31*time.Second)), Unknown, ReasonUnavailable, "")
	for _, id := range []string{"gone", "unseen", "changed", "made-up"} {
		f.want(f.at(id, now), Unknown, ReasonUnavailable, "")
	}
	f.want(f.raw("Cookie: session_id=made-up; session_id=valid\r\n"), Unknown, ReasonUnavailable, "")
	if s := f.Stats(); s.ValidGrace != 3 || s.Unknown != 7 {
		t.Errorf("%d in grace and %d unknown, want 3 and 7", s.ValidGrace, s.Unknown)
	}
}

// What was seen absent, malformed or too old since has no grace.
func TestGraceEndsWithWhatWasSeen(t *testing.T) {
	f := start(t, func(c *Config) {
		c.Grace, c.AbsoluteTimeout, c.CreatedField = time.Minute, time.Hour, "at"
	})
	made := func(ago time.Duration) string {
		return fmt.Sprintf(`{"user_id":"u","at":%d}`, time.Now().Add(-ago).Unix())
	}
	for id, then := range map[string]string{"absent": "", "malformed": "x", "old": made(2 * time.Hour), "again": made(2 * time.Second)} {
		f.set(id, made(0))
		f.want(f.header(id), Valid, ReasonNone, "u")
		if f.do("DEL", "session:"+id); then != "" {
			f.set(id, then)
		}
		f.eventually(id+" is seen", func() bool {
			r := f.header(id)
			return r.Status == Absent || id == "again" && r.Session.raw == then
		})
	}
	f.outage()
	for id, status := range map[string]Status{"absent": Unknown, "malformed": Unknown, "old": Unknown, "again": Valid} {
		if r := f.header(id); r.Status != status {
			t.Errorf("%s: status %d, want %d", id, r.Status, status)
		}
	}
	if r := f.at("again", time.Now().Add(59*time.Minute)); r.Status != Unknown {
		t.Error("grace lasts for an hour")
	}
}

// Watches are not told what grace believes: they go on waiting.
func TestGraceIsNotForWatches(t *testing.T) {
	f := start(t, graceOf(time.Minute), WithStaleness(50*time.Millisecond))
	t.Cleanup(f.Close)
	f.set("a", `{"user_id":1}`)
	s := f.header("a").Session
	f.outage()
	if r, _ := f.lookup(context.Background(), []byte(s.key), time.Now()); r.Status != Unknown {
		t.Errorf("a watch sees status %d", r.Status)
	}
}

func TestGraceIsOffByDefault(t *testing.T) {
	f := start(t, nil)
	f.set("a", `{"user_id":1}`)
	f.want(f.header("a"), Valid, ReasonNone, "1")
	f.outage()
	f.want(f.header("a"), Unknown, ReasonUnavailable, "")
}

func TestGraceIsBounded(t *testing.T) {
	f := start(t, graceOf(time.Minute))
	const sessions, size = 60, 60 << 10
	f.set("kept", `{"user_id":1}`)
	base := f.header("kept").Session.value
	for i := range maxGraceBytes/size + sessions {
		s, _ := f.schema.decode(fmt.Sprint("session:", i), `{"a":"`+strings.Repeat("x", size)+`"}`, time.Time{})
		s.value = base // what matters here is only that it is unchanged
		f.grace.note(s, time.Now())
	}
	total, n := 0, 0
	for i := range f.grace.shards {
		sh := &f.grace.shards[i]
		bytes := 0
		for _, s := range sh.byKey {
			bytes += s.graceCost()
		}
		if bytes != sh.bytes || bytes > maxGraceBytes/graceShards {
			t.Errorf("shard %d has %d bytes and counts %d", i, bytes, sh.bytes)
		}
		total, n = total+bytes, n+len(sh.byKey)
	}
	if total < maxGraceBytes/2 || n == 0 {
		t.Errorf("%d sessions of %d bytes in all", n, total)
	}
}

func TestGraceCostsNothingWhileRedisIsUp(t *testing.T) {
	f := start(t, graceOf(time.Minute))
	f.set("one", `{"user_id":1}`)
	raw, ctx := []byte("X-Session-ID: one\r\n"), context.Background()
	f.want(f.raw(string(raw)), Valid, ReasonNone, "1")
	before, now := f.store.gets.Load(), time.Now()
	n := testing.AllocsPerRun(1000, func() {
		if f.Check(ctx, raw, now).Status != Valid {
			t.Error("not valid")
		}
	})
	if n != 0 && !raceEnabled {
		t.Errorf("%v allocations for each hit", n)
	}
	if got := f.store.gets.Load(); got != before {
		t.Errorf("%d lookups during hits", got-before)
	}
}

// No push tells of what became of a session while the connection was gone: what Redis
// says when it is back counts in the next outage.
func TestGraceAfterASecondOutage(t *testing.T) {
	f := start(t, graceOf(10*time.Minute))
	f.set("a", `{"user_id":1}`)
	f.want(f.header("a"), Valid, ReasonNone, "1")
	f.outage()
	f.want(f.header("a"), Valid, ReasonNone, "1")
	if err := f.srv.Restart(); err != nil { // with nothing in it
		t.Fatal(err)
	}
	f.eventually("Redis is back", f.store.Up)
	f.eventually("absent", func() bool { return f.header("a").Status == Absent })
	f.outage()
	f.want(f.header("a"), Unknown, ReasonUnavailable, "")
}
