package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pillion-proxy/pillion/internal/redisproc"
)

// runner runs the copies of the suite that its options choose, one after the other,
// each on an empty Redis and a new pillion.
type runner struct {
	options
	work           string
	stdout, stderr io.Writer
}

func (r *runner) run(ctx context.Context) ([]*report, error) {
	chosen, err := r.install(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	var reports []*report
	for _, c := range chosen {
		fmt.Fprintf(r.stderr, "http-cache-tests runs: %s\n", c.title)
		rep, err := r.runCopy(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.title, err)
		}
		rep.from, rep.title = c.name, c.title
		reports = append(reports, rep)
	}
	return reports, nil
}

// prepare finds the pillion to test, and its version, or builds it.
func (r *runner) prepare(ctx context.Context) (err error) {
	if r.pillion == "" {
		r.pillion, err = r.build(ctx)
		return err
	}
	// It is started in a folder of its own.
	if r.pillion, err = filepath.Abs(r.pillion); err != nil {
		return err
	}
	r.version, err = versionOf(ctx, r.pillion)
	return err
}

func (r *runner) build(ctx context.Context) (string, error) {
	bin := filepath.Join(r.work, "pillion")
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", "-X main.version="+r.version, "-o", bin, "./cmd/pillion")
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/pillion: %w:\n%s", err, out)
	}
	return bin, nil
}

// runCopy starts the suite's origin, Redis and pillion, runs the suite's client,
// and ends them all in turn, whatever happened.
func (r *runner) runCopy(ctx context.Context, c suiteCopy) (rep *report, err error) {
	shown := io.Discard
	if r.only != "" {
		shown = r.stdout
	}
	origin, err := startOrigin(ctx, filepath.Join(r.work, "origin.mjs"), c, filepath.Join(r.work, "origin.pid"), shown)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, origin.stop()) }()
	redis, err := redisproc.Start(redisproc.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, redis.Stop()) }()
	proxy, err := r.startPillion(ctx, redis.Socket, origin.url)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, proxy.stop()) }()
	rep, err = r.drive(ctx, c.dir, proxy.url)
	if r.only != "" {
		fmt.Fprintf(r.stderr, "\nlog of pillion:\n%s", proxy.log)
	} else if said := complaints(proxy.log.String()); said != "" {
		fmt.Fprintf(r.stderr, "pillion complained; the end of it:\n%s", said)
	}
	return rep, err
}

// complaints gives the lines of pillion's log that are not mere news, nor the record
// of a request that the origin answered with an error, the last 20 of them: a lost Redis, or a machine too busy to answer in time, explains a result
// that no other run has.
func complaints(log string) string {
	var lines []string
	for line := range strings.Lines(log) {
		news := slices.ContainsFunc([]string{`"level":"info"`, `"level":"debug"`, `"message":"request"`}, func(mark string) bool {
			return strings.Contains(line, mark)
		})
		if !news {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "")
}

// drive runs the suite's client and reads what it found.
func (r *runner) drive(ctx context.Context, dir, base string) (*report, error) {
	output := filepath.Join(r.work, "output.json")
	args := []string{"--no-warnings", filepath.Join(r.work, "driver.mjs"), dir, base, output, strconv.Itoa(r.parallel)}
	if r.only != "" {
		args = append(args, r.only)
	}
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = dir
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if r.only != "" {
		cmd.Stdout, cmd.Stderr = r.stdout, r.stderr
	}
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the suite's client: %w:\n%s", err, log.String())
	}
	data, err := os.ReadFile(output)
	if err != nil {
		return nil, err
	}
	rep := new(report)
	if err := json.Unmarshal(data, rep); err != nil {
		return nil, fmt.Errorf("the suite's results: %w", err)
	}
	if err := rep.valid(); err != nil {
		return nil, err
	}
	if r.only != "" {
		printTests(r.stdout, rep)
	}
	return rep, nil
}
