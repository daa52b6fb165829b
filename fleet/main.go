// Command fleet simulates many pods on one Redis and measures what each of them costs
// it: commands, CPU time, memory and bytes. It is started by `make fleet`, and needs
// redis-server. docs/scaling.md is made of what it prints.
//
// A pod here is a redisconn.Conn with memory of its own, and the store, session checker
// and queue agent that stand on it: what pillion has, but for its HTTP side. All pods
// are in this process, and share its cores with Redis. So what Redis spends is exact,
// as the kernel counts it for Redis alone; how soon something arrives is not, and is an
// upper bound.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	pods    counts        // how many pods, one step after another
	writes  counts        // a second, of scenario hot
	keys    int           // that each pod reads, of scenario table
	window  time.Duration // of a measurement
	calm    time.Duration // of a measurement of idle queues, which do something every few seconds only
	only    string
	csv     string
	timeout time.Duration
}

// counts is a flag of numbers between commas.
type counts []int

func (c counts) String() string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint([]int(c))), ","), "[]")
}

// Set reads the flag.
func (c *counts) Set(text string) error {
	var list counts
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number above 0: write some between commas, such as 1,10,100", part)
		}
		list = append(list, n)
	}
	*c = list
	return nil
}

// scenario is one thing that pods do.
type scenario struct {
	name string
	run  func(context.Context, options) (*table, error)
}

func scenarios() []scenario {
	return []scenario{
		{"requests", requests}, {"idle", idle}, {"table", trackingTable}, {"overflow", overflow}, {"hot", hot},
		{"sessions", sessions}, {"tags", tags}, {"calm", calmQueues}, {"trickle", trickle}, {"backlog", backlog},
		{"mix", mix}, {"cluster", cluster},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{pods: counts{1, 2, 5, 10, 25, 50, 100, 200}, writes: counts{1, 10, 100, 1000}}
	fs := flag.NewFlagSet("fleet", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Var(&o.pods, "pods", "numbers of pods")
	fs.Var(&o.writes, "writes", "writes a second, of scenario hot")
	fs.IntVar(&o.keys, "keys", 1000, "keys that each pod reads, of scenario table")
	fs.DurationVar(&o.window, "window", 3*time.Second, "time of each measurement")
	fs.DurationVar(&o.calm, "calm", 30*time.Second, "time of each measurement of idle queues")
	fs.StringVar(&o.only, "only", "", "run these scenarios, between commas: "+strings.Join(names(), ", "))
	fs.StringVar(&o.csv, "csv", "", "folder to write a CSV file of each scenario to; empty for none")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Minute, "for everything")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: only flags are taken", fs.Arg(0))
	}
	return o, o.check()
}

func names() []string {
	var list []string
	for _, s := range scenarios() {
		list = append(list, s.name)
	}
	return list
}

func (o options) check() error {
	if o.keys < 1 {
		return fmt.Errorf("-keys %d: set 1 or more", o.keys)
	}
	if o.window <= 0 || o.calm <= 0 {
		return fmt.Errorf("-window %s, -calm %s: set more than 0", o.window, o.calm)
	}
	for name := range o.wanted() {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("-only %q is not known: use %s", name, strings.Join(names(), ", "))
		}
	}
	return nil
}

// wanted names the scenarios to run; none: all.
func (o options) wanted() map[string]bool {
	set := make(map[string]bool)
	for name := range strings.SplitSeq(o.only, ",") {
		if name != "" {
			set[name] = true
		}
	}
	return set
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := describe(stdout); err != nil {
		return err
	}
	wanted := o.wanted()
	for _, s := range scenarios() {
		if len(wanted) > 0 && !wanted[s.name] {
			continue
		}
		t, err := s.run(ctx, o)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.name, err)
		}
		t.print(stdout)
		if o.csv != "" {
			if err := t.writeCSV(filepath.Join(o.csv, s.name+".csv")); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe says where the numbers come from.
func describe(w io.Writer) error {
	r, err := start()
	if err != nil {
		return err
	}
	defer r.close()
	version, err := r.field(context.Background(), "redis_version")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Redis %s, %d cores shared by Redis and all pods, %s\n", version, runtime.NumCPU(), runtime.Version())
	return err
}
