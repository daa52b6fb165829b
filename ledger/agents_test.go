//go:build linux

package ledger

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// agent is one process of the program, which can be killed and started again.
type agent struct {
	tb     testing.TB
	name   string
	binary string
	config string // path
	env    []string
	log    tail
	cmd    *exec.Cmd
	exited chan struct{}
	paused bool // of who stops and continues it
}

// newAgent writes the configuration; start runs it.
func newAgent(tb testing.TB, binary, name, config, redisAddr string) *agent {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	a := &agent{tb: tb, name: name, binary: binary, config: path, env: []string{
		"PATH=" + os.Getenv("PATH"), "PILLION_AGENT_ID=" + name, "REDIS_URL=redis://" + redisAddr,
		"PILLION_UPSTREAM_URL=http://127.0.0.1:1", "PILLION_LISTEN=off", "PILLION_ADMIN_LISTEN=off",
	}}
	tb.Cleanup(func() {
		a.kill()
		if a.log.races > 0 {
			tb.Errorf("%s has %d data races", name, a.log.races)
		}
		if tb.Failed() {
			tb.Logf("end of the log of %s:\n%s", name, a.log.String())
		}
	})
	return a
}

func (a *agent) start() {
	a.tb.Helper()
	a.cmd = exec.Command(a.binary, "run", "--config", a.config)
	a.cmd.Env = a.env
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := a.cmd.Start(); err != nil {
		a.tb.Fatal(err)
	}
	a.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(a.cmd, a.exited)
}

// kill ends the process with SIGKILL and waits until it is gone.
func (a *agent) kill() {
	if a.cmd == nil {
		return
	}
	_ = a.cmd.Process.Kill()
	<-a.exited
	a.cmd, a.paused = nil, false
}

// pause stops the process from running (SIGSTOP), and waits until it does.
func (a *agent) pause() {
	a.tb.Helper()
	a.paused = true
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		a.tb.Fatal(err)
	}
	for !stopped(a.cmd.Process.Pid) {
	}
}

// stopped reads the state from /proc/PID/stat, behind the name in parentheses.
func stopped(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true // it is gone
	}
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && i+2 < len(stat) && stat[i+2] == 'T'
}

// resume lets a stopped process run again.
func (a *agent) resume() {
	if a.cmd != nil && a.paused {
		a.paused = false
		_ = a.cmd.Process.Signal(syscall.SIGCONT)
	}
}

// memory gives the resident memory in bytes.
func (a *agent) memory() int64 {
	a.tb.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", a.cmd.Process.Pid))
	if err != nil {
		a.tb.Fatal(err)
	}
	fields := bytes.Fields(statm)
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		a.tb.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// maxTail bounds what is kept of a log.
const maxTail = 32 << 10

// tail keeps the end of a log.
type tail struct {
	goroutines atomic.Int64 // stacks in a dump

	mu    sync.Mutex
	b     []byte
	races int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.goroutines.Add(int64(bytes.Count(p, []byte(" gp=0x"))))
	t.races += bytes.Count(p, []byte("DATA RACE"))
	t.b = append(t.b, p...)
	if len(t.b) > 2*maxTail {
		t.b = append(t.b[:0], t.b[len(t.b)-maxTail:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
