package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
)

// TestMain lets the test binary play the parts that the suite starts of itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		main()
		return
	}
	os.Exit(m.Run())
}

// smoke runs the suite in small and gives its results.
func smoke(t *testing.T, args ...string) *result.Set {
	t.Helper()
	out := filepath.Join(t.TempDir(), "results.json")
	root := root()
	var printed bytes.Buffer
	root.SetOut(&printed)
	root.SetArgs(append(args, "--rounds", "2", "--retries", "0", "--out", out, "--pillion", built(t)))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &printed)
	}
	t.Logf("%s", &printed)
	set, err := result.Load(out)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func built(t *testing.T) string {
	t.Helper()
	root, err := proc.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	path, err := proc.BuildPillion(t.Context(), root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// positive checks a metric of each peer that was measured.
func positive(t *testing.T, set *result.Set, scenario, metric string) {
	t.Helper()
	peers := set.Peers(scenario)
	if len(peers) == 0 {
		t.Errorf("%s: nothing was measured", scenario)
	}
	for _, peer := range peers {
		if s := set.Get(scenario, peer, metric); s == nil || len(s.Values) != 2 || s.Min() <= 0 {
			t.Errorf("%s, %s, %s: %+v, want two positive values", scenario, peer, metric, s)
		}
	}
}

func TestQueueDrain(t *testing.T) {
	set := smoke(t, "queue-drain", "--tasks", "pillion=2000,asynq=500,bullmq=500")
	positive(t, set, "queue-drain", "throughput")
	positive(t, set, "queue-drain", "CPU of the agent")
	positive(t, set, "queue-drain", "CPU of Redis")
	positive(t, set, "queue-drain", "CPU of the sink")
	if set.Get("queue-drain", "asynq", "throughput") == nil {
		t.Error("asynq is part of this program, but was not measured")
	}
}

func TestQueueIdle(t *testing.T) {
	set := smoke(t, "queue-idle", "--tasks", "60", "--every", "5ms", "--idle", "1s", "--queues", "3", "--peers", "pillion")
	positive(t, set, "queue-idle-3", "latency p50")
	positive(t, set, "queue-idle-3", "commands while idle")
}

func TestQueueDelay(t *testing.T) {
	set := smoke(t, "queue-delay", "--rate", "200", "--for", "1s", "--ahead", "1s", "--peers", "pillion")
	positive(t, set, "queue-delay", "lateness p99")
	if s := set.Get("queue-delay", "pillion", "earliest"); s.Min() < -1 {
		t.Errorf("a task came %v ms before it was due", -s.Min())
	}
}

// TestHTTP does most of the scenarios, in small, with pillion and what else is part of
// this program.
func TestHTTP(t *testing.T) {
	names := []string{"hit-1k", "hit-304", "session-hit", "session-pass", "pass-post", "rules-1000", "purge-storm", "slow-origin", "latency-70"}
	set := smoke(t, "http", "--pin=false", "--warm", "10ms", "--for", "100ms", "--peers", "pillion,fasthttp", "--scenario", strings.Join(names, ","))
	for _, name := range names {
		positive(t, set, name, "CPU")
		positive(t, set, name, "throughput")
		positive(t, set, name, "latency p99")
	}
	if set.Get("hit-1k", "fasthttp", "CPU") == nil {
		t.Error("the bare server is part of this program, but was not measured")
	}
}

func TestIdleServer(t *testing.T) {
	set := smoke(t, "http", "--pin=false", "--peers", "pillion", "--scenario", "idle")
	positive(t, set, "idle", "resident memory")
	positive(t, set, "idle", "first answer")
	positive(t, set, "idle", "binary")
	positive(t, set, "idle", "image, compressed")
	if image, binary := set.Get("idle", "pillion", "image"), set.Get("idle", "pillion", "binary"); image == nil || image.Min() <= binary.Min() {
		t.Errorf("image: %+v, want more than the binary's %+v", image, binary)
	}
}

func TestReport(t *testing.T) {
	set := result.NewSet()
	set.Add(result.Key{Scenario: "idle", Peer: "pillion", Metric: "binary", Unit: "MB"}, 17)
	set.Noise("idle", "pillion", 1)
	file := filepath.Join(t.TempDir(), "r.json")
	if err := set.Save(file); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		err  string
	}{
		{[]string{"report", file, "--write=false"}, ""},
		{[]string{"report", file}, "docs/benchmarks.md is left as it was"},
	} {
		root := root()
		var printed bytes.Buffer
		root.SetOut(&printed)
		root.SetArgs(c.args)
		err := root.ExecuteContext(t.Context())
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %v, want %q", c.args, err, c.err)
		}
		if !strings.Contains(printed.String(), "PASS   size of the program, MB: 17.0, wanted <= 25") {
			t.Errorf("%v printed %q", c.args, &printed)
		}
	}
}

func TestTarget(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-A") != "b: c" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer srv.Close()
	page := filepath.Join(t.TempDir(), "report.html")
	root := root()
	var printed, progress bytes.Buffer
	root.SetOut(&printed)
	root.SetErr(&progress)
	root.SetArgs([]string{"target", srv.URL, "--rate", "200", "--duration", "100ms", "-H", "X-A: b: c", "--report", page})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(strings.Fields(printed.String()), " "); !strings.Contains(text, "status 200 20") {
		t.Errorf("printed %s", text)
	}
	html, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(html, []byte("</html>")) {
		t.Errorf("the report: %v", err)
	}
}

func TestBadArguments(t *testing.T) {
	for want, args := range map[string][]string{
		"--rounds":        {"queue-drain", "--rounds", "0"},
		"--root":          {"queue-drain", "--root", "/proc"},
		"no peer":         {"queue-drain", "--peers", "sidekiq", "--pillion", "x"},
		"unknown command": {"queue"},
		"--scenario":      {"http", "--pin=false", "--scenario", "hit-2k", "--pillion", "x"},
		"--for":           {"http", "--pin=false", "--for", "0s"},
		"write it as":     {"target", "http://127.0.0.1:1/", "-H", "X-A"},
		"--rate":          {"target", "http://127.0.0.1:1/", "--rate", "0"},
		"sidekiq":         {"all", "--only", "sidekiq", "--pillion", "x"},
		"--kind":          {"storm", "--kind", "snow"},
		"--tasks":         {"sink", "--tasks", "0"},
	} {
		root := root()
		root.SetOut(new(bytes.Buffer))
		root.SetArgs(args)
		if err := root.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want an error that names %q", args, err, want)
		}
	}
}
