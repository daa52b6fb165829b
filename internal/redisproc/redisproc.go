// Package redisproc starts a redis-server process of our own, for tests and for
// the demo, and ends it again.
package redisproc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/internal/reserve"
)

// ErrNotFound says that no Redis server program is on PATH.
var ErrNotFound = errors.New("neither redis-server nor valkey-server is on PATH: install the redis-server package")

// Options say how to start the server.
type Options struct {
	// TCP also opens a port on loopback, at Port when it is set and free, else at any.
	TCP  bool
	Port int
	// Args are appended to the command line, such as "--appendonly", "yes".
	Args []string
	// Sentinel makes it a sentinel, with this configuration.
	Sentinel string
	// Dir is the working folder; empty makes a temporary one, removed by Stop.
	Dir string
}

// Server is a running redis-server. Its methods are not safe for concurrent use.
type Server struct {
	Socket string // path of the Unix socket
	Addr   string // host:port on loopback, when Options.TCP was set
	opts   Options
	ownDir bool
	dir    string
	bin    string
	port   *reserve.Port // nil: no port; kept while the process is down too
	cmd    *exec.Cmd
	exited chan struct{}
}

// Find gives the path of a Redis server program, or ErrNotFound.
func Find() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotFound
}

// startTries is how many ports are tried.
const startTries = 5

// readyWithin bounds the wait for a server's first answer. Many may be starting at once.
const readyWithin = time.Minute

// Start runs a server and waits until it answers, at most a minute.
func Start(opts Options) (*Server, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, dir: opts.Dir, bin: bin}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "pillion-redis-"); err != nil {
			return nil, err
		}
		s.ownDir = true
	}
	s.Socket = filepath.Join(s.dir, "redis.sock")
	if err := s.first(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// first starts the process for the first time. It tries another port when one is taken:
// in a Cluster the server needs a second, 10000 above its own, which may be anybody's.
func (s *Server) first() error {
	if !s.opts.TCP {
		return s.Restart()
	}
	want := s.opts.Port
	for try := 1; ; try++ {
		port, err := reserve.Wanted(want)
		if err != nil {
			return err
		}
		s.port, s.Addr = port, port.Addr()
		err = s.Restart()
		if err == nil || try == startTries || !strings.Contains(s.log(), "Address already in use") {
			return err
		}
		want = 0
		_ = port.Release()
		_ = os.Remove(s.logFile())
	}
}

// Restart starts the process again, on the same socket, port and folder, after
// Kill or Terminate.
func (s *Server) Restart() error {
	port := 0
	if s.port != nil {
		port = s.port.Number
	}
	args := []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--unixsocket", s.Socket,
		"--dir", s.dir, "--save", "", "--daemonize", "no", "--logfile", s.logFile(),
	}
	if s.opts.Sentinel != "" {
		file := filepath.Join(s.dir, "sentinel.conf") // which it rewrites
		if err := os.WriteFile(file, []byte(s.opts.Sentinel), 0o600); err != nil {
			return err
		}
		args = append([]string{file, "--sentinel"}, args...)
	}
	s.cmd = exec.Command(s.bin, append(args, s.opts.Args...)...)
	// A group of its own: a terminal's Ctrl-C must reach our process first, so
	// that it can still write its last answers.
	s.cmd.SysProcAttr = procAttr()
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.bin, err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	return s.waitReady()
}

func (s *Server) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.answers() {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("%s ended at once; its log:\n%s", s.bin, s.log())
		case <-ctx.Done():
			return fmt.Errorf("%s did not answer within %s; its log:\n%s", s.bin, readyWithin, s.log())
		case <-tick.C:
		}
	}
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "redis.log") }

func (s *Server) log() string {
	b, _ := os.ReadFile(s.logFile())
	return string(b)
}

// answers asks for PING; LOADING and errors are not yet an answer.
func (s *Server) answers() bool {
	line, err := s.Command("PING")
	return err == nil && line == "+PONG"
}

// Command sends one command over the Unix socket, on a connection of its own, and
// gives the first line of the reply. It is for set-up and checks, not for speed.
func (s *Server) Command(args ...string) (string, error) {
	c, err := net.DialTimeout("unix", s.Socket, time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write([]byte(b.String())); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// Pause stops the process from running (SIGSTOP); connections stay open.
func (s *Server) Pause() error { return s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process run again (SIGCONT).
func (s *Server) Resume() error { return s.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the process at once (SIGKILL) and waits for it.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Terminate asks the process to end (SIGTERM) and waits for it; a process that
// does not end within five seconds is killed.
func (s *Server) Terminate() { s.end(syscall.SIGTERM) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil || s.cmd.Process == nil || s.exited == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Signal(sig)
	select {
	case <-s.exited:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop ends the process and removes its folder.
func (s *Server) Stop() error {
	s.Terminate()
	var err error
	if s.port != nil {
		err = s.port.Release()
		s.port = nil
	}
	if s.ownDir {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}
