package sessioncheck

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/redisconn"
)

// faulty is Redis with one call that fails: with lost, after it was done.
type faulty struct {
	Redis
	calls, failAt atomic.Int64
	lost          bool
}

func (f *faulty) fails() bool { return f.calls.Add(1) == f.failAt.Load() }

var errFault = fmt.Errorf("%w: for the test", redisconn.ErrUnavailable)

func (f *faulty) Write(ctx context.Context, key string, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	fails := f.fails()
	if fails && !f.lost {
		return rueidis.RedisMessage{}, errFault
	}
	msg, err := f.Redis.Write(ctx, key, build)
	if fails {
		err = errFault
	}
	return msg, err
}

func (f *faulty) Remove(ctx context.Context, keys ...string) (int64, error) {
	fails := f.fails()
	if fails && !f.lost {
		return 0, errFault
	}
	n, err := f.Redis.Remove(ctx, keys...)
	if fails {
		err = errFault
	}
	return n, err
}

func (f *faulty) Run(ctx context.Context, fn func(context.Context, rueidis.Client) (int64, error)) (int64, error) {
	fails := f.fails()
	if fails && !f.lost {
		return 0, errFault
	}
	n, err := f.Redis.Run(ctx, fn)
	if fails {
		err = errFault
	}
	return n, err
}

// lifeFixture is a fixture whose application has the lifecycle.
type lifeFixture struct {
	*fixture
	faulty *faulty
	users  *Users
	life   *Lifecycle
}

func startLife(t testing.TB, cluster bool, change func(*Config)) *lifeFixture {
	t.Helper()
	cfg := Default()
	cfg.Lifecycle = true
	if change != nil {
		change(&cfg)
	}
	f := &lifeFixture{fixture: start(t, func(c *Config) { *c = cfg })}
	f.faulty = &faulty{Redis: f.store.Conn}
	f.users = NewUsers(cfg, f.faulty, cluster, zerolog.Nop())
	f.Checker.users = f.users
	f.life = NewLifecycle(f.users)
	return f
}

// apply carries out a field for a request with an id, or none, and gives the id that the
// answer's cookie has: "-" for none.
func (f *lifeFixture) apply(id, line string) (string, error) {
	f.Helper()
	current := Result{Status: Absent}
	if id != "" {
		current = f.check(id)
	}
	cookies, err := f.life.Apply(context.Background(), []string{line}, current, time.Now())
	if err != nil || len(cookies) == 0 {
		return "-", err
	}
	value, _, _ := strings.Cut(cookies[0], ";")
	_, value, _ = strings.Cut(value, "=")
	return value, nil
}

func (f *lifeFixture) must(id, line string) string {
	f.Helper()
	got, err := f.apply(id, line)
	if err != nil {
		f.Fatalf("%s: %v", line, err)
	}
	return got
}

func (f *lifeFixture) check(id string) Result {
	return f.raw("Cookie: __Host-session_id=" + id + "\r\n")
}

func (f *lifeFixture) sessions() []string {
	f.Helper()
	keys, err := f.redis.Do(context.Background(), f.redis.B().Keys().Pattern("session:*").Build()).AsStrSlice()
	if err != nil {
		f.Fatal(err)
	}
	return keys
}

func (f *lifeFixture) get(key string) string {
	f.Helper()
	text, err := f.redis.Do(context.Background(), f.redis.B().Get().Key(key).Build()).ToString()
	if err != nil {
		f.Fatal(err)
	}
	return text
}

