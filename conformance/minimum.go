package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// minimum is a flag: the least number of tests that a copy of the suite must pass,
// "150" for every copy or "npm=146,repository=160" for each. A copy that it does
// not name may fail everything.
type minimum map[string]int

func (m minimum) String() string {
	var parts []string
	for _, name := range copies() {
		if n, ok := m[name]; ok {
			parts = append(parts, fmt.Sprintf("%s=%d", name, n))
		}
	}
	return strings.Join(parts, ",")
}

// Set implements flag.Value.
func (m minimum) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		name, number, named := strings.Cut(part, "=")
		if !named {
			number = name
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is not a number of tests: use 150, or npm=146,repository=160", part)
		}
		if named && !slices.Contains(copies(), name) {
			return fmt.Errorf("no copy of the suite is called %q: use %s", name, strings.Join(copies(), " or "))
		}
		for _, c := range copies() {
			if !named || c == name {
				m[c] = n
			}
		}
	}
	return nil
}

// enough says which copy of the suite passes too few tests.
func enough(reports []*report, required, optimal minimum) error {
	var errs []error
	for _, rep := range reports {
		for _, c := range []struct {
			kind string
			min  int
		}{{kindRequired, required[rep.from]}, {kindOptimal, optimal[rep.from]}} {
			if got := rep.count(anySuite, c.kind); got.passed < c.min {
				errs = append(errs, fmt.Errorf("%s: %d of %d %s tests passed, fewer than %d", rep.title, got.passed, got.total, c.kind, c.min))
			}
		}
	}
	return errors.Join(errs...)
}
