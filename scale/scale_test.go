//go:build linux && !race

// The race detector multiplies memory and time, which these tests measure, so they
// run without it.

package scale

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// go test ./scale -v -size 4096 -idle 20000 -slow 200 -requests 20000
var (
	bodyMiB   = flag.Int64("size", 256, "size of the bodies of TestTransfers in MiB")
	idleConns = flag.Int("idle", 2000, "idle connections of TestIdleConnections")
	slowConns = flag.Int("slow", 50, "connections of TestIdleConnections that never finish a header")
	measured  = flag.Int("requests", 2000, "requests of each measurement of TestIdleConnections")
)

// patience bounds every wait for what should come at once.
const patience = time.Minute

// start runs the program between a Redis of its own and the handler.
func start(t *testing.T, config string, app http.Handler) (p *programtest.Process, direct string) {
	t.Helper()
	srv := httptest.NewServer(app)
	t.Cleanup(srv.Close)
	p = programtest.Start(t, programtest.Build(t), programtest.Options{
		Config: config, Redis: "redis://" + redistest.Start(t).Addr, Upstream: srv.URL,
		Env: []string{"PILLION_REDIS_TIMEOUT=5s", "PILLION_REDIS_MAX_STALENESS=5s"},
	})
	return p, srv.URL
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1fMiB", float64(n)/(1<<20)) }

// quantile sorts the samples.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(int(q*float64(len(samples))), len(samples)-1)]
}

func median(samples []time.Duration) time.Duration { return quantile(samples, 0.5) }
