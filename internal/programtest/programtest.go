// Package programtest builds the program and runs it as a process, for tests that
// look at it from outside.
package programtest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

const (
	readyWithin      = time.Minute
	readyUnderWithin = 2 * time.Minute // under a program that runs it slowly
	stopWithin       = time.Minute
	askEvery         = 5 * time.Millisecond
)

// Build compiles cmd/pillion and gives the path of the binary, which is removed with
// the test. A test that has the race detector gets a program that has it too: what it
// finds is in the log and in the exit status.
func Build(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "pillion")
	args := []string{"build", "-o", path}
	if raceDetector() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "github.com/pillion-proxy/pillion/cmd/pillion")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return path
}

func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// Options say how to run the program.
type Options struct {
	Config   string // the configuration, as text
	Redis    string // URL
	Upstream string // URL
	Env      []string
	Under    []string // a program that runs it, with its arguments, and keeps its process id
	Tries    int      // how often to start one that ends at once; 0 is once
}

// Process is a running program.
type Process struct {
	Addr, Admin string // host:port

	tb     testing.TB
	cmd    *exec.Cmd
	log    *log
	exited chan struct{}
	err    error // of the exit, once exited is closed
}

// Start runs the binary that Build made, and waits until it is ready. It is killed
// with the test, unless Stop has ended it.
func Start(tb testing.TB, binary string, o Options) *Process {
	tb.Helper()
	within := readyWithin
	if len(o.Under) > 0 {
		within = readyUnderWithin
	}
	for tries := max(1, o.Tries); ; tries-- {
		p := launch(tb, binary, o)
		Eventually(tb, within, "pillion is ready, or has ended", func() bool { return p.ended() || p.ready() })
		switch {
		case !p.ended():
			return p
		case tries == 1:
			tb.Fatalf("pillion ended at once: %v", p.err)
		}
		tb.Logf("pillion ended at once, and is started again: %v\n%s", p.err, p.log)
	}
}

func launch(tb testing.TB, binary string, o Options) *Process {
	tb.Helper()
	config := filepath.Join(tb.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(o.Config), 0o600); err != nil {
		tb.Fatal(err)
	}
	p := &Process{tb: tb, Addr: apptest.FreeAddr(tb), Admin: apptest.FreeAddr(tb), log: new(log), exited: make(chan struct{})}
	args := slices.Concat(o.Under, []string{binary, "run", "--config", config})
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "PILLION_LISTEN=" + p.Addr, "PILLION_ADMIN_LISTEN=" + p.Admin,
		"PILLION_UPSTREAM_URL=" + o.Upstream, "REDIS_URL=" + o.Redis,
	}, o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	tb.Cleanup(p.cleanUp)
	return p
}

func (p *Process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

func (p *Process) ready() bool {
	resp, err := http.Get("http://" + p.Admin + "/readyz")
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (p *Process) cleanUp() {
	_ = p.cmd.Process.Kill()
	<-p.exited
	if p.tb.Failed() {
		p.tb.Logf("log of pillion at %s:\n%s", p.Addr, p.log)
	}
}

// PID is the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// URL is http://host:port.
func (p *Process) URL() string { return "http://" + p.Addr }

// Stop ends the process with SIGTERM; the test fails unless it exits with 0.
func (p *Process) Stop() {
	p.tb.Helper()
	if err := p.Terminate(stopWithin); err != nil {
		p.tb.Errorf("exit after SIGTERM: %v", err)
	}
}

// Terminate sends SIGTERM and gives how the process exits, which must be within the
// bound.
func (p *Process) Terminate(within time.Duration) error {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("the process did not end within %v", within)
	}
}

// Memory gives a line of /proc/PID/status in bytes: VmRSS is the resident memory, and
// VmHWM its peak.
func (p *Process) Memory(name string) int64 {
	p.tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(line), " kB"), 10, 64)
	if err != nil {
		p.tb.Fatalf("%s in /proc/PID/status: %v", name, err)
	}
	return n << 10
}

// ResetPeak makes VmHWM begin anew. Where the kernel does not offer that, the peak
// stays that of the whole life, so what is held against it is only stricter.
func (p *Process) ResetPeak() {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// Descriptors counts the open file descriptors.
func (p *Process) Descriptors() int {
	p.tb.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	return len(entries)
}

// Eventually asks until the answer is yes; the test fails when it is not within the
// bound.
func Eventually(tb testing.TB, within time.Duration, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", within, what)
		}
	}
}

// log collects what a process writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
