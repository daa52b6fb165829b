package web

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/pillion-proxy/pillion/bench/proc"
)

// ruleMatch runs the benchmark of package rules, which matches requests of all kinds
// against 10 and 1,000 rules: beside everything else that a request costs, a match is too
// little to be seen.
func ruleMatch(ctx context.Context, b *Bench, _ Scenario, _ server) (m measured, err error) {
	w := proc.Watch()
	cmd := exec.CommandContext(ctx, "go", "test", "./rules", "-run", "^$", "-bench", "^BenchmarkMatch$/^rules=(10|1000)$/^mixed$", "-benchtime", "300ms", "-count", "3")
	cmd.Dir = b.Root
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return m, fmt.Errorf("the benchmark of ./rules: %w\n%s", err, out)
	}
	span := w.End() // which takes an ended process for a foreign one
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	m.foreign = max(0, span.Foreign-used.Seconds()/span.Took.Seconds())
	few, many := fastest(out, 10), fastest(out, 1000)
	if few == 0 || many == 0 {
		return m, fmt.Errorf("the benchmark of ./rules printed no results:\n%s", out)
	}
	m.add("match of 10 rules", "ns", few)
	m.add("match of 1,000 rules", "ns", many)
	m.add("1,000 rules against 10", "x", many/few)
	return m, nil
}

// fastest gives the least time of the runs with n rules; 0: there is none.
func fastest(out []byte, n int) (least float64) {
	line := regexp.MustCompile(`(?m)^BenchmarkMatch/rules=` + strconv.Itoa(n) + `/mixed\S*\s+\d+\s+([\d.]+) ns/op`)
	for _, found := range line.FindAllSubmatch(out, -1) {
		if v, err := strconv.ParseFloat(string(found[1]), 64); err == nil && (least == 0 || v < least) {
			least = v
		}
	}
	return least
}
