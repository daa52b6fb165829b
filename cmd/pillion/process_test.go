package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// TestMain lets the test binary be pillion itself, so that tests run real processes.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_AS_PILLION") != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := execute(ctx, os.Args[1:], slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "TEST_") }), os.Stdout, os.Stderr)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// process is a running pillion.
type process struct {
	t           *testing.T
	cmd         *exec.Cmd
	addr, admin string
	log         *lockedBuffer
	exited      chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const testConfig = `
rules:
  - name: products
    match: { path: "/products/{id}" }
    session: none
    cache: { ttl: 5m, negative_ttl: 1m, tags: ["product:{id}"] }
  - name: slow
    match: { path: /slow }
    session: none
  - name: profile
    match: { path: /profile }
    session: required
    cache: { ttl: 5m, scope: user }
`

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// startProcess runs `pillion run` and waits until it is ready. Without a redisURL, the
// configuration says where Redis is. Unless env says otherwise, a
// busy machine is not taken for a Redis that is down.
func startProcess(t *testing.T, config, redisURL, upstream string, env ...string) *process {
	t.Helper()
	p := &process{t: t, addr: apptest.FreeAddr(t), admin: apptest.FreeAddr(t), log: new(lockedBuffer), exited: make(chan error, 1)}
	p.cmd = exec.Command(os.Args[0], "run", "--config", config)
	p.cmd.Env = append([]string{
		"TEST_AS_PILLION=1", "PATH=" + os.Getenv("PATH"),
		"PILLION_LISTEN=" + p.addr, "PILLION_ADMIN_LISTEN=" + p.admin, "PILLION_UPSTREAM_URL=" + upstream,
		"PILLION_REDIS_TIMEOUT=5s", "PILLION_REDIS_MAX_STALENESS=5s",
	}, env...)
	if redisURL != "" {
		p.cmd.Env = append(p.cmd.Env, "REDIS_URL="+redisURL)
	}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	must(t, p.cmd.Start())
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("log of pillion at %s:\n%s", p.addr, p.log)
		}
	})
	eventually(t, "ready", func() bool {
		resp, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	return p
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // polling with a bound
	}
}

func (p *process) get(path string, header ...string) (status int, h http.Header, body string) {
	p.t.Helper()
	req, err := http.NewRequest("GET", "http://"+p.addr+path, nil)
	must(p.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(p.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(p.t, err)
	return resp.StatusCode, resp.Header, string(b)
}

// stop sends SIGTERM and gives the exit error.
func (p *process) stop() error {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.exited:
		return err
	case <-time.After(30 * time.Second):
		p.t.Fatal("did not end within 30s of SIGTERM")
		return nil
	}
}

// application counts its calls and answers with who asks for what.
func application(t *testing.T) (url string, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		fmt.Fprintf(w, "%s for %s", r.URL.Path, r.Header.Get("X-User-Id"))
	}))
	t.Cleanup(srv.Close)
	return srv.URL, calls
}

// commands gives the calls of each Redis command, without those that ask about the
// server or keep connections up.
func commands(t *testing.T, c rueidis.Client) map[string]string {
	t.Helper()
	info, err := c.Do(context.Background(), c.B().Info().Section("commandstats").Build()).ToString()
	must(t, err)
	out := make(map[string]string)
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":")
		if !ok || name == "ping" || name == "info" || strings.HasPrefix(name, "client") || name == "hello" {
			continue
		}
		out[name], _, _ = strings.Cut(rest, ",")
	}
	return out
}

func TestTwoProcessesOnOneRedis(t *testing.T) {
	redis := redistest.Start(t)
	other := redistest.Client(t, redis)
	upstream, calls := application(t)
	config := writeConfig(t, testConfig)
	a := startProcess(t, config, "redis://"+redis.Addr, upstream)
	b := startProcess(t, config, "redis://"+redis.Addr, upstream)

	if _, h, _ := a.get("/products/1"); !strings.Contains(h.Get("Cache-Status"), "stored") {
		t.Fatalf("first GET through A: %s", h.Get("Cache-Status"))
	}
	if _, h, body := b.get("/products/1"); !strings.Contains(h.Get("Cache-Status"), "; hit") || body != "/products/1 for " {
		t.Fatalf("the same through B: %s %q", h.Get("Cache-Status"), body)
	}
	if n := calls.Load(); n != 1 {
		t.Fatalf("the application was called %d times, want once", n)
	}
	t.Run("steady state asks Redis nothing", func(t *testing.T) { steadyState(t, other, a, b) })
	t.Run("DEL ends a session on both", func(t *testing.T) { revocations(t, other, a, b) })
	for _, p := range []*process{a, b} {
		if err := p.stop(); err != nil {
			t.Errorf("exit after SIGTERM: %v\n%s", err, p.log)
		}
	}
}

