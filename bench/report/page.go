package report

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pillion-proxy/pillion/bench/result"
)

// ErrNoise says that a run was disturbed, so that it is not published.
var ErrNoise = errors.New("other programs took too much of the machine during the run")

// Write writes docs/benchmarks.md, its plots and the results below the checkout.
// Scenarios are those of the HTTP part with what they are about. A noisy run is
// refused, unless it is forced.
func Write(root string, s *result.Set, about map[string]string, force bool) error {
	if foreign, what := s.Noisiest(); foreign > result.QuietLimit && !force {
		return fmt.Errorf("%w (%.2f of a core, more than %.2f, in %s): docs/benchmarks.md is left as it was; measure that again when the machine is quiet", ErrNoise, foreign, result.QuietLimit, what)
	}
	dir := filepath.Join(root, "docs", "benchmarks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plots, err := draw(dir, s)
	if err != nil {
		return err
	}
	text := page(s, about, plots)
	return errors.Join(
		os.WriteFile(filepath.Join(root, "docs", "benchmarks.md"), []byte(text), 0o644),
		s.Save(filepath.Join(dir, "results.json")),
	)
}

// page is the report in Markdown.
func page(s *result.Set, about map[string]string, plots []plotted) string {
	var b strings.Builder
	b.WriteString(`# Benchmarks

Written by ` + "`make bench`" + `, which measures pillion beside other programs that do the same, on one machine and with their
best known configurations. Do not edit it. Ratios are worth more than numbers: another machine has other numbers.

`)
	writeTargets(&b, s)
	for _, p := range plots {
		fmt.Fprintf(&b, "![%s](benchmarks/%s)\n\n", p.title, p.file)
	}
	writeMachine(&b, s)
	b.WriteString("## Results\n\nMedians of the rounds; in brackets the smallest and the largest. " +
		"*÷ pillion* is the median in that of pillion, of the first column.\n\n")
	for _, scenario := range s.Scenarios() {
		writeScenario(&b, s, scenario, about[scenario])
	}
	b.WriteString(method)
	return b.String()
}

func writeTargets(b *strings.Builder, s *result.Set) {
	all := verdicts(s)
	if len(all) == 0 {
		return
	}
	b.WriteString("## Targets\n\n| | Measured | Wanted | |\n|---|---|---|---|\n")
	for _, v := range all {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", v.what, v.measuredAs(), strings.ReplaceAll(v.wanted(), "<", "&lt;"), v.word())
	}
	b.WriteString("\nWhat the cost is made of, why a target is missed, and what was tried: [performance.md](performance.md).\n\n")
}

func writeMachine(b *strings.Builder, s *result.Set) {
	m := s.Machine
	foreign, _ := s.Noisiest()
	fmt.Fprintf(b, "## Machine and versions\n\n%d cores of %s, %s, %s, %s. Other programs took %.2f of a core at most during a round.\n\n",
		m.Cores, m.CPU, m.Memory, m.Kernel, m.System, foreign)
	b.WriteString("| | Version | Configuration |\n|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(s.Version)) {
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, s.Version[name], configuration(name))
	}
	b.WriteString("\n")
	for _, why := range s.Skipped {
		fmt.Fprintf(b, "- %s\n", why)
	}
	if len(s.Skipped) > 0 {
		b.WriteString("\n")
	}
}

// configuration says where the exact one of a peer is.
func configuration(name string) string {
	files := map[string]string{
		"pillion": "peers/pillion.yaml.tmpl", "nginx": "peers/nginx.conf.tmpl", "nginx-lua-redis": "peers/nginx.conf.tmpl",
		"haproxy": "peers/haproxy.cfg.tmpl", "varnish": "peers/varnish.vcl.tmpl", "caddy": "peers/caddy.tmpl", "bullmq": "peers/bullmq/worker.mjs",
		"fasthttp": "origin/origin.go", "epoll": "origin/lean.go", "redis": "proc/redis.go",
	}
	extra := map[string]string{
		"varnish": ", and its command line in [web/server.go](../bench/web/server.go)",
		"pillion": "; for queues [queue/pillion.go](../bench/queue/pillion.go)",
	}
	file, ok := files[name]
	if !ok {
		file = "queue/asynq.go"
	}
	return fmt.Sprintf("[%s](../bench/%s)%s", file, file, extra[name])
}

