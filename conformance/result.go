package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
)

// The kinds of the suite's tests.
const (
	kindRequired = "required" // a failure is probably against the specification
	kindOptimal  = "optimal"  // a failure is a stored response that was not used
	kindCheck    = "check"    // neither is wrong; the suite only wants to know
)

// report is what one copy of the suite found, as driver.mjs writes it.
type report struct {
	Suites []suite `json:"suites"`
	from   string  // copyRepository or copyNPM
	title  string  // for readers: which tests these are
}

type suite struct {
	ID, Name string
	// Targeted marks the tests of targeted fields, which are counted apart: few
	// caches have them.
	Targeted bool
	Tests    []test
}

type test struct {
	ID, Name, Kind string
	// Verdict is the suite's own: pass, yes; fail, optional_fail, no, setup_fail,
	// harness_fail, dependency_fail, retry, untested.
	Verdict string
	// Reason is the suite's own too, empty for a test that passed by itself.
	Reason string
}

func (t test) passed() bool { return t.Verdict == "pass" || t.Verdict == "yes" }

// why tells a reader what went wrong.
func (t test) why() string {
	switch t.Verdict {
	case "dependency_fail":
		if t.Reason == "" {
			return "passes, but a test that it depends on fails"
		}
		return "a test that it depends on fails; " + t.Reason
	case "setup_fail", "retry", "harness_fail", "untested":
		return t.Verdict + "; " + t.Reason
	}
	return t.Reason
}

// valid refuses results that this program would count wrongly.
func (r *report) valid() error {
	total := 0
	for _, s := range r.Suites {
		for _, t := range s.Tests {
			total++
			if t.Verdict == "" || !slices.Contains([]string{kindRequired, kindOptimal, kindCheck}, t.Kind) {
				return fmt.Errorf("test %s has the kind %q and the verdict %q: this program does not know one of them", t.ID, t.Kind, t.Verdict)
			}
		}
	}
	if total == 0 {
		return errors.New("no test has such an id")
	}
	return nil
}

// tally is how many tests passed, of how many.
type tally struct{ passed, total int }

func (t tally) String() string {
	if t.total == 0 {
		return "–"
	}
	return fmt.Sprintf("%d/%d", t.passed, t.total)
}

// anySuite, coreSuite and targetedSuite choose what is counted.
func anySuite(suite) bool        { return true }
func coreSuite(s suite) bool     { return !s.Targeted }
func targetedSuite(s suite) bool { return s.Targeted }

func count(suites []suite, chosen func(suite) bool, kind string) tally {
	var n tally
	for _, s := range suites {
		if !chosen(s) {
			continue
		}
		for _, t := range s.Tests {
			if t.Kind != kind {
				continue
			}
			n.total++
			if t.passed() {
				n.passed++
			}
		}
	}
	return n
}

func (r *report) count(chosen func(suite) bool, kind string) tally {
	return count(r.Suites, chosen, kind)
}

// failed lists the tests of a kind that did not pass, in the suite's order.
func (r *report) failed(kind string) []test {
	var list []test
	for _, s := range r.Suites {
		for _, t := range s.Tests {
			if t.Kind == kind && !t.passed() {
				list = append(list, t)
			}
		}
	}
	return list
}

// deviations maps the id of a test that is failed on purpose to the reason.
type deviations map[string]string

func readDeviations(root string) (deviations, error) {
	var d deviations
	err := readYAML(filepath.Join(root, "conformance", "deviations.yaml"), &d)
	return d, err
}

// readYAML reads a file of the project, and refuses keys that into does not have.
func readYAML(path string, into any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: run this from the root of the project, or give -root", path)
	}
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// check refuses a deviation that no copy of the suite has, or that none fails.
func (d deviations) check(reports []*report) error {
	failing, known := map[string]bool{}, map[string]bool{}
	for _, r := range reports {
		for _, s := range r.Suites {
			for _, t := range s.Tests {
				known[t.ID] = true
				failing[t.ID] = failing[t.ID] || !t.passed()
			}
		}
	}
	var errs []error
	for id := range d {
		switch {
		case !known[id]:
			errs = append(errs, fmt.Errorf("deviations.yaml: no test has the id %q", id))
		case !failing[id]:
			errs = append(errs, fmt.Errorf("deviations.yaml: %s passes: remove it", id))
		}
	}
	return errors.Join(errs...)
}

// printReport writes the totals and the failures for a terminal.
func printReport(w io.Writer, r *report, why deviations) {
	fmt.Fprintf(w, "\n%s\n\n%-62s %9s %9s %9s\n", "http-cache-tests, "+r.title, "suite", kindRequired, kindOptimal, kindCheck)
	for _, s := range r.Suites {
		printTotals(w, s.Name, []suite{s}, anySuite)
	}
	printTotals(w, "total", r.Suites, anySuite)
	printTotals(w, "  without targeted fields", r.Suites, coreSuite)
	printTotals(w, "  targeted fields", r.Suites, targetedSuite)
	for _, kind := range []string{kindRequired, kindOptimal} {
		failed := r.failed(kind)
		fmt.Fprintf(w, "\n%d %s tests did not pass\n", len(failed), kind)
		for _, t := range failed {
			fmt.Fprintf(w, "  %-55s %s\n", t.ID, t.why())
			if reason := why[t.ID]; reason != "" {
				fmt.Fprintf(w, "  %-55s on purpose: %s\n", "", reason)
			}
		}
	}
}

func printTotals(w io.Writer, name string, suites []suite, chosen func(suite) bool) {
	fmt.Fprintf(w, "%-62s", name)
	for _, kind := range []string{kindRequired, kindOptimal, kindCheck} {
		fmt.Fprintf(w, " %9s", count(suites, chosen, kind))
	}
	fmt.Fprintln(w)
}

// printTests writes the verdict of each test that -only chose.
func printTests(w io.Writer, r *report) {
	for _, s := range r.Suites {
		for _, t := range s.Tests {
			fmt.Fprintf(w, "%s (%s, %s): %s %s\n  %s\n", t.ID, s.ID, t.Kind, t.Verdict, t.Reason, t.Name)
		}
	}
}
