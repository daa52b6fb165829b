// Package rig holds what all scenarios share: the programs, the results, and the rule
// by which rounds are repeated.
package rig

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/pillion-proxy/pillion/bench/result"
)

// Rig is one run of the suite.
type Rig struct {
	Self    string // this program, which also plays some of the processes
	Pillion string // the program
	Root    string // of pillion's checkout
	Work    string // a folder for what the processes write
	Out     io.Writer
	Results *result.Set
	Rounds  int
	Retries int      // of a round in which other programs took too much
	Peers   []string // names; empty is all
}

// Printf writes to the user.
func (r *Rig) Printf(format string, args ...any) { _, _ = fmt.Fprintf(r.Out, format, args...) }

// Wanted says whether a peer is to be measured.
func (r *Rig) Wanted(peer string) bool { return len(r.Peers) == 0 || slices.Contains(r.Peers, peer) }

// Skip says that a peer is not measured, and why.
func (r *Rig) Skip(peer string, why error) {
	if line := fmt.Sprintf("%s is skipped: %v", peer, why); r.Results.Skip(line) {
		r.Printf("%s\n", line)
	}
}

// Dir makes a folder for the processes of one round.
func (r *Rig) Dir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(r.Work, "round-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// Path is a path within the checkout.
func (r *Rig) Path(elem ...string) string { return filepath.Join(append([]string{r.Root}, elem...)...) }

// Quiet does a round, and again while other programs take too much of the machine. The
// quietest attempt is not looked for: the last one counts.
func (r *Rig) Quiet(scenario, peer string, do func() (foreign float64, err error)) error {
	for attempt := 0; ; attempt++ {
		foreign, err := do()
		if err != nil {
			return fmt.Errorf("%s, %s: %w", scenario, peer, err)
		}
		if foreign <= result.QuietLimit || attempt >= r.Retries {
			r.Results.Noise(scenario, peer, foreign)
			return nil
		}
		r.Printf("%s: %s once more, since other programs took %.2f of a core\n", scenario, peer, foreign)
	}
}
