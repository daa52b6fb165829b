// Package report writes what was measured: verdicts, a page in Markdown, and plots.
package report

import (
	"fmt"
	"io"

	"github.com/pillion-proxy/pillion/bench/result"
)

// target is a bound that a release should keep.
type target struct {
	what             string
	scenario, metric string
	against          string // a peer whose value is multiplied with bound; empty for none
	bound            float64
	least            bool // the value must be the bound or more; else or less
}

func targets() []target {
	const perRequest = "CPU"
	cpu := func(what, scenario, against string, bound float64) target {
		return target{what: "CPU for " + what, scenario: scenario, metric: perRequest, against: against, bound: bound}
	}
	return []target{
		cpu("a public hit of 1 KiB", "hit-1k", "fasthttp", 1.15),
		cpu("a public hit of 1 KiB", "hit-1k", "nginx", 0.75),
		cpu("a public hit of 1 KiB", "hit-1k", "haproxy", 0.95),
		cpu("a public hit of 1 KiB", "hit-1k", "varnish", 0.30),
		cpu("a session-checked hit", "session-hit", "fasthttp", 1.30),
		cpu("a session-checked hit", "session-hit", "nginx-lua-redis", 0.33),
		cpu("GET of 1 KiB from the application", "pass-get", "nginx", 1.00),
		cpu("GET of 1 KiB from the application", "pass-get", "haproxy", 1.00),
		{what: "p99 of hits at 70% of the throughput", scenario: "latency-70", metric: "latency p99", against: "nginx", bound: 1},
		{what: "p99.9 of hits, while other answers are purged", scenario: "disturbances", metric: "p99.9 against calm, purges", bound: 3},
		{what: "p99.9 of hits, while the configuration is reloaded", scenario: "disturbances", metric: "p99.9 against calm, reloads", bound: 3},
		{what: "p99.9 of hits, while the collector works", scenario: "disturbances", metric: "p99.9 against calm, collections", bound: 3},
		{what: "throughput of hits of 256 KiB", scenario: "hit-256k", metric: "throughput", against: "nginx", bound: 0.9, least: true},
		{what: "throughput of 1 GiB from the application", scenario: "large-1g", metric: "throughput", against: "nginx", bound: 0.9, least: true},
		{what: "finding a rule among 1,000, against 10", scenario: "rule-match", metric: "1,000 rules against 10", bound: 1.1},
		{what: "finding a rule among 1,000, ns", scenario: "rule-match", metric: "match of 1,000 rules", bound: 250},
		{what: "resident memory when idle, MiB", scenario: "idle", metric: "resident memory", bound: 25},
		{what: "memory for a stored answer of 1 KiB, beyond its own bytes, bytes", scenario: "memory", metric: "memory beyond the object's own bytes", bound: 300},
		{what: "first answer after the start, ms", scenario: "idle", metric: "first answer", bound: 50},
		{what: "size of the program, MB", scenario: "idle", metric: "binary", bound: 25},
		{what: "size of the container image, MB", scenario: "idle", metric: "image", bound: 25},
		{what: "two cores against one", scenario: "cores", metric: "gain", bound: 1.8, least: true},
		{what: "two cores against one, from the CPU for a request", scenario: "cores", metric: "gain, from the CPU for a request", bound: 1.8, least: true},
		{what: "throughput of a queue", scenario: "queue-drain", metric: "throughput", against: "asynq", bound: 5, least: true},
		{what: "throughput of a queue", scenario: "queue-drain", metric: "throughput", against: "bullmq", bound: 1, least: true},
	}
}

// verdict is a target and what was measured.
type verdict struct {
	target
	got  float64
	pass bool
}

// word is PASS or SHORT.
func (v verdict) word() string {
	if v.pass {
		return "PASS"
	}
	return "SHORT"
}

// wanted is the bound in words.
func (v verdict) wanted() string {
	sign := "<="
	if v.least {
		sign = ">="
	}
	if v.against == "" {
		return fmt.Sprintf("%s %g", sign, v.bound)
	}
	return fmt.Sprintf("%s %g x %s", sign, v.bound, v.against)
}

// measuredAs is what was measured, in the terms of the bound.
func (v verdict) measuredAs() string {
	if v.against == "" {
		return result.Format(v.got)
	}
	return fmt.Sprintf("%.2f x", v.got)
}

// verdicts judges what was measured; what was not is left out.
func verdicts(s *result.Set) []verdict {
	var out []verdict
	for _, t := range targets() {
		have := s.Get(t.scenario, "pillion", t.metric)
		if have == nil {
			continue
		}
		v := verdict{target: t, got: have.Median()}
		if t.against != "" {
			other := s.Get(t.scenario, t.against, t.metric)
			if other == nil || other.Median() == 0 {
				continue
			}
			v.got /= other.Median()
		}
		v.pass = v.got <= t.bound
		if t.least {
			v.pass = v.got >= t.bound
		}
		out = append(out, v)
	}
	return out
}

// Verdicts prints PASS or SHORT for each target that was measured.
func Verdicts(w io.Writer, s *result.Set) {
	for _, v := range verdicts(s) {
		_, _ = fmt.Fprintf(w, "%-5s  %s: %s, wanted %s\n", v.word(), v.what, v.measuredAs(), v.wanted())
	}
}
