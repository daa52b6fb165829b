//go:build linux && !race

package hotpath

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

var (
	update   = flag.Bool("update", false, "write what was counted as the new baseline")
	requests = flag.Int("requests", 20_000, "how many requests of each scenario are counted")
)

const config = `
rules:
  - { name: hit, match: { path: /hit }, session: none, cache: { ttl: 1h } }
  - { name: session, match: { path: /session }, session: required, cache: { ttl: 1h } }
  - { name: pass, match: { path: /pass }, session: none, cache: off }
`

// warmUp is how many requests come before those that are counted: connections are open
// then, pools are filled, and what is stored is in memory.
const warmUp = 2000

// scenarios are names of what is measured, in order.
func scenarios() []string { return []string{"hit", "304", "session", "pass", "post"} }

// request is that of a scenario, and the status and length of its answer.
func request(name string) (send []byte, status, size int) {
	switch name {
	case "304":
		return []byte("GET /hit HTTP/1.1\r\nIf-None-Match: \"v1\"\r\n" + fields), http.StatusNotModified, 0
	case "post":
		return []byte("POST /pass HTTP/1.1\r\nContent-Length: 1024\r\n" + fields + strings.Repeat("x", 1024)), http.StatusOK, 1024
	}
	return []byte("GET /" + name + " HTTP/1.1\r\n" + fields), http.StatusOK, 1024
}

const fields = "Host: app.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0\r\n" +
	"Accept: text/html,*/*;q=0.8\r\nAccept-Language: en\r\nCookie: theme=dark; session_id=s1\r\n\r\n"

func TestHotpath(t *testing.T) {
	r, known := newRig(t), readBaseline(t)
	t.Run("counts", func(t *testing.T) {
		p := r.start(t)
		for _, name := range scenarios() {
			t.Run(name, func(t *testing.T) { known.compare(t, name, count(t, p, name)) })
		}
	})
	t.Run("instructions", func(t *testing.T) {
		g := r.startCallgrind(t)
		for _, name := range scenarios() {
			t.Run(name, func(t *testing.T) {
				unit := instructions()
				known.compare(t, name, costs{unit: g.count(t, name, known[name][unit])})
			})
		}
	})
	if *update {
		known.write(t)
	}
}

// rig is what the program needs beside it.
type rig struct{ binary, redis, app string }

func newRig(t *testing.T) *rig {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		w.Header().Set("ETag", `"v1"`)
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	}))
	t.Cleanup(app.Close)
	redis := redistest.Start(t)
	client := redistest.Client(t, redis)
	set := client.B().Set().Key("session:s1").Value(`{"user_id":7}`).ExSeconds(3600).Build()
	if err := client.Do(context.Background(), set).Error(); err != nil {
		t.Fatal(err)
	}
	return &rig{programtest.Build(t), "redis://" + redis.Addr, app.URL}
}

// start runs the program under another, or by itself.
func (r *rig) start(t *testing.T, under ...string) *programtest.Process {
	t.Helper()
	env, tries := []string{"GOMAXPROCS=1"}, 1
	if len(under) > 0 {
		tries = 3 // valgrind may end for reasons of its own
		env = append(env, callgrindEnv()...)
	}
	return programtest.Start(t, r.binary, programtest.Options{
		Config: config, Redis: r.redis, Upstream: r.app, Env: env, Under: under, Tries: tries,
	})
}

// count gives what one request costs, by unit.
func count(t *testing.T, p *programtest.Process, name string) costs {
	ask := asker(t, p, name)
	for range warmUp {
		ask()
	}
	idle := allocations(t, p) // a reading costs some itself
	idle = allocations(t, p) - idle
	out := make(costs)
	before := allocations(t, p)
	for range *requests {
		ask()
	}
	perRequest := float64(allocations(t, p)-before-idle) / float64(*requests)
	out["allocations/"+goVersion()] = max(0, perRequest)
	n, err := perf(p.PID(), ioCalls(), func() {
		for range *requests {
			ask()
		}
	})
	if err != nil {
		t.Logf("skipped: calls cannot be counted here: %v", err)
		return out
	}
	out["calls"] = float64(n) / float64(*requests)
	return out
}

// ioCalls are the system calls with which bytes come and go.
func ioCalls() (events []string) {
	for _, call := range []string{"read", "write", "readv", "writev", "recvfrom", "sendto", "recvmsg", "sendmsg"} {
		events = append(events, "syscalls:sys_enter_"+call)
	}
	return events
}

// allocations reads how many the process has made since its start.
func allocations(t *testing.T, p *programtest.Process) int64 {
	t.Helper()
	resp, err := http.Get("http://" + p.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			var n float64
			if _, err := fmt.Sscan(text, &n); err != nil {
				t.Fatal(err)
			}
			return int64(n)
		}
	}
	t.Fatal("no go_memstats_mallocs_total in /metrics")
	return 0
}

// client asks on one connection, one request after the other.
type client struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

// asker opens a connection, and gives what asks for a scenario on it once more.
func asker(t *testing.T, p *programtest.Process, name string) (ask func()) {
	t.Helper()
	c := dial(t, p.Addr)
	send, status, size := request(name)
	return func() { c.ask(send, status, size) }
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(5 * time.Minute))
	return &client{t, nc, bufio.NewReader(nc)}
}

func (c *client) ask(request []byte, status, size int) {
	if _, err := c.nc.Write(request); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, resp.Body); n != int64(size) || err != nil || resp.StatusCode != status {
		c.t.Fatalf("status %d, %d bytes: %v", resp.StatusCode, n, err)
	}
}