// writeScenario is a table with a line for each peer and a column for each metric.
func writeScenario(b *strings.Builder, s *result.Set, scenario, about string) {
	metrics, peers := s.Metrics(scenario), s.Peers(scenario)
	fmt.Fprintf(b, "### %s\n\n", scenario)
	if about != "" {
		fmt.Fprintf(b, "%s.\n\n", strings.ToUpper(about[:1])+about[1:])
	}
	b.WriteString("| |")
	for i, metric := range metrics {
		fmt.Fprintf(b, " %s, %s |", metric, unitOf(s, scenario, metric))
		if i == 0 {
			b.WriteString(" ÷ pillion |")
		}
	}
	b.WriteString("\n|---|---" + strings.Repeat("|---", len(metrics)) + "|\n")
	for _, peer := range peers {
		fmt.Fprintf(b, "| %s |", peer)
		for i, metric := range metrics {
			have := s.Get(scenario, peer, metric)
			fmt.Fprintf(b, " %s |", cell(have))
			if i == 0 {
				fmt.Fprintf(b, " %s |", result.Ratio(have, s.Get(scenario, "pillion", metric)))
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

func unitOf(s *result.Set, scenario, metric string) string {
	for _, peer := range s.Peers(scenario) {
		if have := s.Get(scenario, peer, metric); have != nil {
			return have.Unit
		}
	}
	return ""
}

func cell(s *result.Series) string {
	if s == nil {
		return "—"
	}
	if len(s.Values) == 1 || s.Min() == s.Max() {
		return result.Format(s.Median())
	}
	return fmt.Sprintf("%s (%s–%s)", result.Format(s.Median()), result.Format(s.Min()), result.Format(s.Max()))
}

const method = `## How it is measured

- Every server is a process of its own. For HTTP it has the first core to itself; the client, the application and Redis
  are on the next one. *CPU* is the user and system time of the server's processes, children included, for each request
  of the measured time. *Throughput* is the server's limit only where its core is busy and the client's is not: both are
  in the tables.
- The client is one thread with epoll and precomputed requests, and it checks each answer: its status, its length, and
  how its body begins and ends. Where an answer should come from the cache, the application counts that it does. Where
  each request reaches the application with a small answer, that is one thread with epoll, too ([origin/lean.go](../bench/origin/lean.go)):
  client and application share a core, and must cost less than what is measured.
- Peers are measured in turns, A B A B, each time in new processes. A round in which other programs took more than a
  tenth of a core is repeated.
- *latency-70* is an open loop: requests begin at intended times that the server does not influence, and latency counts
  from these. The latencies of the other scenarios are of a closed loop at full load: they say how long the queue is.
- For a queue's throughput all processes share all cores, the same for each agent. The tasks are in Redis before the
  clock starts, the first tenth of them is not measured, and each must arrive.
- An object's own bytes, in *memory*, are its body, the header fields as the application sends them with their line ends,
  and its URL without the scheme, for every server alike. What the server's processes, and its files in memory, have grown
  by, divided by the number of new objects, less that, is the memory beyond an object's own bytes. pillion runs this with
  ` + "`GOGC=5`" + `, so that what waits for the collector is no more than a twentieth.
- What this does not say: how a network behaves, what TLS costs, and what happens with many cores.

## Repeat it

    make bench                                                  # everything; takes an hour
    make bench BENCH="--rounds 3 --peers pillion,nginx"
    make bench-queue                                            # the queue scenarios, no page
    cd bench && go run . http --list
    cd bench && go run . http --scenario hit-1k,pass-get --rounds 1
    cd bench && go run . target http://127.0.0.1:8080/ --rate 500 --duration 30s --report report.html

` + "`make bench-deps`" + ` installs the peers that a system's packages offer; what is absent is skipped, and named above.
`
