package sessioncheck

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
)

// trackedKeys is the size of Redis's tracking table.
func (f *fixture) trackedKeys() int {
	f.Helper()
	text, err := f.redis.Do(context.Background(), f.redis.B().Info().Section("stats").Build()).ToString()
	if err != nil {
		f.Fatal(err)
	}
	m := regexp.MustCompile(`tracking_total_keys:(\d+)`).FindStringSubmatch(text)
	if m == nil {
		f.Fatalf("INFO stats has no tracking_total_keys:\n%s", text)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestMadeUpIDs floods a process with ids that are none: they leave nothing in its
// memory and in Redis's tracking table, and a session that exists stays valid.
func TestMadeUpIDs(t *testing.T) {
	ids, clients := 100_000, 64
	if raceEnabled {
		ids = 20_000
	}
	f := start(t, nil)
	f.set("good", `{"user_id": 1}`)
	f.want(f.header("good"), Valid, ReasonNone, "1")
	items, tracked := f.store.Stats().Items, f.trackedKeys()
	if items == 0 || tracked == 0 {
		t.Fatalf("%d items in memory and %d tracked keys before: nothing could be seen to grow", items, tracked)
	}
	var wg, valid sync.WaitGroup
	var wrong, bad atomic.Int64
	for range clients {
		wg.Go(func() {
			for range ids / clients {
				if f.header(newID()).Status == Valid {
					wrong.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	valid.Go(func() {
		for n := 0; ; n++ {
			if r := f.header("good"); r.Status != Valid {
				bad.Add(1)
			}
			select {
			case <-done:
				t.Logf("%d valid requests meanwhile", n)
				return
			default:
			}
		}
	})
	wg.Wait()
	close(done)
	valid.Wait()
	if wrong.Load() > 0 || bad.Load() > 0 {
		t.Errorf("%d made-up ids were valid, and %d requests of a valid session were refused", wrong.Load(), bad.Load())
	}
	if now := f.store.Stats().Items; now != items {
		t.Errorf("%d values in memory, %d before", now, items)
	}
	if now := f.trackedKeys(); now != tracked {
		t.Errorf("%d tracked keys, %d before", now, tracked)
	}
}

// TestProbesAreBounded fills the places of those that ask Redis: one more is told that
// nothing is known, and a session in memory is valid as ever.
func TestProbesAreBounded(t *testing.T) {
	f := start(t, nil)
	f.set("good", `{"user_id": 1}`)
	f.want(f.header("good"), Valid, ReasonNone, "1")
	for range maxProbes {
		f.probes.slots <- struct{}{}
	}
	f.want(f.header("unknown"), Unknown, ReasonUnavailable, "")
	f.want(f.header("good"), Valid, ReasonNone, "1")
	if n := f.Stats().ProbesRejected; n != 1 {
		t.Errorf("%d probes rejected, want 1", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.probe(ctx, "session:x"); !errors.Is(err, redisconn.ErrUnavailable) {
		t.Errorf("a probe whose request has gone: %v", err)
	}
	<-f.probes.slots
	f.want(f.Check(context.Background(), []byte("X-Session-ID: unknown\r\n"), time.Now()), Absent, ReasonNotFound, "")
}
