package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

// TestMain looks for goroutines that are left. Two of the client's end by themselves some
// seconds after its Close: of a Cluster, it looks who has which slots with a delay, and
// closes late the connections that it has no use for any more.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*clusterClient)._refresh.func2"))
}

// patience bounds what is certain to happen, but may take long on a busy machine.
const patience = time.Minute

// patient gives settings with which a busy machine is not taken for a Redis that is down.
func patient() redisconn.Config {
	cfg := redisconn.Default()
	cfg.Timeout, cfg.MaxStaleness = patience/2, patience/3
	return cfg
}

// hasty gives back the default times, for tests of a Redis that is down.
func hasty(cfg *redisconn.Config) {
	own := redisconn.Default()
	cfg.Timeout, cfg.MaxStaleness = own.Timeout, own.MaxStaleness
}

func open(t testing.TB, url string, change ...func(*redisconn.Config)) *redisconn.Conn {
	t.Helper()
	cfg := patient()
	cfg.URL = url
	for _, f := range change {
		f(&cfg)
	}
	c, err := redisconn.Open(cfg, 16<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func start(t testing.TB, change ...func(*redisconn.Config)) (*redisproc.Server, *redisconn.Conn, rueidis.Client) {
	srv := redistest.Start(t)
	c := open(t, "redis://"+srv.Addr, change...)
	eventually(t, "up", c.Up)
	return srv, c, redistest.Client(t, srv)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		time.Sleep(time.Millisecond) // polling with a bound
	}
}

func set(t testing.TB, c rueidis.Client, key, val string) {
	t.Helper()
	if err := c.Do(context.Background(), c.B().Set().Key(key).Value(val).ExSeconds(600).Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, c *redisconn.Conn, key string, mode redisconn.Mode) *redisconn.Value {
	t.Helper()
	v, err := c.Get(context.Background(), key, mode)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestReadIsKeptUntilAnotherClientChangesIt(t *testing.T) {
	_, c, other := start(t)
	ctx := context.Background()
	changes := map[string]func() rueidis.Completed{
		"SET":     func() rueidis.Completed { return other.B().Set().Key("k").Value("new").Build() },
		"DEL":     func() rueidis.Completed { return other.B().Del().Key("k").Build() },
		"UNLINK":  func() rueidis.Completed { return other.B().Unlink().Key("k").Build() },
		"EXPIRE":  func() rueidis.Completed { return other.B().Expire().Key("k").Seconds(60).Build() },
		"RENAME":  func() rueidis.Completed { return other.B().Rename().Key("k").Newkey("k2").Build() },
		"FLUSHDB": func() rueidis.Completed { return other.B().Flushdb().Build() },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			set(t, other, "k", "old")
			if v := get(t, c, "k", redisconn.ForgetAbsent); !v.Exists() || v.String() != "old" {
				t.Fatalf("read %q exists=%v, want old", v.String(), v.Exists())
			}
			if c.Peek([]byte("k"), time.Now()) == nil {
				t.Fatal("a value just read is not in memory")
			}
			if err := other.Do(ctx, change()).Error(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "invalidated", func() bool { return c.Peek([]byte("k"), time.Now()) == nil })
		})
	}
}

func TestNaturalExpiry(t *testing.T) {
	_, c, other := start(t)
	if err := other.Do(context.Background(), other.B().Set().Key("k").Value("v").PxMilliseconds(10_000).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	v := get(t, c, "k", redisconn.ForgetAbsent)
	if left := time.Until(v.ExpireAt()); left <= 0 || left > 10*time.Second {
		t.Fatalf("expires in %s, want up to 10s", left)
	}
	if c.Peek([]byte("k"), v.ExpireAt().Add(-time.Millisecond)) == nil {
		t.Fatal("memory does not answer until the key's expiry")
	}
	if c.Peek([]byte("k"), v.ExpireAt().Add(time.Millisecond)) != nil {
		t.Fatal("memory answers after the key's expiry")
	}
}

func TestOwnWritesOfSeveralKeysAreSeenAtOnce(t *testing.T) {
	_, c, _ := start(t)
	keys := []string{"a", "b", "c"}
	for i := range 1000 {
		want := fmt.Sprint(i)
		if err := c.WriteAll(context.Background(), keys, func(b rueidis.Builder, i int) rueidis.Completed {
			return b.Set().Key(keys[i]).Value(want).ExSeconds(60).Build()
		}); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if v := c.Peek([]byte(key), time.Now()); v != nil && v.String() != want {
				t.Fatalf("round %d: memory answers %q after the write of %q returned", i, v.String(), want)
			}
			if v := get(t, c, key, redisconn.ForgetAbsent); v.String() != want {
				t.Fatalf("round %d: read %q, want %q", i, v.String(), want)
			}
		}
	}
	err := c.WriteAll(context.Background(), keys[:2], func(b rueidis.Builder, i int) rueidis.Completed {
		return b.Arbitrary([]string{"LPUSH", "SET"}[i]).Keys(keys[i]).Args("x").Build() // the first is no list
	})
	if !errors.Is(err, redisconn.ErrUnavailable) || get(t, c, "b", redisconn.ForgetAbsent).String() != "x" {
		t.Errorf("%v, %q", err, get(t, c, "b", redisconn.ForgetAbsent).String())
	}
}

func TestOwnWriteIsSeenAtOnce(t *testing.T) {
	_, c, _ := start(t)
	ctx := context.Background()
	for i := range 2000 {
		want := fmt.Sprint(i)
		if _, err := c.Write(ctx, "k", func(b rueidis.Builder) rueidis.Completed {
			return b.Set().Key("k").Value(want).ExSeconds(60).Build()
		}); err != nil {
			t.Fatal(err)
		}
		if v := c.Peek([]byte("k"), time.Now()); v != nil && v.String() != want {
			t.Fatalf("round %d: memory answers %q after the write of %q returned", i, v.String(), want)
		}
		if v := get(t, c, "k", redisconn.ForgetAbsent); v.String() != want {
			t.Fatalf("round %d: read %q, want %q", i, v.String(), want)
		}
	}
}

// Readers run all the time while the key is written. A read that begins after a
// write has returned must never see the value before it.
func TestReadersNeverGoBackDuringOwnWrites(t *testing.T) {
	_, c, _ := start(t)
	ctx := context.Background()
	var mu sync.Mutex
	written := 0
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				least := written
				mu.Unlock()
				v := c.Peek([]byte("n"), time.Now())
				if v == nil {
					var err error
					if v, err = c.Get(ctx, "n", redisconn.ForgetAbsent); err != nil {
						continue // slow under -race is not wrong
					}
				}
				var got int
				fmt.Sscan(v.String(), &got)
				if got < least {
					t.Errorf("read %d after the write of %d had returned", got, least)
					return
				}
			}
		})
	}
	for i := 1; i <= 1000; i++ {
		val := fmt.Sprint(i)
		if _, err := c.Write(ctx, "n", func(b rueidis.Builder) rueidis.Completed {
			return b.Set().Key("n").Value(val).ExSeconds(60).Build()
		}); err != nil {
			continue
		}
		mu.Lock()
		written = i
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
}

