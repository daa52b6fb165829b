// Command conformance runs the public suite http-cache-tests against a real
// pillion, prints what passed, and writes docs/conformance.md. It is started by
// `make conformance`, from the root of the project, and needs node, npm, go and
// redis-server.
//
// It runs the suite's package on npm and, with -suite-dir, a checkout of the suite's
// repository, whose tests are newer. docs/conformance.md says how the two differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	root        string // of the project
	suite       string // repository, npm or all
	suiteDir    string // a checkout of the suite's repository; empty for none
	pillion     string // the program; empty to build it
	only        string // a test's id, or a part of it
	version     string // of pillion, for the report
	doc         string // where the report goes, relative to root; empty for nowhere
	parallel    int    // tests at a time; 0 is the suite's own choice
	minRequired minimum
	minOptimal  minimum
	timeout     time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	err := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{minRequired: minimum{}, minOptimal: minimum{}}
	fs := flag.NewFlagSet("conformance", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.root, "root", ".", "root of the project")
	fs.StringVar(&o.suite, "suite", "all", "which copy of the suite to run: npm, repository, or all that there are")
	fs.StringVar(&o.suiteDir, "suite-dir", "", "a checkout of the suite's repository, "+suiteURL)
	fs.StringVar(&o.pillion, "pillion", "", "the pillion to test; empty builds ./cmd/pillion")
	fs.StringVar(&o.only, "only", "", "run and show only the test with this id, or those whose ids contain it; writes no report")
	fs.StringVar(&o.version, "version", "dev", "version of the pillion that is built")
	fs.StringVar(&o.doc, "doc", "docs/conformance.md", "where to write the report, from the root; empty for nowhere")
	fs.IntVar(&o.parallel, "parallel", 0, "tests at a time; 0 is the suite's own choice")
	fs.Var(o.minRequired, "min-required", "fail when a copy passes fewer required tests, those of targeted fields included: 150, or npm=146,repository=160")
	fs.Var(o.minOptimal, "min-optimal", "the same for optimal tests")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Minute, "for everything")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: only flags are taken", fs.Arg(0))
	}
	return o, o.check()
}

func (o *options) check() error {
	if o.suite != "all" && !slices.Contains(copies(), o.suite) {
		return fmt.Errorf("-suite %q is not known: use %s or all", o.suite, strings.Join(copies(), ", "))
	}
	if o.suite == copyRepository && o.suiteDir == "" {
		return fmt.Errorf("-suite %s needs -suite-dir: a checkout of %s", copyRepository, suiteURL)
	}
	return nil
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	why, err := readDeviations(o.root)
	if err != nil {
		return err
	}
	others, err := readPublished(o.root)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "pillion-conformance-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r := &runner{options: o, work: work, stdout: stdout, stderr: stderr}
	reports, err := r.run(ctx)
	if err != nil || o.only != "" {
		return err
	}
	return r.publish(page{reports: reports, why: why, others: others, version: r.version})
}

// publish prints what was found, writes it down, and then says what is amiss with it.
func (r *runner) publish(p page) error {
	for _, rep := range p.reports {
		printReport(r.stdout, rep, p.why)
	}
	if r.doc != "" {
		if err := os.WriteFile(filepath.Join(r.root, r.doc), p.markdown(), 0o644); err != nil {
			return err
		}
	}
	err := enough(p.reports, r.minRequired, r.minOptimal)
	if len(p.reports) == len(copies()) {
		// A single copy may lack a test, or pass it while the other does not.
		err = errors.Join(err, p.why.check(p.reports))
	}
	return err
}

// versionOf asks a pillion for its version.
func versionOf(ctx context.Context, pillion string) (string, error) {
	out, err := exec.CommandContext(ctx, pillion, "version").Output()
	if err != nil {
		return "", fmt.Errorf("-pillion %s: its command version: %w", pillion, err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "pillion "), nil
}
