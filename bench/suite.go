package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
	"github.com/pillion-proxy/pillion/bench/rig"
)

// suite is the command line that all measurements share.
type suite struct {
	root    string
	pillion string
	out     string
	rounds  int
	retries int
	peers   []string
}

func (s *suite) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&s.root, "root", ".", "checkout of pillion, or a folder within it")
	f.StringVar(&s.pillion, "pillion", "", "the pillion to measure; empty builds ./cmd/pillion")
	f.StringVar(&s.out, "out", "", "file to add the results to, as JSON; empty for none")
	f.IntVar(&s.rounds, "rounds", 5, "rounds, in each of which all peers are measured one after the other")
	f.IntVar(&s.retries, "retries", 2, "how often to repeat a round in which other programs took more than a tenth of a core")
	f.StringSliceVar(&s.peers, "peers", nil, "peers to measure; empty is all that are installed")
}

// measure prepares a run, does it, and keeps its results.
func (s *suite) measure(ctx context.Context, out io.Writer, do func(*rig.Rig) error) (err error) {
	if s.rounds < 1 {
		return errors.New("--rounds must be 1 or more")
	}
	r := &rig.Rig{Out: out, Results: result.NewSet(), Pillion: s.pillion, Rounds: s.rounds, Retries: s.retries, Peers: s.peers}
	if r.Self, err = os.Executable(); err != nil {
		return err
	}
	if r.Root, err = proc.FindRoot(s.root); err != nil {
		return err
	}
	if r.Work, err = os.MkdirTemp("", "pillion-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.Work)) }()
	if r.Pillion == "" {
		if r.Pillion, err = proc.BuildPillion(ctx, r.Root, r.Work); err != nil {
			return err
		}
	}
	// What was measured before something failed is good.
	return errors.Join(do(r), s.keep(r.Results), r.Results.Warn(out))
}

// keep adds the results to those in the file.
func (s *suite) keep(now *result.Set) error {
	if s.out == "" {
		return nil
	}
	all, err := result.Load(s.out)
	if errors.Is(err, os.ErrNotExist) {
		return now.Save(s.out)
	}
	if err != nil {
		return err
	}
	all.Merge(now)
	return all.Save(s.out)
}
