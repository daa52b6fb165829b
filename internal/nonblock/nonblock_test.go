//go:build unix

package nonblock

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

func TestReadWritePeek(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if err := syscall.SetNonblock(fd, true); err != nil {
			t.Fatal(err)
		}
	}
	b := make([]byte, 8)
	for name, call := range map[string]func(int, []byte) (int, error){"Read": Read, "Peek": Peek} {
		if n, err := call(fds[0], b); n > 0 || err != syscall.EAGAIN {
			t.Errorf("%s of an empty socket: %d, %v", name, n, err)
		}
	}
	if n, err := Write(fds[1], []byte("hello")); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := Peek(fds[0], b[:1]); n != 1 || err != nil || b[0] != 'h' {
		t.Errorf("Peek: %d, %v, %q", n, err, b[:1])
	}
	if n, err := Read(fds[0], b); n != 5 || err != nil || string(b[:n]) != "hello" {
		t.Errorf("Read: %d, %v, %q", n, err, b)
	}
	_ = syscall.Close(fds[1])
	if n, err := Read(fds[0], b); n != 0 || err != nil {
		t.Errorf("Read at the end: %d, %v", n, err)
	}
	_ = syscall.Close(fds[0])
	if n, err := Write(fds[0], b); n > 0 || err != syscall.EBADF {
		t.Errorf("Write to a closed descriptor: %d, %v", n, err)
	}
	if n, err := Read(fds[0], nil); n > 0 || err != syscall.EBADF {
		t.Errorf("Read of a closed descriptor: %d, %v", n, err)
	}
}

// onEach runs a test on each kind of socket.
func onEach(t *testing.T, f func(t *testing.T, network string)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { f(t, network) })
	}
}

// TestExchange looks, asks and reads.
func TestExchange(t *testing.T) { onEach(t, testExchange) }

func testExchange(t *testing.T, network string) {
	tests := map[string]struct {
		before string // what the peer says before it is asked
		ends   bool   // and then ends
		found  Verdict
	}{
		"quiet":       {},
		"unsolicited": {before: "x", found: Unsolicited},
		"ended":       {ends: true, found: Gone},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, network)
			var e Exchange
			if !e.Watch(client) || !e.Able() {
				t.Fatal("not usable")
			}
			if _, err := io.WriteString(server, tt.before); err != nil {
				t.Fatal(err)
			}
			if tt.ends {
				_ = server.CloseWrite()
			}
			into := make([]byte, 64)
			if tt.found != Quiet {
				awaitReadable(t, client)
				if n, err := e.Do([]byte("hello"), into); n != 0 || err != ErrUnfit || e.Found != tt.found || e.Wrote != 0 {
					t.Errorf("%d, %v, %+v", n, err, e)
				}
				return
			}
			// More than a socket takes at once, to a peer that reads it all before it answers.
			big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
			go func() {
				_, err := io.ReadFull(server, make([]byte, len(big)))
				if err == nil {
					_, err = io.WriteString(server, "answer")
				}
				if err != nil {
					t.Error(err)
				}
			}()
			if n, err := e.Do(big, into); err != nil || string(into[:n]) != "answer" || e.Wrote != len(big) {
				t.Fatalf("%d, %v, %q, wrote %d", n, err, into[:max(n, 0)], e.Wrote)
			}
			// A deadline ends the wait for an answer.
			if err := client.SetDeadline(time.Now().Add(time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if n, err := e.Do([]byte("hello"), into); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d, %v: want a passed deadline", n, err)
			}
		})
	}
}

// TestExchangeNotSent writes to a connection that only the peer has not closed.
func TestExchangeNotSent(t *testing.T) { onEach(t, testExchangeNotSent) }

func testExchangeNotSent(t *testing.T, network string) {
	client, _ := pair(t, network)
	var e Exchange
	e.Watch(client)
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := e.Do([]byte("hello"), make([]byte, 8)); n != 0 || err != ErrNotSent || e.WriteErr == nil || e.Wrote != 0 {
		t.Errorf("%d, %v, %+v", n, err, e)
	}
	_ = client.Close()
	if _, err := e.Do([]byte("hello"), make([]byte, 8)); err == nil || err == ErrNotSent || err == ErrUnfit {
		t.Errorf("on a closed connection: %v", err)
	}
}

// socket is what TCP and Unix sockets have in common.
type socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// pair makes both ends of a connection.
func pair(t *testing.T, network string) (client, server socket) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "pair") // t.TempDir's path may be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close(); _ = peer.Close() })
	return nc.(socket), peer.(socket)
}

// awaitReadable waits until a read would give something, and takes nothing.
func awaitReadable(t *testing.T, c socket) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Read(func(fd uintptr) bool {
		_, err := Peek(int(fd), make([]byte, 1))
		return err != syscall.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}
