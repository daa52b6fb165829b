//go:build linux && !race

package hotpath

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
)

var functions = flag.Int("functions", 0, "show so many functions, those with most instructions of their own, of each scenario")

const (
	window     = 1000 // requests between two readings
	maxWindows = 10
	// atBaseline is how far from the baseline a window may be that needs no other.
	atBaseline = 0.02
	// dumpWithin bounds one reading of the counter.
	dumpWithin = time.Minute
)

// instructions is the unit: the count depends on what compiled the program, and for what.
func instructions() string {
	target := runtime.GOARCH
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GOAMD64" || s.Key == "GOARM64" {
				target += "." + s.Value
			}
		}
	}
	return "instructions/" + goVersion() + "/" + target
}

// callgrind is the tool of valgrind that counts the instructions of the program that it
// runs: those in user space, the runtime's scheduler and poller among them. It needs no
// counter of the processor, and counts the same on every machine.
type callgrind struct {
	p    *programtest.Process
	out  string // where dumps go: out.1, out.2, …
	pipe string // what the names of the pipes begin with by which it takes commands
	n    int    // dumps so far
}

// startCallgrind runs the program under it. Where that cannot be, in CI it fails the test,
// and else skips it.
func (r *rig) startCallgrind(t *testing.T) *callgrind {
	t.Helper()
	giveUp := t.Skipf
	if os.Getenv("CI") != "" {
		giveUp = t.Fatalf
	}
	for _, name := range []string{"valgrind", "vgdb"} {
		if _, err := exec.LookPath(name); err != nil {
			giveUp("NOT TESTED: %s is not installed: run .ci/install-deps", name)
		}
	}
	dir := t.TempDir()
	g := &callgrind{out: filepath.Join(dir, "out"), pipe: filepath.Join(dir, "vgdb")}
	under := []string{
		"valgrind", "-q", "--tool=callgrind", "--dump-line=no",
		"--callgrind-out-file=" + g.out, "--vgdb-prefix=" + g.pipe,
	}
	cmd := exec.Command(under[0], slices.Concat(under[1:], []string{r.binary, "version"})...)
	cmd.Env = append(os.Environ(), callgrindEnv()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		giveUp("NOT TESTED: valgrind does not run the program: %v\n%s", err, out)
	}
	g.p = r.start(t, under...)
	if _, err := g.dump(); err != nil {
		giveUp("NOT TESTED: callgrind cannot be read: %v", err) // where ptrace is forbidden
	}
	return g
}

// callgrindEnv is the environment in which a request costs the same every time.
func callgrindEnv() []string {
	return []string{
		"GOGC=off", // a collection in one window and not in the next would be a difference
		// asyncpreemptoff: callgrind does not expect that a signal's handler goes on
		// elsewhere, and ends. cpu.all: without what only some processors have, such as
		// AVX2, which valgrind lets the program see where it is.
		"GODEBUG=asyncpreemptoff=1,cpu.all=off",
	}
}

// count gives the instructions of one request: those of the cheapest window. Whatever
// the machine does beside only adds to them: when an answer comes late, the scheduler
// looks for other work. So a window at the baseline ends the counting.
func (g *callgrind) count(t *testing.T, name string, baseline float64) float64 {
	ask := asker(t, g.p, name)
	read := func() profile {
		for range window {
			ask()
		}
		p, err := g.dump()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	read() // to warm up, and what was counted before
	least, of := math.Inf(1), profile{}
	for range maxWindows {
		p := read()
		n := float64(p.total()) / window
		t.Logf("instructions of a request in one window: %.2f", n)
		if n < least {
			least, of = n, p
		}
		if !*update && least <= baseline*(1+atBaseline) {
			break
		}
	}
	for _, f := range of.most(*functions) {
		t.Logf("%10.2f %s", float64(of[f])/window, f)
	}
	return least
}

// dump reads what was counted since the one before.
func (g *callgrind) dump() (profile, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dumpWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "vgdb", "--vgdb-prefix="+g.pipe, "--pid="+strconv.Itoa(g.p.PID()), "dump")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	g.n++
	name := g.out + "." + strconv.Itoa(g.n)
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	_ = os.Remove(name)
	return parseProfile(string(text))
}