func TestAbsence(t *testing.T) {
	srv, c, other := start(t)
	if v := get(t, c, "nope", redisconn.ForgetAbsent); v.Exists() {
		t.Fatal("an absent key exists")
	}
	if c.Peek([]byte("nope"), time.Now()) != nil {
		t.Fatal("absence was kept though nobody asked")
	}
	get(t, c, "mark", redisconn.RememberAbsent)
	v := c.Peek([]byte("mark"), time.Now())
	if v == nil || v.Exists() {
		t.Fatalf("remembered absence: got %v", v)
	}
	set(t, other, "mark", "1")
	eventually(t, "absence invalidated", func() bool { return c.Peek([]byte("mark"), time.Now()) == nil })

	before := infoField(t, srv, "tracking_total_keys")
	for i := range 500 {
		get(t, c, fmt.Sprintf("session:made-up-%d", i), redisconn.ProbeFirst)
	}
	if after := infoField(t, srv, "tracking_total_keys"); after != before {
		t.Fatalf("made-up ids grew the tracking table from %s to %s keys", before, after)
	}
}

func infoField(t *testing.T, srv *redisproc.Server, field string) string {
	t.Helper()
	c := redistest.Client(t, srv)
	info, err := c.Do(context.Background(), c.B().Info().Section("stats").Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("INFO has no %s", field)
	return ""
}

func TestWrongTypeIsUnknownNotAbsent(t *testing.T) {
	_, c, other := start(t)
	other.Do(context.Background(), other.B().Rpush().Key("l").Element("x").Build())
	for range 2 { // and it is not remembered
		if _, err := c.Get(context.Background(), "l", redisconn.ForgetAbsent); !errors.Is(err, redisconn.ErrUnavailable) {
			t.Fatalf("GET of a list: %v, want ErrUnavailable", err)
		}
	}
	other.Do(context.Background(), other.B().Del().Key("l").Build())
	if v := get(t, c, "l", redisconn.ForgetAbsent); v.Exists() {
		t.Fatal("still there after DEL")
	}
}

func TestMemoryIsNotTrustedWithoutHeartbeat(t *testing.T) {
	srv, c, other := start(t, hasty)
	set(t, other, "k", "v")
	eventually(t, "read", func() bool {
		_, err := c.Get(context.Background(), "k", redisconn.ForgetAbsent)
		return err == nil && c.Peek([]byte("k"), time.Now()) != nil // trusted right after a heartbeat
	})
	if err := srv.Pause(); err != nil {
		t.Fatal(err)
	}
	// The clock decides, not a timer: the same question, asked as of later.
	if c.Peek([]byte("k"), time.Now().Add(1100*time.Millisecond)) != nil {
		t.Error("memory is trusted without a heartbeat for longer than max_staleness")
	}
	if _, err := c.Get(context.Background(), "k", redisconn.ForgetAbsent); !errors.Is(err, redisconn.ErrUnavailable) {
		t.Errorf("a read from a hung redis: %v, want ErrUnavailable", err)
	}
	eventually(t, "down", func() bool { return !c.Up() })
	if err := srv.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "up again", c.Up)
	eventually(t, "readable again", func() bool {
		v, err := c.Get(context.Background(), "k", redisconn.ForgetAbsent)
		return err == nil && v.String() == "v"
	})
}

