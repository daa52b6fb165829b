//go:build linux && !race

package hotpath

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// profile is the instructions of each function, without those of what it calls.
// callgrind tells the latter from the stack, which goroutines change under it.
type profile map[string]int64

// parseProfile reads a dump of callgrind. "fn=(1) name" begins a function, whose name
// is said once; "position cost" is a cost of it, but after "calls=" one of what it calls.
// See https://valgrind.org/docs/manual/cl-format.html.
func parseProfile(text string) (profile, error) {
	names, p := make(map[string]string), make(profile)
	fn, total, called := "", int64(-1), false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "fn" || key == "cfn":
			name := named(names, value)
			if key == "fn" {
				fn = name
			}
		case key == "calls":
			called = true
		case strings.HasPrefix(line, "totals: "):
			n, err := strconv.ParseInt(strings.TrimPrefix(line, "totals: "), 10, 64)
			if err != nil {
				return nil, err
			}
			total = n
		case line != "" && strings.Contains("0123456789+-*", line[:1]):
			_, cost, _ := strings.Cut(line, " ")
			n, err := strconv.ParseInt(cost, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			if !called {
				p[fn] += n
			}
			called = false
		}
	}
	if total < 0 {
		return nil, errors.New("there is no total")
	}
	if sum := p.total(); sum != total {
		return nil, fmt.Errorf("the sum of all functions is %d, the total %d", sum, total)
	}
	return p, nil
}

// named gives what "(id) name" or, later, "(id)" is the name of. A function that calls
// itself is one for each depth, "name'2", and one here.
func named(names map[string]string, value string) string {
	id, name, first := strings.Cut(value, " ")
	if first {
		name, _, _ = strings.Cut(name, "'")
		names[id] = name
	}
	return names[id]
}

func (p profile) total() (sum int64) {
	for _, n := range p {
		sum += n
	}
	return sum
}

// most names the n functions that cost most.
func (p profile) most(n int) []string {
	names := slices.SortedFunc(maps.Keys(p), func(a, b string) int {
		return cmp.Or(cmp.Compare(p[b], p[a]), cmp.Compare(a, b))
	})
	return names[:min(n, len(names))]
}

func TestParseProfile(t *testing.T) {
	const start = "version: 1\nevents: Ir\nsummary: 26\n\nfl=(1) proc.go\nfn=(1) main.hot\n12 3\n"
	const rest = "cfi=(2) b.go\ncfn=(2) main.cold'2\ncalls=7 90\n+1 900\n* 4\n\nfn=(2)\n-3 9\nfn=(1)\n5 10\n\n"
	for _, c := range []struct {
		name, text string
		want       profile
		err        string
	}{
		{"own costs alone", start + rest + "totals: 26\n", profile{"main.hot": 17, "main.cold": 9}, ""},
		{"not all was read", start + rest + "totals: 27\n", nil, "the sum of all functions is 26, the total 27"},
		{"cut off", start + rest, nil, "there is no total"},
		{"two costs", start + "1 2 3\n", nil, `"1 2 3": strconv.ParseInt: parsing "2 3": invalid syntax`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := parseProfile(c.text)
			if fmt.Sprint(err) != cmp.Or(c.err, "<nil>") || !maps.Equal(p, c.want) {
				t.Errorf("%v, %v", p, err)
			}
			if err == nil && !slices.Equal(p.most(1), []string{"main.hot"}) {
				t.Errorf("most: %q", p.most(1))
			}
		})
	}
}
