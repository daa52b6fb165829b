package splice

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// pair makes both ends of a connection.
func pair(t *testing.T, network string) (a, b net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "splice")
		must(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		addr = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, addr)
	must(t, err)
	defer ln.Close()
	a, err = net.Dial(network, ln.Addr().String())
	must(t, err)
	b, err = ln.Accept()
	must(t, err)
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// filled gives a pipe that holds the bytes.
func filled(t *testing.T, p *Pipes, text string) *Pipe {
	t.Helper()
	pipe := p.Take()
	if pipe == nil {
		t.Fatal("no pipe")
	}
	from, app := pair(t, "tcp")
	_, err := io.WriteString(app, text)
	must(t, err)
	for pipe.Held() < len(text) {
		_, err := pipe.Fill(Socket(from), int64(len(text)-pipe.Held()))
		must(t, err)
	}
	return pipe
}

func closed(fd int) bool {
	_, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
	return errno == syscall.EBADF
}

func TestMove(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			p := New(1, System)
			defer p.Close()
			from, app := pair(t, network)
			to, client := pair(t, network)
			want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)
			go func() {
				if _, err := app.Write(want); err != nil {
					t.Error(err)
				}
				_ = app.Close()
			}()
			done := make(chan []byte)
			go func() {
				b, _ := io.ReadAll(client)
				done <- b
			}()
			pipe := p.Take()
			for {
				_, err := pipe.Fill(Socket(from), 1<<62)
				if err == io.EOF {
					break
				}
				must(t, err)
				for pipe.Held() > 0 {
					_, err := pipe.Drain(Socket(to))
					must(t, err)
				}
			}
			_ = to.Close()
			if got := <-done; !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d", len(got), len(want))
			}
		})
	}
}

// Fill takes no more than it is told, and waits no longer than the connection's deadline.
func TestFillIsBounded(t *testing.T) {
	p := New(1, System)
	defer p.Close()
	pipe := p.Take()
	from, app := pair(t, "tcp")
	_, err := io.WriteString(app, "answernext")
	must(t, err)
	n, err := pipe.Fill(Socket(from), 6)
	must(t, err)
	b := make([]byte, 20)
	if n, err = pipe.Read(b); err != nil || string(b[:n]) != "answer" {
		t.Errorf("%q, %v", b[:n], err)
	}
	n, err = from.Read(b)
	if err != nil || string(b[:n]) != "next" {
		t.Errorf("left in the socket: %q, %v", b[:n], err)
	}
	must(t, from.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if n, err = pipe.Fill(Socket(from), 6); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d, %v", n, err)
	}
}

// A pipe with something in it is never lent again.
func TestPipeThatHoldsBytesIsClosed(t *testing.T) {
	p := New(1, System)
	defer p.Close()
	pipe := filled(t, p, "somebody's")
	read, write := pipe.read, pipe.write
	p.Give(pipe)
	if !closed(read) || !closed(write) {
		t.Error("it is open")
	}
	if next := p.Take(); next == nil || next == pipe {
		t.Error("there is no other")
	}
}

func TestPipesAreBounded(t *testing.T) {
	const max = maxIdle + 2
	p := New(max, System)
	var all []*Pipe
	for range max {
		all = append(all, p.Take())
	}
	if p.Take() != nil || p.Free() || p.Left() != 0 {
		t.Error("more than there may be")
	}
	last := all[max-1]
	for _, pipe := range all {
		if pipe == nil {
			t.Fatal("fewer than there may be")
		}
		if pipe != last {
			p.Give(pipe)
		}
	}
	if len(p.idle) != maxIdle || !closed(all[maxIdle].read) {
		t.Errorf("%d are kept", len(p.idle))
	}
	if again := p.Take(); again != all[maxIdle-1] {
		t.Error("an idle one is not used again")
	} else {
		p.Give(again)
	}
	p.Close()
	p.Give(last)
	for i, pipe := range all {
		if !closed(pipe.read) || !closed(pipe.write) {
			t.Errorf("%d is open", i)
		}
	}
}

// Once the kernel has refused there are no pipes, and what is in one can be taken out.
func TestRefused(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EINVAL, syscall.ENOSYS, syscall.EPERM} {
		refuse := false
		p := New(2, func(from, to, most int) (int, error) {
			if refuse {
				return -1, errno
			}
			return System(from, to, most)
		})
		pipe := filled(t, p, "answer")
		refuse = true
		to, _ := pair(t, "tcp")
		if n, err := pipe.Drain(Socket(to)); n != 0 || err != ErrRefused {
			t.Errorf("%v: %d, %v", errno, n, err)
		}
		if b, err := io.ReadAll(pipe); string(b) != "answer" || err != nil {
			t.Errorf("%v: %q, %v", errno, b, err)
		}
		if p.Free() || p.Take() != nil {
			t.Errorf("%v: there are pipes yet", errno)
		}
		p.Give(pipe)
		p.Close()
	}
	// The end of a connection is no refusal.
	p := New(1, System)
	defer p.Close()
	pipe := filled(t, p, "answer")
	to, _ := pair(t, "tcp")
	must(t, to.(*net.TCPConn).CloseWrite())
	if _, err := pipe.Drain(Socket(to)); !errors.Is(err, syscall.EPIPE) || !p.Free() && p.Left() > 0 {
		t.Error(err)
	}
}

type wrapped struct{ *net.TCPConn }

func TestSocket(t *testing.T) {
	a, b := pair(t, "tcp")
	if Socket(a) == nil || Socket(wrapped{b.(*net.TCPConn)}) != nil {
		t.Error("only bare sockets are moved between")
	}
}
