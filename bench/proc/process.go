// Package proc starts the servers of a measurement as processes of their own, pins
// them to cores, and tells what they cost.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readyWithin = 20 * time.Second
	stopWithin  = 10 * time.Second
	askEvery    = 2 * time.Millisecond
)

// Spec says what to start. Its environment is PATH, HOME and Env alone: no setting of
// the user's changes what is measured.
type Spec struct {
	Name string
	Path string
	Args []string
	Env  []string
	Dir  string
	// Cores are those that the process and its children may use; nil is all.
	Cores []int
}

// Process is a running server. Its methods are for one goroutine.
type Process struct {
	Name   string
	cmd    *exec.Cmd
	log    *tail
	exited chan struct{} // closed when it has ended
}

// Start runs the program.
func Start(s Spec) (*Process, error) {
	p := &Process{Name: s.Name, cmd: exec.Command(s.Path, s.Args...), log: new(tail), exited: make(chan struct{})}
	p.cmd.Dir = s.Dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, s.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A group of its own, so that its children can be ended with it; the kernel ends
	// it should we be killed.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := startOn(p.cmd, s.Cores); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// startOn starts the command with the cores that it may use. They are set on the
// thread that forks: a process that is pinned later has counted its cores by then.
func startOn(cmd *exec.Cmd, cores []int) error {
	if cores == nil {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	want := set(cores)
	if err := unix.SchedSetaffinity(0, &want); err != nil {
		return fmt.Errorf("pin it to cores %v: %w", cores, err)
	}
	return errors.Join(cmd.Start(), unix.SchedSetaffinity(0, &before))
}

func set(cores []int) unix.CPUSet {
	var s unix.CPUSet
	for _, c := range cores {
		s.Set(c)
	}
	return s
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Log gives the last that the process wrote.
func (p *Process) Log() string { return p.log.String() }

// Signal sends a signal to the process.
func (p *Process) Signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// Stop ends the process with SIGTERM, and kills it and its children after ten seconds.
// A process that had ended before is an error: what it served came to nothing.
func (p *Process) Stop() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended early (%s); the end of its log:\n%s", p.Name, p.cmd.ProcessState, p.log)
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
		<-p.exited
	}
	return nil
}

// WaitHTTP waits until a GET of the URL gives 200.
func (p *Process) WaitHTTP(ctx context.Context, url string) error {
	return p.wait(ctx, url, func(ctx context.Context) bool {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// WaitTCP waits until something listens at the address.
func (p *Process) WaitTCP(ctx context.Context, addr string) error {
	return p.wait(ctx, addr, func(ctx context.Context) bool {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

func (p *Process) wait(ctx context.Context, what string, ok func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it answered at %s (%s); the end of its log:\n%s", p.Name, what, p.cmd.ProcessState, p.log)
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer at %s within %v; the end of its log:\n%s", p.Name, what, readyWithin, p.log)
		case <-tick.C:
		}
	}
	return nil
}

// FreeAddr gives an address of loopback that was free a moment ago.
func FreeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// tail keeps the last 64 KiB that were written to it. It is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 64 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf); n > most {
		t.buf = bytes.Clone(t.buf[n-most:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// PinSelf keeps this process off the first core, and on those from first on. A process
// that has begun has threads on all cores, so it begins anew, once.
func PinSelf(first int) error {
	var now unix.CPUSet
	if err := unix.SchedGetaffinity(0, &now); err != nil {
		return err
	}
	if !now.IsSet(0) {
		return nil // we have begun anew
	}
	if n := now.Count(); first >= n {
		return fmt.Errorf("this process may use %d cores: the server needs %d, and the client another", n, first)
	}
	var want unix.CPUSet
	for c := range Cores() {
		if c >= first && now.IsSet(c) {
			want.Set(c)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &want); err != nil {
		return fmt.Errorf("pin the client to cores from %d on: %w", first, err)
	}
	return unix.Exec(self, os.Args, os.Environ())
}