func TestLifecycle(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		t.Run(fmt.Sprint("cluster ", cluster), func(t *testing.T) {
			f := startLife(t, cluster, nil)
			id := f.must("", `create; user="42"; ttl=3600; data=`+b64(`{"plan":"free"}`))
			if len(id) != 43 {
				t.Errorf("the id %q is not 256 bits", id)
			}
			f.want(f.check(id), Valid, ReasonNone, "42")
			if got := f.get("session:" + id); got != `{"pillion_ttl":3600,"plan":"free","user_id":"42"}` {
				t.Errorf("the session is %s", got)
			}
			f.lifetime(id, time.Hour)

			f.must(id, `update; data=`+b64(`{"plan":"pro"}`))
			if got := f.get("session:" + id); got != `{"pillion_ttl":3600,"plan":"pro","user_id":"42"}` {
				t.Errorf("the update made %s", got)
			}
			f.lifetime(id, time.Hour)
			f.want(f.check(id), Valid, ReasonNone, "42") // this process sees its own write

			next := f.must(id, `rotate`)
			f.want(f.check(id), Absent, ReasonNotFound, "")
			f.want(f.check(next), Valid, ReasonNone, "42")
			f.lifetime(next, time.Hour)
			last := f.must(next, `rotate; ttl=60; data=`+b64(`{"plan":"x"}`))
			f.lifetime(last, time.Minute)
			f.want(f.check(next), Absent, ReasonNotFound, "")
			if list, _ := f.users.List(context.Background(), "42"); len(list) != 1 {
				t.Errorf("the index has %d sessions, want 1: %v", len(list), list)
			}

			if got := f.must(last, `destroy`); got != "" {
				t.Errorf("destroy sets the cookie %q", got)
			}
			f.want(f.check(last), Absent, ReasonNotFound, "")
			if left := f.sessions(); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func (f *lifeFixture) lifetime(id string, want time.Duration) {
	f.Helper()
	if got := f.pttl(id); got > want || got < want-20*time.Second {
		f.Errorf("the session lives for %v, want %v", got, want)
	}
}

// TestRenewalOfAnOwnLifetime: sliding renewal sets the lifetime that the application gave
// the session, not session.ttl.
func TestRenewalOfAnOwnLifetime(t *testing.T) {
	f := startLife(t, false, nil)
	f.run()
	short, usual := f.must("", `create; user="1"; ttl=600`), f.must("", `create; user="1"`)
	f.want(f.check(short), Valid, ReasonNone, "1")
	f.lifetime(short, 10*time.Minute)
	for _, id := range []string{short, usual} {
		f.do("PEXPIRE", "session:"+id, "300000")
	}
	f.eventually("both are renewed", func() bool {
		f.check(short)
		f.check(usual)
		return f.pttl(short) > 5*time.Minute && f.pttl(usual) > 5*time.Minute
	})
	f.lifetime(short, 10*time.Minute)
	f.lifetime(usual, 7*24*time.Hour)
}

// TestCreatedField: with an absolute timeout, a session says when it was made, and goes on
// to say so.
func TestCreatedField(t *testing.T) {
	f := startLife(t, false, func(c *Config) { c.AbsoluteTimeout, c.CreatedField = time.Hour, "meta.created" })
	id := f.must("", `create; user="42"; data=`+b64(`{"meta":{"a":1}}`))
	f.want(f.check(id), Valid, ReasonNone, "42")
	created, ok := f.check(id).Session.Field("meta.created")
	if !ok {
		t.Fatalf("the session is %s", f.get("session:"+id))
	}
	f.must(id, `update; data=`+b64(`{"b":1}`))
	id = f.must(id, `rotate`)
	f.want(f.check(id), Valid, ReasonNone, "42")
	if got, _ := f.check(id).Session.Field("meta.created"); got != created {
		t.Errorf("made at %q, and then at %q", created, got)
	}
}

func TestCreateReplacesTheSessionOfTheRequest(t *testing.T) {
	f := startLife(t, false, nil)
	f.set("planted", `{"user_id": 666}`) // known to an attacker
	id := f.must("planted", `create; user="42"`)
	f.want(f.check("planted"), Absent, ReasonNotFound, "")
	f.want(f.check(id), Valid, ReasonNone, "42")
}

func TestLifecycleErrors(t *testing.T) {
	f := startLife(t, false, nil)
	id := f.must("", `create; user="42"`)
	for _, c := range []struct {
		id, line string
		want     error
	}{
		{"", `update; data=` + b64(`{}`), ErrNoSession},
		{"", `rotate`, ErrNoSession},
		{"gone", `rotate`, ErrNoSession},
		{id, `update; data=` + b64(`{"user_id":"43"}`), new(InstructionError)},
		{id, `rotate; data=` + b64(`{"user_id":["43"]}`), new(InstructionError)},
		{id, `make`, new(InstructionError)},
	} {
		_, err := f.apply(c.id, c.line)
		var wrong *InstructionError
		if _, instruction := c.want.(*InstructionError); instruction && !errors.As(err, &wrong) || !instruction && !errors.Is(err, c.want) {
			t.Errorf("%s for %q: %v, want %T", c.line, c.id, err, c.want)
		}
	}
	f.want(f.check(id), Valid, ReasonNone, "42")
	// One that ends between the check and the write stays ended.
	current := f.check(id)
	f.do("DEL", "session:"+id)
	for _, line := range []string{`rotate`, `update; data=` + b64(`{}`)} {
		if _, err := f.life.Apply(context.Background(), []string{line}, current, time.Now()); !errors.Is(err, ErrNoSession) {
			t.Errorf("%s of a session that has ended: %v", line, err)
		}
	}
	if left := f.sessions(); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := f.life.Apply(context.Background(), []string{"create"}, Result{}, time.Now()); !errors.Is(err, redisconn.ErrUnavailable) {
		t.Errorf("with an unknown session: %v", err)
	}
}

// TestLifecycleFailures has each command of each instruction fail, or its reply lost:
// there is an error, and never a session under an id that no client was told.
func TestLifecycleFailures(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			f := startLife(t, cluster, nil)
			f.faulty.lost = lost
			for _, line := range []string{`create; user="42"`, `rotate`, `update; data=` + b64(`{"a":1}`), `destroy`, `destroy-all`} {
				t.Run(fmt.Sprintf("cluster %v lost %v %s", cluster, lost, line), func(t *testing.T) {
					f.everyFailure(t, line)
				})
			}
		}
	}
}

func (f *lifeFixture) everyFailure(t *testing.T, line string) {
	for step := int64(1); ; step++ {
		f.faulty.failAt.Store(0)
		f.do("FLUSHALL")
		old := f.must("", `create; user="42"`)
		f.faulty.calls.Store(0)
		f.faulty.failAt.Store(step)
		_, err := f.apply(old, line)
		if f.faulty.calls.Load() < step {
			if err != nil || step == 1 {
				t.Errorf("without a failure: %v after %d calls", err, step-1)
			}
			return
		}
		for _, key := range f.sessions() {
			if key != "session:"+old && err != nil {
				t.Errorf("step %d fails (%v), and %s is left", step, err, key)
			}
		}
		// The bookkeeping of the index is not what the answer is about.
		if err == nil && line != `destroy` && len(f.sessions()) > 1 {
			t.Errorf("step %d: two sessions are valid: %v", step, f.sessions())
		}
	}
}

func TestLogOutEverywhere(t *testing.T) {
	f := startLife(t, false, nil)
	var ids []string
	for range 5 {
		ids = append(ids, f.must("", `create; user="42"`))
	}
	other := f.must("", `create; user=7`)
	f.set("own", `{"user_id": 42}`) // the application's own, in the index once it was seen
	f.want(f.header("own"), Valid, ReasonNone, "42")
	f.users.Flush(context.Background())
	if got := f.must(other, `destroy-all; user="42"`); got != "-" {
		t.Errorf("ending another user's sessions sets the cookie %q", got)
	}
	for _, id := range append(ids, "own") {
		f.want(f.check(id), Absent, ReasonNotFound, "")
	}
	f.want(f.check(other), Valid, ReasonNone, "7")
	f.must(other, `destroy-all`)
	f.want(f.check(other), Absent, ReasonNotFound, "")
	if left := f.sessions(); len(left) != 0 {
		t.Errorf("left in Redis: %v", left)
	}
}

func TestMaxPerUser(t *testing.T) {
	f := startLife(t, false, func(c *Config) { c.MaxPerUser = 3 })
	var ids []string
	for range 3 {
		ids = append(ids, f.must("", `create; user="42"`))
		f.tick()
	}
	f.do("DEL", "session:"+ids[1]) // ended elsewhere: it does not count
	ids = append(ids, f.must("", `create; user="42"`))
	f.tick()
	for i, want := range []Status{Valid, Absent, Valid, Valid} {
		if got := f.check(ids[i]).Status; got != want {
			t.Errorf("session %d has status %d, want %d", i, got, want)
		}
	}
	rotated := f.must(ids[0], `rotate`) // it keeps its age, and ends nobody's session
	for _, id := range []string{rotated, ids[2], ids[3]} {
		f.want(f.check(id), Valid, ReasonNone, "42")
	}
	again := f.must(ids[3], `create; user="42"`) // it takes the place of the request's own
	for _, id := range []string{rotated, ids[2], again} {
		f.want(f.check(id), Valid, ReasonNone, "42")
	}
	f.must("", `create; user="42"`)
	f.want(f.check(rotated), Absent, ReasonNotFound, "")
	f.want(f.check(ids[2]), Valid, ReasonNone, "42")
}

// tick waits for the next millisecond of Redis's clock, by which sessions are ordered.
func (f *lifeFixture) tick() {
	now := func() string {
		v, err := f.redis.Do(context.Background(), f.redis.B().Time().Build()).AsStrSlice()
		if err != nil {
			f.Fatal(err)
		}
		return v[0] + v[1][:max(0, len(v[1])-3)]
	}
	first := now()
	f.eventually("a millisecond", func() bool { return now() != first })
}

func TestListAndEndByHandle(t *testing.T) {
	f := startLife(t, false, nil)
	ctx := context.Background()
	a, b := f.must("", `create; user="42"`), f.must("", `create; user="42"; ttl=60`)
	list, err := f.users.List(ctx, "42")
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, s := range list {
		if strings.Contains(s.Handle, a) || strings.Contains(s.Handle, b) || time.Since(s.Created).Abs() > time.Minute || s.Expires.IsZero() {
			t.Errorf("%+v", s)
		}
	}
	if list[0].LastSeen.IsZero() == list[1].LastSeen.IsZero() {
		t.Errorf("when a session was seen is known by a lifetime of session.ttl only: %+v", list)
	}
	for _, wrong := range []string{"", "x", strings.Repeat("z", 64), strings.Repeat("0", 64), list[0].Handle[:32] + strings.Repeat("0", 32)} {
		if found, err := f.users.End(ctx, wrong); found || err != nil {
			t.Errorf("handle %q: %v, %v", wrong, found, err)
		}
	}
	for _, s := range list {
		if found, err := f.users.End(ctx, s.Handle); !found || err != nil {
			t.Errorf("%v, %v", found, err)
		}
	}
	f.want(f.check(a), Absent, ReasonNotFound, "")
	f.want(f.check(b), Absent, ReasonNotFound, "")
}

// TestOwnWritesAreRead: a session that this process or another one created is valid
// with the next request, also when somebody has asked for absent ids before.
func TestOwnWritesAreRead(t *testing.T) {
	f := startLife(t, false, nil)
	other := startOther(f)
	for i := range 200 {
		f.header("absent" + strconv.Itoa(i))
		id := f.must("", `create; user="42"`)
		f.want(f.check(id), Valid, ReasonNone, "42")
		if r := other.Check(context.Background(), []byte("Cookie: __Host-session_id="+id+"\r\n"), time.Now()); r.Status != Valid {
			t.Fatalf("another process: %+v", r)
		}
	}
}

func startOther(f *lifeFixture) *Checker {
	f.Helper()
	rc := redisconn.Default()
	rc.URL, rc.Timeout, rc.MaxStaleness = "redis://"+f.srv.Addr, 3*time.Second, 5*time.Second
	conn, err := redisconn.Open(rc, 16<<20, zerolog.Nop())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(conn.Close)
	f.eventually("Redis is up", conn.Up)
	c, err := New(f.users.cfg, conn, zerolog.Nop())
	if err != nil {
		f.Fatal(err)
	}
	return c
}
