package sessioncheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watchedStore is the real store with a switch for outages, and counts what
// reaches Redis.
type watchedStore struct {
	*redisconn.Conn
	down        atomic.Bool
	expireDown  atomic.Bool // only renewals fail
	gets        atomic.Int64
	expires     atomic.Int64
	expiredKeys atomic.Int64
	lastTTL     atomic.Int64
	hold        chan struct{} // when set, Raise waits for it
}

var errDown = errors.New("switched off")

func (s *watchedStore) Get(ctx context.Context, key string, mode redisconn.Mode) (*redisconn.Value, error) {
	s.gets.Add(1)
	if s.down.Load() {
		return nil, errDown
	}
	return s.Conn.Get(ctx, key, mode)
}

func (s *watchedStore) Raise(ctx context.Context, list []redisconn.Lifetime) (int64, error) {
	if s.hold != nil {
		select {
		case <-s.hold:
		case <-ctx.Done():
		}
	}
	s.expires.Add(1)
	s.expiredKeys.Add(int64(len(list)))
	s.lastTTL.Store(int64(list[0].TTL))
	if s.down.Load() || s.expireDown.Load() {
		return 0, errDown
	}
	return s.Conn.Raise(ctx, list)
}

type fixture struct {
	testing.TB
	srv   *redisproc.Server
	store *watchedStore
	redis rueidis.Client // another program
	*Checker
	log bytes.Buffer
}

func start(t testing.TB, change func(*Config), opts ...Option) *fixture {
	t.Helper()
	f := &fixture{TB: t, srv: redistest.Start(t)}
	rc := redisconn.Default()
	rc.URL, rc.Timeout, rc.MaxStaleness = "redis://"+f.srv.Addr, 3*time.Second, 5*time.Second
	conn, err := redisconn.Open(rc, 16<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	f.store = &watchedStore{Conn: conn}
	f.redis = redistest.Client(t, f.srv)
	cfg := Default()
	if change != nil {
		change(&cfg)
	}
	if f.Checker, err = New(cfg, f.store, zerolog.New(&f.log), opts...); err != nil {
		t.Fatal(err)
	}
	f.eventually("Redis is up", conn.Up)
	return f
}

func (f *fixture) eventually(what string, ok func() bool) {
	f.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			f.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond) // polling with a bound
	}
}

func (f *fixture) do(args ...string) string {
	f.Helper()
	msg, err := f.redis.Do(context.Background(), f.redis.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		f.Fatal(err)
	}
	return msg.String()
}

func (f *fixture) set(id, json string) { f.do("SET", "session:"+id, json, "EX", "604800") }

func (f *fixture) header(id string) Result { return f.raw("X-Session-ID: " + id + "\r\n") }

func (f *fixture) raw(lines string) Result {
	return f.Check(context.Background(), []byte(lines), time.Now())
}

func (f *fixture) want(r Result, status Status, reason Reason, user string) {
	f.Helper()
	got := ""
	if r.Session != nil {
		got = r.Session.User()
	}
	if r.Status != status || r.Reason != reason || got != user || (r.Status == Valid) != (r.Session != nil) {
		f.Errorf("status %d, %s, user %q; want %d, %s, %q", r.Status, r.Reason, got, status, reason, user)
	}
}

func TestCheck(t *testing.T) {
	f := start(t, nil)
	f.set("one", `{"user_id":1}`)
	f.set("one-b", `{"user_id":1}`)
	f.set("two", `{"user_id":2}`)
	f.set("guest", `{}`)
	f.set("guest2", `{}`)
	f.set("broken", `not json`)
	f.do("RPUSH", "session:list", "x")
	for _, tc := range []struct {
		raw    string
		status Status
		reason Reason
		user   string
	}{
		{"X-Session-ID: one\r\n", Valid, ReasonNone, "1"},
		{"Cookie: session_id=two\r\n", Valid, ReasonNone, "2"},
		{"Cookie: session_id=two\r\nX-Session-ID: one\r\n", Valid, ReasonNone, "1"},
		{"X-Session-ID: guest\r\n", Valid, ReasonNone, ""},
		{"", Absent, ReasonMissing, ""},
		{"X-Session-ID: nobody\r\n", Absent, ReasonNotFound, ""},
		{"X-Session-ID: broken\r\n", Absent, ReasonMalformed, ""},
		{"X-Session-ID: list\r\n", Unknown, ReasonUnavailable, ""}, // WRONGTYPE says nothing about the session
		{"Cookie: session_id=stale; session_id=one\r\n", Valid, ReasonNone, "1"},
		{"Cookie: session_id=broken; session_id=one\r\n", Valid, ReasonNone, "1"},
		{"Cookie: session_id=one-b; session_id=stale; session_id=one\r\n", Valid, ReasonNone, "1"},
		{"Cookie: session_id=one; session_id=two\r\n", Absent, ReasonAmbiguous, ""},
		{"Cookie: session_id=two\r\nCookie: session_id=one\r\n", Absent, ReasonAmbiguous, ""},
		{"Cookie: session_id=guest; session_id=one\r\n", Absent, ReasonAmbiguous, ""},
		{"Cookie: session_id=guest; session_id=guest2\r\n", Absent, ReasonAmbiguous, ""},
		{"Cookie: session_id=one; session_id=list\r\n", Unknown, ReasonUnavailable, ""},
		{"Cookie: session_id=no1; session_id=no2\r\n", Absent, ReasonNotFound, ""},
	} {
		for range 3 { // from Redis, then from memory
			r := f.raw(tc.raw)
			if f.want(r, tc.status, tc.reason, tc.user); t.Failed() {
				t.Fatalf("on %q", tc.raw)
			}
		}
	}
	if id := string(f.AppendIdentity(nil, f.header("one").Session)); id != "X-User-Id: 1\r\n" {
		t.Errorf("identity %q", id)
	}
}

