// Package redistest starts a real redis-server for a test and ends it with the test.
package redistest

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redisproc"
)

// Start runs a redis-server of the test's own, on a Unix socket and a loopback
// port. The test fails when the program is missing.
func Start(tb testing.TB, args ...string) *redisproc.Server {
	tb.Helper()
	srv, err := redisproc.Start(redisproc.Options{TCP: true, Args: args})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return srv
}

// Client opens a plain client, without client-side caching, to look at and change
// what is in Redis as another program would.
func Client(tb testing.TB, srv *redisproc.Server) rueidis.Client {
	tb.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{srv.Addr}, DisableCache: true, ForceSingleClient: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// Do runs a command, given as words. The test fails when Redis replies with an error.
func Do(tb testing.TB, c rueidis.Client, args ...string) rueidis.RedisResult {
	tb.Helper()
	res := c.Do(context.Background(), c.B().Arbitrary(args...).Build())
	if err := res.Error(); err != nil && !rueidis.IsRedisNil(err) {
		tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return res
}

// Int runs a command that replies with a number.
func Int(tb testing.TB, c rueidis.Client, args ...string) int64 {
	tb.Helper()
	n, err := Do(tb, c, args...).AsInt64()
	if err != nil {
		tb.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return n
}
