package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
)

// suite is what all measurements have in common.
type suite struct {
	root    string
	pillion string
	out     string
	rounds  int
	retries int
	peers   []string
	work    string
	results *result.Set
}

func (s *suite) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&s.root, "root", ".", "checkout of pillion, or a folder within it")
	f.StringVar(&s.pillion, "pillion", "", "the pillion to measure; empty builds ./cmd/pillion")
	f.StringVar(&s.out, "out", "", "file to add the results to, as JSON; empty for none")
	f.IntVar(&s.rounds, "rounds", 5, "rounds, in each of which all peers are measured one after the other")
	f.IntVar(&s.retries, "retries", 2, "how often to repeat a round in which other programs took more than a twentieth of a core")
	f.StringSliceVar(&s.peers, "peers", nil, "peers to measure; empty is all that are installed")
}

// measure prepares a run, does it, and keeps its results.
func (s *suite) measure(ctx context.Context, out io.Writer, do func() error) (err error) {
	if s.rounds < 1 {
		return errors.New("--rounds must be 1 or more")
	}
	if s.root, err = proc.FindRoot(s.root); err != nil {
		return err
	}
	if s.work, err = os.MkdirTemp("", "pillion-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.work)) }()
	if s.pillion == "" {
		if s.pillion, err = proc.BuildPillion(ctx, s.root, s.work); err != nil {
			return err
		}
	}
	s.results = result.NewSet()
	if err := do(); err != nil {
		return err
	}
	return errors.Join(s.keep(), s.results.Warn(out))
}

// keep adds the results to those in the file.
func (s *suite) keep() error {
	if s.out == "" {
		return nil
	}
	all, err := result.Load(s.out)
	if errors.Is(err, os.ErrNotExist) {
		return s.results.Save(s.out)
	}
	if err != nil {
		return err
	}
	all.Merge(s.results)
	return all.Save(s.out)
}
