package report

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/bench/result"
)

// measured is a run of two rounds.
func measured() *result.Set {
	s := result.NewSet()
	add := func(scenario, peer, metric, unit string, v float64) {
		for _, round := range []float64{0.9, 1.1} {
			s.Add(result.Key{Scenario: scenario, Peer: peer, Metric: metric, Unit: unit}, v*round)
		}
		s.SetVersion(peer, "1.2.3")
	}
	for peer, cpu := range map[string]float64{"pillion": 5, "nginx": 10, "fasthttp": 4} {
		add("hit-1k", peer, "CPU", "us/request", cpu)
		add("hit-1k", peer, "throughput", "requests/s", 1e6/cpu)
		add("latency-70", peer, "CPU", "us/request", cpu)
		for i, p := range []string{"50", "99", "99.9"} {
			add("latency-70", peer, "latency p"+p, "us", cpu*float64(10*i+1))
		}
	}
	add("queue-drain", "pillion", "throughput", "tasks/s", 50000)
	add("queue-drain", "asynq", "throughput", "tasks/s", 10000)
	add("idle", "pillion", "resident memory", "MiB", 30)
	add("memory", "pillion", "memory beyond the object's own bytes", "bytes/object", 250)
	add("memory", "pillion", "memory beyond the body", "bytes/object", 450)
	return s
}

func TestVerdicts(t *testing.T) {
	var b strings.Builder
	Verdicts(&b, measured())
	want := []string{
		"SHORT  CPU for a public hit of 1 KiB: 1.25 x, wanted <= 1.15 x fasthttp",
		"PASS   CPU for a public hit of 1 KiB: 0.50 x, wanted <= 0.75 x nginx",
		"PASS   p99 of hits at 70% of the throughput: 0.50 x, wanted <= 1 x nginx",
		"SHORT  resident memory when idle, MiB: 30.0, wanted <= 25",
		"PASS   memory for a stored answer of 1 KiB, beyond its own bytes, bytes: 250, wanted <= 300",
		"PASS   throughput of a queue: 5.00 x, wanted >= 5 x asynq",
	}
	if got := strings.TrimSpace(b.String()); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func TestWrite(t *testing.T) {
	root := t.TempDir()
	s := measured()
	s.Skip("varnish is skipped: absent")
	if err := Write(root, s, map[string]string{"hit-1k": "a stored answer"}, false); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| CPU for a public hit of 1 KiB | 0.50 x | &lt;= 0.75 x nginx | PASS |",
		"### hit-1k\n\nA stored answer.\n\n| | CPU, us/request | ÷ pillion | throughput, requests/s |\n",
		"| nginx | 10.0 (9.00–11.0) | 2.00 | 100000 (90000–110000) |",
		"- varnish is skipped: absent",
		"| nginx | 1.2.3 | [peers/nginx.conf.tmpl](../bench/peers/nginx.conf.tmpl) |",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page has no %q:\n%s", want, text)
		}
	}
	for _, plot := range []string{"cpu.svg", "queue.svg", "latency.svg"} {
		svg, err := os.ReadFile(filepath.Join(root, "docs", "benchmarks", plot))
		if err != nil || !strings.Contains(string(svg), "</svg>") {
			t.Errorf("%s: %v", plot, err)
		}
		if !strings.Contains(string(text), "](benchmarks/"+plot+")") {
			t.Errorf("the page does not show %s", plot)
		}
	}
	again, err := result.Load(filepath.Join(root, "docs", "benchmarks", "results.json"))
	if err != nil || again.Get("hit-1k", "nginx", "CPU").Median() != 10 {
		t.Errorf("the results: %v", err)
	}
}

// TestLinks looks for the files that the page names.
func TestLinks(t *testing.T) {
	for _, name := range []string{"pillion", "nginx", "nginx-lua-redis", "haproxy", "varnish", "caddy", "bullmq", "fasthttp", "redis", "asynq", "asynq-50ms"} {
		for _, part := range strings.Split(configuration(name), "](../bench/")[1:] {
			file, _, _ := strings.Cut(part, ")")
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestNoisyRunIsRefused(t *testing.T) {
	root := t.TempDir()
	s := measured()
	s.Noise("hit-1k", "nginx", 2*result.QuietLimit)
	if err := Write(root, s, nil, false); !errors.Is(err, ErrNoise) {
		t.Errorf("%v, want %v", err, ErrNoise)
	}
	if _, err := os.Stat(filepath.Join(root, "docs")); err == nil {
		t.Error("something was written")
	}
	if err := Write(root, s, nil, true); err != nil {
		t.Errorf("forced: %v", err)
	}
}

func TestNothingMeasured(t *testing.T) {
	if err := Write(t.TempDir(), result.NewSet(), nil, false); err != nil {
		t.Error(err)
	}
}
