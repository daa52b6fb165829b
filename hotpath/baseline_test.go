//go:build linux && !race

package hotpath

import (
	"fmt"
	"go/version"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const baselineFile = "testdata/baseline.txt"

// A cost may grow by maxGrowth of what it was, and by slack of its unit, which is for
// what the process does beside: less than one more for each request.
const maxGrowth = 0.10

func grown(unit string, was, n float64) bool { return n > was*(1+maxGrowth)+slack(unit) }

func slack(unit string) float64 {
	if strings.HasPrefix(unit, "instructions") {
		return 0 // the growth is more than that already
	}
	return 0.5
}

// goVersion is the part of a unit that says which compiler and runtime a count is of:
// "go1.26". Two of the same minor version differ by fixes alone.
func goVersion() string {
	if lang := version.Lang(runtime.Version()); lang != "" {
		return lang
	}
	return strings.ReplaceAll(runtime.Version(), " ", "_") // built from source, or with experiments
}

type costs map[string]float64 // by unit: "calls", "allocations/go1.26"

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

// unknown is what is said of a cost that has no baseline, as after a change of Go.
const unknown = "%s of a request: %.2f; NOT COMPARED: hotpath/%s has no such line, write it with: make hotpath HOTPATH=-update"

// compare fails the test when a cost has grown, and in CI when there is nothing to
// compare with, where nobody would see that otherwise.
func (b baseline) compare(t *testing.T, scenario string, now costs) {
	for _, unit := range slices.Sorted(maps.Keys(now)) {
		n := now[unit]
		was, known := b[scenario][unit]
		switch {
		case *update:
			b.put(scenario, unit, n)
			t.Logf("%s of a request: %.2f", unit, n)
		case !known && os.Getenv("CI") != "":
			t.Errorf(unknown, unit, n, baselineFile)
		case !known:
			t.Logf(unknown, unit, n, baselineFile)
		case grown(unit, was, n):
			t.Errorf("%s of a request: %.2f; the baseline is %.2f, and what to do in hotpath/doc.go", unit, n, was)
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

func TestGrown(t *testing.T) {
	for _, c := range []struct {
		unit   string
		was, n float64
		want   bool
	}{
		{instructions(), 20_000, 21_999, false},
		{instructions(), 20_000, 22_001, true},
		{"allocations/go1.26", 0, 0.4, false},
		{"allocations/go1.26", 0, 1, true},
		{"allocations/go1.26", 30, 33, false},
		{"allocations/go1.26", 30, 34, true},
		{"calls", 2, 2.2, false},
		{"calls", 2, 3, true},
	} {
		if got := grown(c.unit, c.was, c.n); got != c.want {
			t.Errorf("from %v to %v %s: %v", c.was, c.n, c.unit, got)
		}
	}
}
