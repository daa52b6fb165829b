package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/queue"
	"github.com/pillion-proxy/pillion/bench/report"
	"github.com/pillion-proxy/pillion/bench/result"
	"github.com/pillion-proxy/pillion/bench/web"
)

// allCommand runs every measurement, each in a process of its own: that of the HTTP
// scenarios keeps off a core, and those of the queues must not.
func (s *suite) allCommand() *cobra.Command {
	var only []string
	var write bool
	cmd := &cobra.Command{Use: "all", Short: "Measure everything, and write docs/benchmarks.md unless the run was disturbed", Args: cobra.NoArgs}
	cmd.Flags().StringSliceVar(&only, "only", []string{"http", queue.DrainName, queue.IdleName, queue.DelayName}, "commands to run")
	cmd.Flags().BoolVar(&write, "write", true, "write docs/benchmarks.md")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return s.all(cmd.Context(), cmd.OutOrStdout(), only, write)
	}
	return cmd
}

func (s *suite) all(ctx context.Context, out io.Writer, only []string, write bool) (err error) {
	root, err := proc.FindRoot(s.root)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "pillion-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	if s.pillion == "" { // once for all
		if s.pillion, err = proc.BuildPillion(ctx, root, work); err != nil {
			return err
		}
	}
	file := s.out
	if file == "" {
		file = filepath.Join(work, "results.json")
	}
	for _, name := range only {
		if err := s.child(ctx, out, root, file, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	set, err := result.Load(file)
	if err != nil {
		return err
	}
	report.Verdicts(out, set)
	if !write {
		return nil
	}
	return writePage(out, root, set, false)
}

// child runs one of our own commands, with our flags.
func (s *suite) child(ctx context.Context, out io.Writer, root, file, name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{name, "--root", root, "--pillion", s.pillion, "--out", file, "--rounds", strconv.Itoa(s.rounds), "--retries", strconv.Itoa(s.retries)}
	if len(s.peers) > 0 {
		args = append(args, "--peers", strings.Join(s.peers, ","))
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	// It ends its own servers when it is asked to.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

func writePage(out io.Writer, root string, set *result.Set, force bool) error {
	about := make(map[string]string)
	for _, sc := range web.Scenarios() {
		about[sc.Name] = sc.About
	}
	if err := report.Write(root, set, about, force); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "docs/benchmarks.md was written")
	return err
}

// reportCommand writes the page from results that were kept.
func (s *suite) reportCommand() *cobra.Command {
	var force, write bool
	cmd := &cobra.Command{Use: "report FILE", Short: "Judge results that --out has kept, and write docs/benchmarks.md from them", Args: cobra.ExactArgs(1)}
	cmd.Flags().BoolVar(&write, "write", true, "write docs/benchmarks.md")
	cmd.Flags().BoolVar(&force, "force", false, "even from a run that other programs disturbed")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		set, err := result.Load(args[0])
		if err != nil {
			return err
		}
		report.Verdicts(cmd.OutOrStdout(), set)
		if !write {
			return nil
		}
		root, err := proc.FindRoot(s.root)
		if err != nil {
			return err
		}
		return writePage(cmd.OutOrStdout(), root, set, force)
	}
	return cmd
}
