package sessioncheck

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/redisconn"
)

// fromEnv lets `make revocation` ask for more than a test run does.
func fromEnv(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: write a number", name, text)
	}
	return n
}

// TestRevocation ends sessions while many processes use them: none is accepted later
// than the staleness bound after Redis has answered the DEL. It prints how long it took
// until the last process had refused.
func TestRevocation(t *testing.T) {
	pods, revocations := fromEnv(t, "PODS", 8), fromEnv(t, "REVOCATIONS", 40)
	const bound = 5 * time.Second
	f := start(t, nil)
	checkers := []*Checker{f.Checker}
	for range pods - 1 {
		checkers = append(checkers, f.pod(bound))
	}
	took := make([]time.Duration, 0, revocations)
	stop := f.load(checkers)
	for i := range revocations {
		took = append(took, f.revoke(checkers, fmt.Sprint("r", i), bound))
	}
	stop()
	slices.Sort(took)
	t.Logf("%d processes, %d revocations under load, from the reply to DEL to the last refusal: p50 %v, p99 %v, max %v",
		pods, revocations, took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

// pod is one more process on the same Redis.
func (f *fixture) pod(bound time.Duration) *Checker {
	f.Helper()
	rc := redisconn.Default()
	rc.URL, rc.Timeout, rc.MaxStaleness = "redis://"+f.srv.Addr, 3*time.Second, bound
	conn, err := redisconn.Open(rc, 4<<20, zerolog.Nop())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(conn.Close)
	f.eventually("Redis is up", conn.Up)
	c, err := New(Default(), conn, zerolog.Nop())
	if err != nil {
		f.Fatal(err)
	}
	return c
}

// pollEvery is between two checks of the session that ends, in each process.
const pollEvery = 200 * time.Microsecond

// load has each process check sessions that stay, 1,000 times a second, one of them
// changing 500 times a second.
func (f *fixture) load(checkers []*Checker) (stop func()) {
	f.set("busy", `{"user_id": 1}`)
	f.set("calm", `{"user_id": 2}`)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, c := range checkers {
		wg.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for {
				for _, id := range []string{"busy", "calm"} {
					c.Check(context.Background(), []byte("X-Session-ID: "+id+"\r\n"), time.Now())
				}
				select {
				case <-done:
					return
				case <-tick.C:
				}
			}
		})
	}
	wg.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C: // each write is pushed to every process
				f.redis.Do(context.Background(), f.redis.B().Set().Key("session:busy").Value(`{"user_id": 1}`).Build())
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// revoke ends one session that all processes have in memory, and gives how long after
// the reply to DEL the last of them refused it.
func (f *fixture) revoke(checkers []*Checker, id string, bound time.Duration) time.Duration {
	f.Helper()
	f.set(id, `{"user_id": 3}`)
	line := []byte("X-Session-ID: " + id + "\r\n")
	var warm, wg sync.WaitGroup
	warm.Add(len(checkers))
	ended := make(chan struct{})
	var deleted atomic.Int64 // nanoseconds after zero
	zero := time.Now()
	refused := make([]time.Duration, len(checkers))
	for i, c := range checkers {
		wg.Go(func() {
			f.eventually("the session is valid", func() bool { return c.Check(context.Background(), line, time.Now()).Status == Valid })
			warm.Done()
			<-ended
			for {
				began := time.Since(zero)
				r := c.Check(context.Background(), line, time.Now())
				refused[i] = time.Since(zero)
				if r.Status == Absent {
					break
				}
				// What a check says holds for when it began. Not to know may last.
				late := began - time.Duration(deleted.Load())
				if r.Status == Valid && late > bound || late > time.Minute {
					f.Errorf("%s has status %d %v after it was deleted", id, r.Status, late)
					break
				}
				// All of them share the cores of one machine with what reads from Redis: spinning,
				// they would measure the scheduler.
				time.Sleep(pollEvery)
			}
			if r := c.Check(context.Background(), line, time.Now()); r.Status == Valid {
				f.Errorf("%s is valid again after it was refused", id)
			}
		})
	}
	warm.Wait()
	f.do("DEL", "session:"+id)
	deleted.Store(int64(time.Since(zero)))
	close(ended)
	wg.Wait()
	return max(0, slices.Max(refused)-time.Duration(deleted.Load()))
}
