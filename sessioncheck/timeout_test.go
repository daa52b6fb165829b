package sessioncheck

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

func TestUnixMilli(t *testing.T) {
	for _, tc := range []struct {
		doc  string
		want int64 // 0: none
	}{
		{`{"at":1700000000}`, 1700000000000},
		{`{"at":1700000000.25}`, 1700000000250},
		{`{"at":1.7e9}`, 1700000000000},
		{`{"at":1700000000123}`, 1700000000123},
		{`{"at":"1700000000"}`, 1700000000000},
		{`{"at":"2023-11-14T22:13:20Z"}`, 1700000000000},
		{`{"at":"2023-11-14 22:13:20.5+00:00"}`, 1700000000500},
		{`{"at":"2023-11-15T00:13:20+02:00"}`, 1700000000000},
		{`{}`, 0}, {`{"at":null}`, 0}, {`{"at":""}`, 0}, {`{"at":"yesterday"}`, 0}, {`{"at":0}`, 0}, {`{"at":-5}`, 0},
		{`{"at":1e300}`, 0}, {`{"at":"NaN"}`, 0}, {`{"at":"Inf"}`, 0}, {`{"at":true}`, 0}, {`{"at":[1700000000]}`, 0},
	} {
		dec := json.NewDecoder(strings.NewReader(tc.doc))
		dec.UseNumber()
		var doc map[string]any
		if err := dec.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if got, ok := unixMilli(doc["at"]); got != tc.want || ok != (tc.want != 0) {
			t.Errorf("%s: %d %v, want %d", tc.doc, got, ok, tc.want)
		}
	}
}

func aged(c *Config) { c.TTL, c.AbsoluteTimeout, c.CreatedField = time.Hour, 2*time.Hour, "meta.at" }

func madeAgo(d time.Duration) string {
	return fmt.Sprintf(`{"user_id":1,"meta":{"at":%d}}`, time.Now().Add(-d).UnixMilli())
}

// A session ends at its age, be it in memory, and though it is used and renewed.
func TestAbsoluteTimeout(t *testing.T) {
	f := start(t, aged)
	f.run()
	f.set("young", madeAgo(time.Minute))
	f.set("old", madeAgo(2*time.Hour))
	f.set("undated", `{"user_id":1}`)
	f.want(f.header("young"), Valid, ReasonNone, "1")
	f.want(f.header("old"), Absent, ReasonTooOld, "")
	f.want(f.header("undated"), Absent, ReasonTooOld, "")
	now := time.Now()
	f.want(f.at("young", now.Add(119*time.Minute-time.Second)), Valid, ReasonNone, "1")
	if f.store.Peek([]byte("session:young"), now) == nil {
		t.Fatal("not in memory")
	}
	f.want(f.at("young", now.Add(119*time.Minute+time.Second)), Absent, ReasonTooOld, "")
	if n := f.Stats().Absent["too_old"]; n != 3 {
		t.Errorf("%d too old, want 3", n)
	}
}

// Renewal never goes beyond the absolute timeout, nor does it ask again and again when
// that is reached.
func TestRenewalStopsAtTheAbsoluteTimeout(t *testing.T) {
	f := start(t, aged)
	f.run()
	set := func(id string, ago, ttl time.Duration) {
		f.do("SET", "session:"+id, madeAgo(ago), "PX", strconv.FormatInt(ttl.Milliseconds(), 10))
	}
	set("near", 90*time.Minute, 10*time.Minute) // 30 minutes are left
	set("far", time.Minute, 10*time.Minute)
	set("beyond", 90*time.Minute, 50*time.Minute)
	ids := []string{"near", "far", "beyond"}
	for _, id := range ids {
		f.want(f.header(id), Valid, ReasonNone, "1")
	}
	f.eventually("two renewed", func() bool { return f.Stats().Renewed == 2 })
	for range 100 {
		for _, id := range ids {
			f.want(f.header(id), Valid, ReasonNone, "1")
		}
	}
	for id, want := range map[string]time.Duration{"near": 30 * time.Minute, "far": time.Hour, "beyond": 50 * time.Minute} {
		if left := f.pttl(id); left > want || left < want-time.Minute {
			t.Errorf("%s has %s, want %s", id, left, want)
		}
	}
	if n := f.store.expiredKeys.Load(); n != 2 {
		t.Errorf("%d keys sent, want 2", n)
	}
}