// steadyState sends 10,000 hits, half of them with a session.
func steadyState(t *testing.T, other rueidis.Client, pods ...*process) {
	setSession(t, other, "steady", 7)
	warm := func() {
		for _, p := range pods {
			p.get("/products/1")
			if status, _, body := p.get("/profile", "X-Session-ID", "steady"); status != 200 || body != "/profile for 7" {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	for range 5 {
		warm()
		warm() // what the first stored is now read into memory
		links, before := connections(t, other), commands(t, other)
		hits(t, 2500, pods)
		after := commands(t, other)
		if connections(t, other) != links {
			t.Log("a busy machine has cost a connection to Redis, and with it what was in memory: once more")
			continue
		}
		for name, n := range after {
			if before[name] != n {
				t.Errorf("10,000 hits: %s went from %q to %q", name, before[name], n)
			}
		}
		return
	}
	t.Error("connections to Redis are lost again and again")
}

// hits sends four requests n times, all of which are answered from memory.
func hits(t *testing.T, n int, pods []*process) {
	t.Helper()
	for i := range n {
		for _, p := range pods {
			for _, path := range []string{"/products/1", "/profile"} {
				status, h, _ := p.get(path, "X-Session-ID", "steady")
				if status != 200 || !strings.Contains(h.Get("Cache-Status"), "; hit") {
					t.Fatalf("request %d to %s: %d %s", i, path, status, h.Get("Cache-Status"))
				}
			}
		}
	}
}

// connections gives how many connections Redis has accepted so far.
func connections(t *testing.T, c rueidis.Client) string {
	t.Helper()
	info, err := c.Do(context.Background(), c.B().Info().Section("stats").Build()).ToString()
	must(t, err)
	_, rest, _ := strings.Cut(info, "total_connections_received:")
	n, _, _ := strings.Cut(rest, "\r\n")
	return n
}

// setSession makes a session that lives for longer than session.ttl, so that pillion never
// renews it, however long a test takes.
func setSession(t *testing.T, c rueidis.Client, id string, user int) {
	t.Helper()
	must(t, c.Do(context.Background(), c.B().Set().Key("session:"+id).Value(fmt.Sprintf(`{"user_id":%d}`, user)).ExSeconds(2*604800).Build()).Error())
}

// revocations deletes sessions with another client and measures how long each pod
// goes on accepting them.
func revocations(t *testing.T, other rueidis.Client, pods ...*process) {
	var took []time.Duration
	for i := range 100 {
		id := fmt.Sprintf("gone-%d", i)
		setSession(t, other, id, i)
		for _, p := range pods {
			if status, _, _ := p.get("/profile", "X-Session-ID", id); status != 200 {
				t.Fatalf("before DEL: %d", status)
			}
		}
		must(t, other.Do(context.Background(), other.B().Del().Key("session:"+id).Build()).Error())
		began := time.Now()
		for _, p := range pods {
			eventually(t, "401 after DEL", func() bool {
				status, _, _ := p.get("/profile", "X-Session-ID", id)
				return status == 401
			})
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	t.Logf("from DEL's reply to 401, polled, %d samples: p50 %s, p99 %s, max %s", len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

func TestRedisIsDownAtStart(t *testing.T) {
	redis := redistest.Start(t)
	redis.Kill()
	upstream, _ := application(t)
	p := startProcess(t, writeConfig(t, testConfig), "redis://"+redis.Addr, upstream, "PILLION_REDIS_TIMEOUT=100ms", "PILLION_REDIS_MAX_STALENESS=1s")
	down := func(when string) {
		t.Helper()
		if status, _, body := p.get("/products/1"); status != 200 || body != "/products/1 for " {
			t.Errorf("%s, a public route: %d %s", when, status, body)
		}
		took := make([]time.Duration, 20)
		for i := range took {
			began := time.Now()
			status, h, body := p.get("/profile", "X-Session-ID", "s")
			took[i] = time.Since(began)
			if status != 503 || h.Get("Retry-After") == "" || h.Get("Content-Type") != "application/problem+json" || h.Get("Set-Cookie") != "" {
				t.Errorf("%s, a protected route: %d %v %s", when, status, h, body)
			}
		}
		// Ten times the timeout: one that waits does so each time, a busy machine does not.
		if slices.Sort(took); took[len(took)/2] > time.Second {
			t.Errorf("%s, a protected route took %s", when, took[len(took)/2])
		}
		if status, _, _ := p.get("/profile"); status != 401 {
			t.Errorf("%s, without a session id: %d, want 401: that needs no Redis", when, status)
		}
	}
	down("at start")
	for range 2 {
		must(t, redis.Restart())
		setSession(t, redistest.Client(t, redis), "s", 1)
		eventually(t, "recovered", func() bool {
			status, _, _ := p.get("/profile", "X-Session-ID", "s")
			return status == 200
		})
		eventually(t, "caching again", func() bool {
			_, h, _ := p.get("/products/1")
			return strings.Contains(h.Get("Cache-Status"), "; hit")
		})
		redis.Kill()
		eventually(t, "known to be down", func() bool {
			status, _, _ := p.get("/profile", "X-Session-ID", "s")
			return status == 503
		})
		down("after a kill")
	}
	if err := p.stop(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	redis := redistest.Start(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(arrived)
			<-release
		}
		io.WriteString(w, "done")
	}))
	defer app.Close()
	p := startProcess(t, writeConfig(t, testConfig), "redis://"+redis.Addr, app.URL)
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + p.addr + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-arrived
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	eventually(t, "not ready while draining", func() bool {
		resp, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == 503
	})
	eventually(t, "no new connections", func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			return true
		}
		c.Close()
		return false
	})
	close(release)
	if got := <-answer; got != "done" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-p.exited; err != nil {
		t.Errorf("exit: %v\n%s", err, p.log)
	}
}

func TestReloadOnSignal(t *testing.T) {
	redis := redistest.Start(t)
	upstream, _ := application(t)
	config := writeConfig(t, testConfig)
	p := startProcess(t, config, "redis://"+redis.Addr, upstream)
	reload := func(text, logged string) {
		t.Helper()
		before := strings.Count(p.log.String(), logged)
		must(t, os.WriteFile(config, []byte(text), 0o600))
		must(t, p.cmd.Process.Signal(syscall.SIGHUP))
		eventually(t, "log has "+logged, func() bool { return strings.Count(p.log.String(), logged) > before })
	}
	want := func(path string, status int) {
		t.Helper()
		if got, _, _ := p.get(path); got != status {
			t.Errorf("%s: %d, want %d", path, got, status)
		}
	}
	want("/new", 401)
	reload(testConfig+"  - { name: new, match: { path: /new }, session: none }\n", "was reloaded")
	want("/new", 200)
	reload("rulez: []\n", "was not reloaded")
	want("/new", 200)
	reload("cache: { memory: 64MiB }\n", "must be restarted")
	want("/new", 200)
	resp, err := http.Get("http://" + p.admin + "/metrics")
	must(t, err)
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	resp.Body.Close()
	for _, line := range []string{`pillion_config_reloads_total{result="success"} 1`, `pillion_config_reloads_total{result="failure"} 2`} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if err := p.stop(); err != nil {
		t.Errorf("exit: %v", err)
	}
}

// run executes a command line in this process.
func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	// Not the default address, where another test's pillion may be.
	env := []string{"PILLION_ADMIN_LISTEN=127.0.0.1:1"}
	code = execute(context.Background(), args, env, &out, &errs)
	return code, out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	good, bad := writeConfig(t, testConfig), writeConfig(t, "listen: 1\nrulez: []\n")
	for _, tc := range []struct {
		args []string
		code int
		want string // in stdout or stderr
	}{
		{[]string{"version"}, 0, "pillion dev"},
		{[]string{"--help"}, 0, "completion"},
		{[]string{"check", "--config", good}, 0, "ok, 3 rules"},
		{[]string{"check", "-c", good, "--print"}, 0, "max_staleness: 1s"},
		{[]string{"check", "--config", bad}, 1, "rulez"},
		{[]string{"check", "--config", "/nowhere.yaml"}, 1, "/nowhere.yaml"},
		{[]string{"run", "--config", bad}, 1, "rulez"},
		{[]string{"frobnicate"}, 2, "frobnicate"},
		{[]string{"check", "--frobnicate"}, 2, "frobnicate"},
		{[]string{"check", "stray"}, 1, "stray"},
		{[]string{"check", good, bad}, 1, "rulez"},
		{[]string{"check", filepath.Dir(bad)}, 1, "rulez"},
		{[]string{"check", "--config", filepath.Dir(good)}, 0, "ok, 3 rules"},
		{[]string{"run", "stray"}, 2, "stray"},
		{[]string{"purge"}, 2, "--tag"},
		{[]string{"purge", "--tag", "x", "--admin", "127.0.0.1:1"}, 1, "no pillion answers"},
		{[]string{"health", "--admin", "127.0.0.1:1"}, 1, "no pillion answers"},
		{[]string{"health"}, 1, "no pillion answers at http://127.0.0.1:1"}, // no config.yaml here: what the environment says
		{[]string{"completion", "bash"}, 0, "bash completion"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			code, out, errs := run(tc.args...)
			if code != tc.code || !strings.Contains(out+errs, tc.want) {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s\nwant exit %d with %q", code, out, errs, tc.code, tc.want)
			}
		})
	}
}

// TestHealthDespiteMistakes asks a process whose configuration was changed for the worse
// since it started.
func TestHealthDespiteMistakes(t *testing.T) {
	redis := redistest.Start(t)
	upstream, _ := application(t)
	p := startProcess(t, writeConfig(t, testConfig), "redis://"+redis.Addr, upstream)
	inFile, inEnv := "admin: { listen: \""+p.admin+"\" }\n", "PILLION_ADMIN_LISTEN="+p.admin
	for _, tc := range []struct {
		name, config, env string
		command           []string
		code              int
		want              string // in stdout and stderr
	}{
		{"no mistake", inFile, "", []string{"health"}, 0, `{"status":"ok"}`},
		{"a mistake elsewhere", "rulez: []\n" + inFile, "", []string{"health"}, 0, "rulez"},
		{"the address comes from a variable", "rulez: []\n", inEnv, []string{"health", "--ready"}, 0, `"ready":true`},
		{"not YAML", "a: [\n", inEnv, []string{"health"}, 0, `{"status":"ok"}`},
		{"run --config names another file", "", inEnv, []string{"health"}, 0, `{"status":"ok"}`},
		{"another pillion's address", "rulez: []\nadmin: { listen: \"127.0.0.1:1\" }\n", "", []string{"health"}, 1, "no pillion answers at http://127.0.0.1:1"},
		{"a mistake in the address", "admin: { listen: [9900] }\n", "", []string{"health"}, 1, "give --admin host:port"},
		{"off", "rulez: []\nadmin: { listen: \"off\" }\n", "", []string{"health"}, 1, "admin.listen is off"},
		{"what changes state", "rulez: []\n" + inFile, "", []string{"purge", "--tag", "x"}, 1, "give --admin host:port"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			file := "/nowhere.yaml"
			if tc.config != "" {
				file = writeConfig(t, tc.config)
			}
			env := []string{"PILLION_CONFIG=" + file, tc.env}
			code := execute(t.Context(), tc.command, env, &out, &errs)
			if code != tc.code || !strings.Contains(out.String()+errs.String(), tc.want) {
				t.Errorf("exit %d\nstdout: %s\nstderr: %s\nwant exit %d with %q", code, &out, &errs, tc.code, tc.want)
			}
		})
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}

func TestHealthAndPurgeCommands(t *testing.T) {
	redis := redistest.Start(t)
	upstream, calls := application(t)
	p := startProcess(t, writeConfig(t, testConfig), "redis://"+redis.Addr, upstream)
	if code, out, errs := run("health", "--admin", p.admin, "--ready"); code != 0 || !strings.Contains(out, `"ready":true`) {
		t.Fatalf("health: %d %s %s", code, out, errs)
	}
	hit := func() bool {
		_, h, _ := p.get("/products/1")
		return strings.Contains(h.Get("Cache-Status"), "; hit")
	}
	for _, purge := range [][]string{{"--tag", "product:1"}, {"--url", "http://" + p.addr + "/products/1"}} {
		p.get("/products/1")
		if !hit() {
			t.Fatal("not a hit before the purge")
		}
		if code, out, errs := run(append([]string{"purge", "--admin", p.admin}, purge...)...); code != 0 {
			t.Fatalf("purge %v: %d %s %s", purge, code, out, errs)
		}
		before := calls.Load()
		if hit() || calls.Load() != before+1 {
			t.Errorf("purge %v: still a hit", purge)
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
}
