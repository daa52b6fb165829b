package sessioncheck

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"
)

// run starts the renewal and ends it with the test, before the store is closed.
func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	f.Cleanup(func() { cancel(); <-done })
}

func (f *fixture) pttl(id string) time.Duration {
	n, err := f.redis.Do(context.Background(), f.redis.B().Pttl().Key("session:"+id).Build()).AsInt64()
	if err != nil {
		f.Fatal(err)
	}
	return time.Duration(n) * time.Millisecond
}

func hour(c *Config) { c.TTL = time.Hour } // interval: one minute

func (f *fixture) setTTL(id string, ttl time.Duration) {
	f.do("SET", "session:"+id, `{"user_id":1}`, "PX", strconv.FormatInt(ttl.Milliseconds(), 10))
}

func TestDue(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		ttl     time.Duration
		sliding bool
		left    time.Duration // 0: no expiry
		want    bool
	}{
		{time.Hour, true, time.Hour, false},
		{time.Hour, true, time.Hour - 59*time.Second, false},
		{time.Hour, true, time.Hour - 61*time.Second, true},
		{time.Hour, true, time.Second, true},
		{time.Hour, false, time.Second, false},
		{time.Hour, true, 0, false},
		{time.Hour, true, 24 * time.Hour, false}, // would be shortened
		{10 * time.Second, true, 9500 * time.Millisecond, false},
		{10 * time.Second, true, 8900 * time.Millisecond, true},
	} {
		r := newRenewal(&Config{TTL: tc.ttl, Sliding: tc.sliding})
		s := &Session{}
		if tc.left != 0 {
			s.expireAt = now.Add(tc.left).UnixMilli()
		}
		if got := r.due(s, now); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestRenewal(t *testing.T) {
	f := start(t, hour)
	f.run()
	f.setTTL("due", 30*time.Minute)
	f.setTTL("fresh", time.Hour)
	f.setTTL("longer", 5*time.Hour)
	f.do("SET", "session:forever", `{"user_id":1}`)
	for _, id := range []string{"due", "fresh", "longer", "forever"} {
		f.want(f.header(id), Valid, ReasonNone, "1")
	}
	f.eventually("renewed", func() bool { return f.pttl("due") > 59*time.Minute })
	// It is in memory again, and no request renews it now.
	f.eventually("counted", func() bool { return f.Stats().Renewed == 1 })
	for range 100 {
		for _, id := range []string{"due", "fresh", "longer", "forever"} {
			f.want(f.header(id), Valid, ReasonNone, "1")
		}
	}
	if n := f.store.expiredKeys.Load(); n != 1 {
		t.Errorf("%d keys renewed, want 1", n)
	}
	if left := f.pttl("longer"); left < 4*time.Hour {
		t.Errorf("the application's longer lifetime is now %s", left)
	}
	if left := f.pttl("forever"); left > 0 {
		t.Errorf("a session without an expiry now has %s", left)
	}
}

// A renewal of a session that has been logged out meanwhile must not bring it back.
func TestRenewalAfterLogout(t *testing.T) {
	f := start(t, hour)
	f.store.hold = make(chan struct{})
	f.run()
	f.setTTL("a", time.Minute)
	f.want(f.header("a"), Valid, ReasonNone, "1")
	f.do("DEL", "session:a")
	close(f.store.hold)
	f.eventually("EXPIRE sent", func() bool { return f.store.expires.Load() == 1 })
	f.eventually("absent", func() bool { return f.header("a").Status == Absent })
}

func TestRenewalIsPipelinedAndOncePerKey(t *testing.T) {
	f := start(t, hour)
	const sessions = 100
	for i := range sessions {
		f.setTTL(fmt.Sprint("s", i), time.Minute)
	}
	for range 5 {
		for i := range sessions {
			f.want(f.header(fmt.Sprint("s", i)), Valid, ReasonNone, "1")
		}
	}
	f.run() // only now: all are waiting
	f.eventually("all renewed", func() bool { return f.Stats().Renewed == sessions })
	if keys, calls := f.store.expiredKeys.Load(), f.store.expires.Load(); keys != sessions || calls != 1 {
		t.Errorf("%d keys in %d pipelines, want %d in 1", keys, calls, sessions)
	}
	if n := len(f.renewal.pending); n != 0 {
		t.Errorf("%d keys still pending", n)
	}
}

func TestRenewalTriesAgainAfterFailure(t *testing.T) {
	f := start(t, hour)
	f.store.expireDown.Store(true)
	f.run()
	f.setTTL("a", time.Minute)
	f.eventually("two failed renewals", func() bool {
		return f.header("a").Status == Valid && f.Stats().RenewFailed >= 2
	})
	if left := f.pttl("a"); left > time.Minute {
		t.Errorf("%s left after renewals that failed", left)
	}
	f.store.expireDown.Store(false)
	f.eventually("renewed", func() bool { f.header("a"); return f.pttl("a") > 59*time.Minute })
}

func TestRenewalQueueIsBounded(t *testing.T) {
	f := start(t, hour)
	now := time.Now()
	for i := range maxPendingRenewals + 10 {
		s, _ := f.schema.decode(fmt.Sprint("session:", i), `{}`, now.Add(time.Minute))
		f.account(Result{Status: Valid, Session: s}, true, now)
		if late := i >= maxPendingRenewals; s.renewing.Load() == late {
			t.Fatalf("session %d: queued %v", i, !late)
		}
	}
	if s := f.Stats(); s.RenewDropped != 10 || len(f.renewal.pending) != maxPendingRenewals {
		t.Errorf("%d dropped, %d pending", s.RenewDropped, len(f.renewal.pending))
	}
}