// The application raised the lifetime after the session was read, and before the push
// of that came: the renewal that is under way does not take it back.
func TestRenewalDoesNotShorten(t *testing.T) {
	f := start(t, hour)
	f.store.hold = make(chan struct{})
	f.run()
	f.setTTL("raised", time.Minute)
	f.setTTL("persistent", time.Minute)
	f.setTTL("due", time.Minute)
	for _, id := range []string{"raised", "persistent", "due"} {
		f.want(f.header(id), Valid, ReasonNone, "1")
	}
	f.do("EXPIRE", "session:raised", "36000")
	f.do("PERSIST", "session:persistent")
	close(f.store.hold)
	f.eventually("renewed", func() bool { return f.pttl("due") > 59*time.Minute })
	f.eventually("all sent", func() bool { return f.store.expiredKeys.Load() >= 3 })
	if left := f.pttl("raised"); left < 9*time.Hour {
		t.Errorf("the lifetime that the application raised is now %s", left)
	}
	if left := f.pttl("persistent"); left > 0 {
		t.Errorf("a session that the application made persistent has now %s", left)
	}
}

// TestPodsRenewOnce: many pods that find sessions due at one moment set each lifetime
// once together, as Redis counts it.
func TestPodsRenewOnce(t *testing.T) {
	const pods, sessions = 4, 50
	srv := redistest.Start(t)
	other := redistest.Client(t, srv)
	f := &fixture{TB: t, srv: srv, redis: other}
	checkers := make([]*Checker, pods)
	for i := range checkers {
		rc := redisconn.Default()
		rc.URL, rc.Timeout, rc.MaxStaleness = "redis://"+srv.Addr, 3*time.Second, 5*time.Second
		conn, err := redisconn.Open(rc, 16<<20, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		cfg := Default()
		hour(&cfg)
		if checkers[i], err = New(cfg, conn, zerolog.Nop()); err != nil {
			t.Fatal(err)
		}
		p := &fixture{TB: t, Checker: checkers[i]}
		p.run()
		f.eventually("Redis is up", conn.Up)
	}
	for i := range sessions {
		f.setTTL(fmt.Sprint("s", i), 30*time.Minute)
	}
	load := func() {
		var wg sync.WaitGroup
		for _, c := range checkers {
			wg.Go(func() {
				for n := range 20 * sessions {
					line := fmt.Sprintf("X-Session-ID: s%d\r\n", n%sessions)
					if r := c.Check(context.Background(), []byte(line), time.Now()); r.Status != Valid {
						t.Errorf("status %d", r.Status)
					}
				}
			})
		}
		wg.Wait()
	}
	load()
	f.eventually("all renewed", func() bool {
		var n uint64
		for _, c := range checkers {
			n += c.Stats().Renewed
		}
		return n >= sessions
	})
	load() // the interval is a minute: none is due now
	for _, c := range checkers {
		f.eventually("the queue is empty", func() bool {
			c.renewal.mu.Lock()
			defer c.renewal.mu.Unlock()
			return len(c.renewal.pending) == 0
		})
	}
	if n := f.commands("pexpire"); n != sessions {
		t.Errorf("%d PEXPIREs for %d sessions on %d pods", n, sessions, pods)
	}
}

// commands is how often Redis ran a command.
func (f *fixture) commands(name string) int {
	f.Helper()
	_, rest, found := strings.Cut(f.do("INFO", "commandstats"), "cmdstat_"+name+":calls=")
	if !found {
		return 0
	}
	digits, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(digits)
	if err != nil {
		f.Fatal(err)
	}
	return n
}