// A hung Redis with far more callers than a queue holds: all are told in time.
func TestHungRedisFailsFastForAll(t *testing.T) {
	srv, c, _ := start(t, hasty)
	if err := srv.Pause(); err != nil {
		t.Fatal(err)
	}
	defer srv.Resume()
	var wg sync.WaitGroup
	var inTime atomic.Int64
	for i := range 400 {
		wg.Go(func() {
			_, err := c.Get(context.Background(), fmt.Sprint("k", i), redisconn.ForgetAbsent)
			if !errors.Is(err, redisconn.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
				return
			}
			// Told by the end of the timeout, or after that. Who waits for longer is told
			// by the end of the connection, when the client has found it dead.
			if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "waited") || strings.Contains(err.Error(), "redis is down") {
				inTime.Add(1)
			}
		})
	}
	wg.Wait()
	// A machine that stands still for longer than all that confuses some.
	if n := inTime.Load(); n < 200 {
		t.Errorf("%d of 400 callers were told by the timeout", n)
	}
}

func TestStartsWhileRedisIsDownAndRecovers(t *testing.T) {
	srv := redistest.Start(t)
	srv.Kill()
	c := open(t, "redis://"+srv.Addr, hasty)
	if c.Up() {
		t.Fatal("up without a server")
	}
	if _, err := c.Get(context.Background(), "k", redisconn.ForgetAbsent); !errors.Is(err, redisconn.ErrUnavailable) {
		t.Fatalf("got %v, want ErrUnavailable", err)
	}
	for range 3 {
		if err := srv.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "up", c.Up)
		eventually(t, "readable", func() bool {
			_, err := c.Get(context.Background(), "k", redisconn.RememberAbsent)
			return err == nil
		})
		srv.Kill()
		eventually(t, "down", func() bool { return !c.Up() })
	}
}

// What was in memory before the connection broke must not be served after it is
// back: an invalidation may have been missed.
func TestReconnectForgets(t *testing.T) {
	srv, c, other := start(t)
	set(t, other, "k", "old")
	get(t, c, "k", redisconn.ForgetAbsent)
	// On connections of their own: the kill ends all that it does not come by.
	for _, cmd := range [][]string{{"CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"}, {"SET", "k", "new", "EX", "600"}} {
		if line, err := srv.Command(cmd...); err != nil || line[0] == '-' {
			t.Fatalf("%v: %q %v", cmd, line, err)
		}
	}
	eventually(t, "new value", func() bool {
		v := c.Peek([]byte("k"), time.Now())
		if v == nil {
			v, _ = c.Get(context.Background(), "k", redisconn.ForgetAbsent)
		}
		return v != nil && v.String() == "new"
	})
}

