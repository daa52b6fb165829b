//go:build linux && !race

package hotpath

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

const baselineFile = "testdata/baseline.txt"

// A cost may grow by maxGrowth of what it was, and by slack of its unit, which is for
// what the process does beside.
const maxGrowth = 0.10

func slack(unit string) float64 {
	if unit == "instructions" {
		return 200
	}
	return 0.5 // less than one more for each request
}

type costs map[string]float64 // by unit

// baseline is what requests cost when it was written, by scenario.
type baseline map[string]costs

// readBaseline reads lines "scenario unit count".
func readBaseline(t *testing.T) baseline {
	t.Helper()
	text, err := os.ReadFile(baselineFile)
	if err != nil && !*update {
		t.Fatal(err)
	}
	b := make(baseline)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var scenario, unit string
		var n float64
		if _, err := fmt.Sscan(line, &scenario, &unit, &n); err != nil {
			t.Fatalf("%s: %q: %v", baselineFile, line, err)
		}
		b.put(scenario, unit, n)
	}
	return b
}

func (b baseline) put(scenario, unit string, n float64) {
	if b[scenario] == nil {
		b[scenario] = make(costs)
	}
	b[scenario][unit] = n
}

// compare fails the test when a cost has grown.
func (b baseline) compare(t *testing.T, scenario string, now costs) {
	for _, unit := range slices.Sorted(maps.Keys(now)) {
		n := now[unit]
		was, known := b[scenario][unit]
		switch {
		case *update:
			b.put(scenario, unit, n)
			t.Logf("%s of a request: %.2f", unit, n)
		case !known:
			t.Logf("%s of a request: %.2f; there is no baseline: write one with -update", unit, n)
		case n > was*(1+maxGrowth)+slack(unit):
			t.Errorf("%s of a request: %.2f; the baseline is %.2f", unit, n, was)
		default:
			t.Logf("%s of a request: %.2f; the baseline is %.2f", unit, n, was)
		}
	}
}

func (b baseline) write(t *testing.T) {
	t.Helper()
	var out strings.Builder
	out.WriteString("# What one request costs: scenario, unit, count. Written by: make hotpath HOTPATH=-update\n")
	for _, scenario := range scenarios() {
		for _, unit := range slices.Sorted(maps.Keys(b[scenario])) {
			fmt.Fprintf(&out, "%s %s %.2f\n", scenario, unit, b[scenario][unit])
		}
	}
	if err := os.WriteFile(baselineFile, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
