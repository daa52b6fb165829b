package webhook

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

// Linux refuses a connection to a Unix socket whose queue is full; it is tried again until
// there is room, and once the application has ended, no more.
func TestBusySocketIsTriedAgain(t *testing.T) {
	path := socketPath(t)
	ln := listenShort(t, path)
	defer ln.Close()
	var waiting []net.Conn
	for {
		nc, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, nc)
	}
	s := newSender(t, Config{URL: "/x", App: App{Address: path}}, Task{})
	var tries atomic.Int64
	s.conn.dialer.Control = func(string, string, syscall.RawConn) error {
		if tries.Add(1) == 3 { // two were refused
			for range waiting {
				nc, err := ln.Accept()
				if err != nil {
					return err
				}
				_ = nc.Close()
			}
			newApplicationOn(t, ln, fixed(ok200))
		}
		return nil
	}
	if a := send(s, "1"); a.Status != 200 || tries.Load() < 3 {
		t.Errorf("%+v after %d tries", a, tries.Load())
	}
	s.Close() // before the application waits for its end
	for _, nc := range waiting {
		_ = nc.Close()
	}
}

// listenShort listens with the shortest queue that there is.
func listenShort(t *testing.T, path string) net.Listener {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}