func TestWatch(t *testing.T) {
	_, c, other := start(t)
	ctx := context.Background()
	changed, stop := c.Watch("z")
	defer stop()
	client := c.Client()
	if err := client.DoCache(ctx, client.B().Zrange().Key("z").Min("0").Max("0").Withscores().Cache(), time.Minute).Error(); err != nil {
		t.Fatal(err)
	}
	other.Do(ctx, other.B().Zadd().Key("z").ScoreMember().ScoreMember(1, "m").Build())
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
		t.Fatal("no signal after the key changed")
	}
}

func TestUntracked(t *testing.T) {
	m := miniredis.RunT(t)
	c := open(t, "redis://"+m.Addr())
	eventually(t, "up", c.Up)
	if c.Tracking() {
		t.Fatal("tracking on a server that has none")
	}
	m.Set("k", "a")
	m.SetTTL("k", time.Minute)
	if v := get(t, c, "k", redisconn.ProbeFirst); v.String() != "a" || v.ExpireAt().IsZero() {
		t.Fatalf("got %q expiring %s", v.String(), v.ExpireAt())
	}
	if c.Peek([]byte("k"), time.Now()) != nil {
		t.Fatal("what was read with ProbeFirst is kept in memory without tracking")
	}
	get(t, c, "k", redisconn.ForgetAbsent)
	if v := c.Peek([]byte("k"), time.Now()); v == nil || v.String() != "a" {
		t.Fatal("not kept for a moment")
	}
	if c.Peek([]byte("k"), time.Now().Add(patient().MaxStaleness)) != nil {
		t.Fatal("kept for longer than max_staleness")
	}
	m.Set("k", "b")
	if v := get(t, c, "k", redisconn.ForgetAbsent); v.String() != "b" {
		t.Fatalf("got %q, want b", v.String())
	}
	if _, err := c.Write(context.Background(), "k", func(b rueidis.Builder) rueidis.Completed { return b.Set().Key("k").Value("c").Build() }); err != nil {
		t.Fatal(err)
	}
	if c.Peek([]byte("k"), time.Now()) != nil {
		t.Fatal("an own write left the old value in memory")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	srv := redistest.Start(t)
	cfg := patient()
	cfg.URL = "redis://" + srv.Addr
	c, err := redisconn.Open(cfg, 1<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := redistest.Client(t, srv)
	val := strings.Repeat("x", 10_000)
	for i := range 300 {
		key := fmt.Sprint("k", i)
		set(t, other, key, val)
		get(t, c, key, redisconn.ForgetAbsent)
		get(t, c, "hot", redisconn.RememberAbsent)
		c.Peek([]byte("hot"), time.Now())
	}
	s := c.Stats()
	if s.Bytes > 1<<20 || s.Evictions == 0 || s.Items == 0 {
		t.Fatalf("after 3 MB through 1 MiB: %+v", s)
	}
	if c.Peek([]byte("hot"), time.Now()) == nil {
		t.Error("a key that was read all the time was evicted by a scan")
	}
}

func TestPeekDoesNotAllocate(t *testing.T) {
	_, c, other := start(t)
	set(t, other, "k", "v")
	get(t, c, "k", redisconn.ForgetAbsent)
	key, now := []byte("k"), time.Now()
	if n := testing.AllocsPerRun(1000, func() {
		if c.Peek(key, now) == nil {
			t.Fatal("not in memory")
		}
	}); n != 0 {
		t.Fatalf("%v allocations per Peek", n)
	}
}

func BenchmarkPeek(b *testing.B) {
	_, c, other := start(b)
	set(b, other, "k", "v")
	if _, err := c.Get(context.Background(), "k", redisconn.ForgetAbsent); err != nil {
		b.Fatal(err)
	}
	key := []byte("k")
	b.ReportAllocs()
	for b.Loop() {
		c.Peek(key, time.Now())
	}
}

// BenchmarkPeekAmongMany takes names as long as those of stored responses, in no order.
func BenchmarkPeekAmongMany(b *testing.B) {
	_, c, other := start(b)
	keys := make([][]byte, 1<<13)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "pillion:c:{%022d}", i*7919)
		set(b, other, string(keys[i]), "v")
		if _, err := c.Get(context.Background(), string(keys[i]), redisconn.ForgetAbsent); err != nil {
			b.Fatal(err)
		}
	}
	rand.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	now := time.Now()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i++; c.Peek(keys[i&(len(keys)-1)], now) == nil {
			b.StopTimer() // its memory is not trusted for longer
			now = time.Now()
			b.StartTimer()
		}
	}
}
