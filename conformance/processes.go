package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/internal/reserve"
)

// process is a child of ours, with the last of what it wrote.
type process struct {
	url    string
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer
	log    *tail
	exited chan struct{} // closed when it has ended
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

// begin starts cmd. The process gets an input that ends when we do.
func begin(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{name: name, cmd: cmd, log: new(tail), exited: make(chan struct{})}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if cmd.Stdout == nil {
		cmd.Stdout = p.log
	}
	cmd.Stderr = p.log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait()
	}()
	return p, nil
}

// stop asks the process to end, and kills it after ten seconds. A process that had
// ended before is an error: what it served came to nothing.
func (p *process) stop() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s ended early (%s); the end of its log:\n%s", p.name, p.cmd.ProcessState, p.log)
	default:
	}
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return nil
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not end within 10s of SIGTERM and was killed; the end of its log:\n%s", p.name, p.log)
	}
}

// startOrigin runs the suite's server and waits for the line that names its URL.
// What it prints after that goes to shown.
func startOrigin(ctx context.Context, script string, c suiteCopy, pidFile string, shown io.Writer) (*process, error) {
	cmd := exec.Command("node", "--no-warnings", script, c.server, pidFile)
	cmd.Dir = c.dir
	lines := &announced{found: make(chan string, 1), rest: shown}
	cmd.Stdout = lines
	p, err := begin("the suite's origin", cmd)
	if err != nil {
		return nil, err
	}
	select {
	case p.url = <-lines.found:
		return p, nil
	case <-p.exited:
		return nil, fmt.Errorf("%s ended at once: %s", p.name, p.log)
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.stop())
	case <-time.After(20 * time.Second):
		return nil, errors.Join(fmt.Errorf("%s did not say within 20s where it listens", p.name), p.stop())
	}
}

// announced waits for the origin's first line and passes on what follows. It is
// written to by one goroutine, that of exec.Cmd.
type announced struct {
	head  bytes.Buffer
	done  bool
	found chan string
	rest  io.Writer
}

func (a *announced) Write(p []byte) (int, error) {
	if a.done {
		return a.rest.Write(p)
	}
	a.head.Write(p)
	line, rest, ok := strings.Cut(a.head.String(), "\n")
	if !ok {
		return len(p), nil
	}
	a.done = true
	url := strings.TrimPrefix(strings.TrimSpace(line), "Listening on ")
	a.found <- strings.TrimSuffix(url, "/")
	_, err := io.WriteString(a.rest, rest)
	return len(p), err
}

// startPillion runs pillion with the conformance configuration and waits until it
// says that it is ready. Its environment is ours alone: no setting of the user's
// reaches it.
func (r *runner) startPillion(ctx context.Context, socket, upstream string) (*process, error) {
	config, err := filepath.Abs(filepath.Join(r.root, "conformance", "config.yaml"))
	if err != nil {
		return nil, err
	}
	listen, err := reserve.Any()
	if err != nil {
		return nil, err
	}
	defer listen.Release() // pillion listens by then
	admin, err := reserve.Any()
	if err != nil {
		return nil, err
	}
	defer admin.Release()
	cmd := exec.Command(r.pillion, "run", "--config", config)
	cmd.Dir = r.work
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "PILLION_LISTEN=" + listen.Addr(), "PILLION_ADMIN_LISTEN=" + admin.Addr(),
		"PILLION_UPSTREAM_URL=" + upstream, "REDIS_URL=unix://" + socket,
	}
	p, err := begin("pillion", cmd)
	if err != nil {
		return nil, err
	}
	p.url = "http://" + listen.Addr()
	if err := p.waitReady(ctx, "http://"+admin.Addr()+"/readyz"); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *process) waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, url) {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s did not start", p.name)
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within 20s; the end of its log:\n%s", p.name, p.log)
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}