// Ids without a valid form must not reach Redis, not even as a lookup.
func TestBadIDsCostNoRedisCommand(t *testing.T) {
	f := start(t, nil)
	for _, id := range []string{"", "*", "a b", "a\x00", "a\rb", "{a}", "a%20", "é", strings.Repeat("a", 8192), "a,b", `"a`, "a;b", "session:*"} {
		f.want(f.header(id), Absent, ReasonBadID, "")
		if !strings.ContainsAny(id, ";\"") {
			f.want(f.raw("Cookie: session_id="+id+"\r\n"), Absent, ReasonBadID, "")
		}
	}
	f.want(f.raw("X-Session-ID: a\r\nX-Session-ID: b\r\n"), Absent, ReasonConflict, "")
	if n := f.store.gets.Load(); n != 0 {
		t.Errorf("%d lookups", n)
	}
}

func TestHitsCostNothing(t *testing.T) {
	f := start(t, nil, WithFields("role"))
	f.set("one", `{"user_id":1,"role":"admin"}`)
	policy, err := CompilePolicy(Policy{Require: map[string][]string{"role": {"admin"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, lines := range []string{
		"Host: h\r\nUser-Agent: u\r\nX-Session-ID: one\r\nAccept: */*\r\n\r\n",
		"Host: h\r\nCookie: a=b; session_id=one\r\nAccept: */*\r\n\r\n",
	} {
		raw, now, ctx := []byte(lines), time.Now(), context.Background()
		f.want(f.Check(ctx, raw, now), Valid, ReasonNone, "1")
		before, dst := f.store.gets.Load(), make([]byte, 0, 256)
		n := testing.AllocsPerRun(1000, func() {
			r := f.Check(ctx, raw, now)
			if r.Status != Valid || !policy.Allows(r.Session) || r.Session.UserKey() != "u1" {
				t.Error("not valid")
			}
			dst = f.AppendIdentity(dst[:0], r.Session)
		})
		if n != 0 && !raceEnabled { // under -race a sync.Pool drops some of what it is given
			t.Errorf("%v allocations for each hit", n)
		}
		if got := f.store.gets.Load(); got != before {
			t.Errorf("%d lookups during hits", got-before)
		}
	}
	if s := f.Stats(); s.ValidMemory < 2000 || s.ValidRedis == 0 {
		t.Errorf("stats %+v", s)
	}
}

// Whatever ends or changes a session in Redis is seen, decoded form included.
func TestChangesAreSeen(t *testing.T) {
	f := start(t, nil)
	for _, tc := range []struct {
		command []string
		user    string // "" when the session is gone
	}{
		{[]string{"SET", "session:a", `{"user_id":2}`}, "2"},
		{[]string{"DEL", "session:a"}, ""},
		{[]string{"UNLINK", "session:a"}, ""},
		{[]string{"RENAME", "session:a", "other"}, ""},
		{[]string{"PEXPIRE", "session:a", "1"}, ""},
		{[]string{"GETDEL", "session:a"}, ""},
		{[]string{"FLUSHDB"}, ""},
	} {
		f.set("a", `{"user_id":1}`)
		f.eventually("valid from memory", func() bool {
			before := f.store.gets.Load()
			r := f.header("a")
			return r.Status == Valid && r.Session.User() == "1" && f.store.gets.Load() == before
		})
		f.do(tc.command...)
		f.eventually(tc.command[0], func() bool {
			r := f.header("a")
			if r.Status == Unknown {
				t.Fatalf("%s: unknown", tc.command[0])
			}
			if tc.user == "" {
				return r.Status == Absent
			}
			return r.Status == Valid && r.Session.User() == tc.user
		})
	}
}

func TestOutageIsUnknown(t *testing.T) {
	f := start(t, nil)
	f.set("a", `{"user_id":1}`)
	f.store.down.Store(true)
	f.want(f.header("a"), Unknown, ReasonUnavailable, "")
	f.want(f.raw("Cookie: session_id=a; session_id=b\r\n"), Unknown, ReasonUnavailable, "")
	f.want(f.raw(""), Absent, ReasonMissing, "") // needs no Redis
	f.want(f.header("*"), Absent, ReasonBadID, "")
	f.store.down.Store(false)
	f.want(f.header("a"), Valid, ReasonNone, "1")
	f.srv.Kill()
	f.eventually("unknown after Redis has gone", func() bool {
		r := f.header("a")
		if r.Status == Absent {
			t.Fatal("an outage was taken for an absent session")
		}
		return r.Status == Unknown
	})
	if n := f.Stats().Unknown; n < 3 {
		t.Errorf("%d unknown", n)
	}
}

func TestMalformedIsLoggedOnceAMinute(t *testing.T) {
	f := start(t, nil)
	f.set("secret-id", `[]`)
	now := time.Now()
	for range 5 {
		f.want(f.Check(context.Background(), []byte("X-Session-ID: secret-id\r\n"), now), Absent, ReasonMalformed, "")
	}
	if n := strings.Count(f.log.String(), "\n"); n != 1 || strings.Contains(f.log.String(), "secret-id") {
		t.Errorf("%d lines: %s", n, f.log.String())
	}
	f.Check(context.Background(), []byte("X-Session-ID: secret-id\r\n"), now.Add(time.Minute))
	if n := strings.Count(f.log.String(), "\n"); n != 2 {
		t.Errorf("%d lines a minute later, want 2", n)
	}
	if n := f.Stats().Absent["malformed"]; n != 6 {
		t.Errorf("%d counted, want 6", n)
	}
}

// A reload makes a new Checker on the same memory: what the old one decoded must
// not answer for the new one's settings.
func TestSecondCheckerDecodesAgain(t *testing.T) {
	f := start(t, nil)
	f.set("a", `{"user_id":1,"name":"ann"}`)
	f.want(f.header("a"), Valid, ReasonNone, "1")
	cfg := Default()
	cfg.User, cfg.Identity = "name", map[string]string{"X-Name": "name"}
	second, err := New(cfg, f.store, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := second.Check(context.Background(), []byte("X-Session-ID: a\r\n"), time.Now())
		f.want(r, Valid, ReasonNone, "ann")
		if got := string(second.AppendIdentity(nil, r.Session)); got != "X-Name: ann\r\n" {
			t.Errorf("identity %q", got)
		}
		f.want(f.header("a"), Valid, ReasonNone, "1")
	}
}

// No answer may ever be another user's, whatever changes meanwhile and whichever
// buffers are used again.
func TestIsolation(t *testing.T) {
	f := start(t, nil)
	const users = 50
	for u := range users {
		f.set(fmt.Sprintf("s%d", u), fmt.Sprintf(`{"user_id":%d}`, u))
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg, churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			u := i % users
			f.set(fmt.Sprintf("s%d", u), fmt.Sprintf(`{"user_id":%d,"n":%d}`, u, i))
		}
	})
	for w := range 8 {
		wg.Go(func() {
			buf := make([]byte, 0, 64)
			for i := range 1500 {
				u := (i*7 + w) % users
				buf = fmt.Appendf(buf[:0], "X-Session-ID: s%d\r\n", u)
				cctx, done := context.WithCancel(ctx)
				if i%5 == 0 {
					done()
				}
				r := f.Check(cctx, buf, time.Now())
				done()
				if r.Status == Absent || r.Status == Valid && r.Session.User() != fmt.Sprint(u) {
					t.Errorf("user %d got status %d, %s, session %+v", u, r.Status, r.Reason, r.Session)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	churn.Wait()
}

func BenchmarkCheckHit(b *testing.B) {
	f := start(b, nil)
	f.set("6f1f2a9e-3b0c-4f6e-9a57-0d1c2b3a4f5e", `{"user_id":1}`)
	raw := []byte("Host: example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n" +
		"Cookie: theme=dark; session_id=6f1f2a9e-3b0c-4f6e-9a57-0d1c2b3a4f5e\r\n\r\n")
	f.want(f.Check(context.Background(), raw, time.Now()), Valid, ReasonNone, "1")
	b.ReportAllocs()
	for b.Loop() {
		f.Check(context.Background(), raw, time.Now())
	}
}
