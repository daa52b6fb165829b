package sessioncheck

import (
	"fmt"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
)

// blind is a store whose server pushes nothing, and whose memory has nothing.
type blind struct{ *watchedStore }

func (blind) Tracking() bool                          { return false }
func (blind) Peek([]byte, time.Time) *redisconn.Value { return nil }
func (blind) Watch(string) (<-chan struct{}, func())  { return nil, func() {} }

func (f *fixture) valid(id string) *Session {
	f.Helper()
	r := f.header(id)
	if r.Status != Valid {
		f.Fatalf("session %s: %+v", id, r)
	}
	return r.Session
}

// told waits for the end of a watch.
func (f *fixture) told(what string, ended <-chan struct{}) {
	f.Helper()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		f.Fatalf("not told within a minute: %s", what)
	}
}

// notTold waits until the watch has looked again, and expects that it went on.
func (f *fixture) notTold(what string, ended <-chan struct{}, change func()) {
	f.Helper()
	before := f.store.gets.Load()
	change()
	f.eventually("the watch looks again", func() bool { return f.store.gets.Load() > before })
	// What it makes of it is known when the next subscriber has been answered.
	probe := f.subscribe(f.valid("s1"), mustPolicy(f, map[string][]string{"user_id": {"nobody"}}))
	f.told("the probe", probe)
	select {
	case <-ended:
		f.Errorf("%s ended the watch", what)
	default:
	}
}

func mustPolicy(f *fixture, require map[string][]string) *CompiledPolicy {
	f.Helper()
	p, err := CompilePolicy(Policy{Require: require})
	if err != nil {
		f.Fatal(err)
	}
	return p
}

func (f *fixture) subscribe(s *Session, p *CompiledPolicy) <-chan struct{} {
	ended := make(chan struct{})
	f.Watch(s, p, func() { close(ended) }) // twice would panic
	return ended
}

func TestWatch(t *testing.T) {
	const json = `{"user_id": 7, "role": "admin"}`
	key := "session:s1"
	for _, tracking := range []bool{true, false} {
		t.Run(fmt.Sprint("tracking ", tracking), func(t *testing.T) {
			f := start(t, nil, WithStaleness(20*time.Millisecond))
			if !tracking {
				f.Checker.store = blind{f.store}
			}
			t.Cleanup(f.Close)
			for what, change := range map[string]func(){
				"DEL":                func() { f.do("DEL", key) },
				"UNLINK":             func() { f.do("UNLINK", key) },
				"RENAME":             func() { f.do("RENAME", key, "elsewhere") },
				"FLUSHDB":            func() { f.do("FLUSHDB") },
				"EXPIRE 0":           func() { f.do("EXPIRE", key, "0") },
				"expiry":             func() { f.do("PEXPIRE", key, "100") },
				"another user":       func() { f.do("SET", key, `{"user_id": 8, "role": "admin"}`) },
				"no user":            func() { f.do("SET", key, `{"role": "admin"}`) },
				"what is no session": func() { f.do("SET", key, `[]`) },
				"another role":       func() { f.do("SET", key, `{"user_id": 7, "role": "guest"}`) },
			} {
				f.set("s1", json)
				f.eventually("the session is seen", func() bool { return f.header("s1").Status == Valid })
				s := f.valid("s1")
				admin := f.subscribe(s, mustPolicy(f, map[string][]string{"role": {"admin"}}))
				anybody := f.subscribe(s, nil)
				change()
				f.told(what, admin)
				if what != "another role" {
					f.told(what, anybody)
				}
			}
		})
	}
}

func TestWatchGoesOn(t *testing.T) {
	f := start(t, nil)
	t.Cleanup(f.Close)
	f.set("s1", `{"user_id": 7, "role": "admin"}`)
	ended := f.subscribe(f.valid("s1"), mustPolicy(f, map[string][]string{"role": {"admin"}}))
	f.notTold("a renewal", ended, func() { f.do("EXPIRE", "session:s1", "9999") })
	f.notTold("an update", ended, func() { f.do("SET", "session:s1", `{"user_id": "7", "role": ["admin", "x"], "n": 1}`, "EX", "99") })
	f.notTold("no expiry", ended, func() { f.do("PERSIST", "session:s1") })
	f.do("DEL", "session:s1")
	f.told("DEL", ended)
}

// TestWatchInAnOutage: what is not known ends nothing, and is asked again.
func TestWatchInAnOutage(t *testing.T) {
	f := start(t, nil, WithStaleness(5*time.Millisecond))
	t.Cleanup(f.Close)
	f.set("s1", `{"user_id": 7}`)
	ended := f.subscribe(f.valid("s1"), nil)
	f.store.down.Store(true)
	f.do("DEL", "session:s1")
	before := f.store.gets.Load()
	f.eventually("it is asked several times", func() bool { return f.store.gets.Load() > before+3 })
	select {
	case <-ended:
		t.Fatal("ended without an answer")
	default:
	}
	f.store.down.Store(false)
	f.told("the session has gone", ended)
}

// TestWatchIsShared: one goroutine for a session, for as long as anybody depends on it.
func TestWatchIsShared(t *testing.T) {
	f := start(t, nil)
	f.set("s1", `{"user_id": 7}`)
	f.set("s2", `{"user_id": 8}`)
	var stops []func()
	for range 100 {
		for _, id := range []string{"s1", "s2"} {
			stops = append(stops, f.Watch(f.valid(id), nil, func() { t.Error("ended") }))
		}
	}
	if n := f.Stats().Watched; n != 2 {
		t.Errorf("%d sessions are watched, want 2", n)
	}
	for _, stop := range stops {
		stop()
		stop() // does nothing
	}
	if n := f.Stats().Watched; n != 0 {
		t.Errorf("%d sessions are watched, want none", n)
	}
	f.do("FLUSHDB")
	f.eventually("the session has gone", func() bool { return f.header("s1").Status == Absent })
	// Too late for a check of its own, as when the session went in between.
	f.set("s1", `{"user_id": 7}`)
	s := f.valid("s1")
	f.do("DEL", "session:s1")
	f.eventually("the session has gone", func() bool { return f.header("s1").Status == Absent })
	f.told("a session that had gone before", f.subscribe(s, nil))
	if n := f.Stats().WatchEnded; n != 1 {
		t.Errorf("%d were told, want 1", n)
	}
	f.set("s1", `{"user_id": 7}`)
	f.Watch(f.valid("s1"), nil, func() { t.Error("told by Close") })
	f.Close()
	f.Watch(f.valid("s1"), nil, func() { t.Error("told after Close") })()
}

// TestWatchByTheClock: where nothing is pushed, and the next look is far, the session's
// own lifetime says when to look.
func TestWatchByTheClock(t *testing.T) {
	f := start(t, nil, WithStaleness(time.Hour))
	f.Checker.store = blind{f.store}
	t.Cleanup(f.Close)
	var s *Session
	f.eventually("the session is seen before it expires", func() bool {
		f.do("SET", "session:s1", `{"user_id": 7}`, "PX", "150")
		s = f.header("s1").Session
		return s != nil
	})
	f.told("expiry", f.subscribe(s, nil))
}
