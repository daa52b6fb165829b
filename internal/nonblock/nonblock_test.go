//go:build unix

package nonblock

import (
	"syscall"
	"testing"
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
