//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package wire

import (
	"io"
	"os"
	"syscall"
)

// filler reads into the connection's buffer, and takes one only when bytes are there:
// thousands of idle connections wait without any.
type filler struct {
	raw  syscall.RawConn
	read func(c *Conn) error
	try  func(fd uintptr) bool // made once per connection
	n    int
	err  error
}

func (f *filler) init(c *Conn) {
	f.read = (*Conn).fillPlain
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	f.raw = raw
	f.read = (*Conn).fillRaw
	f.try = func(fd uintptr) bool {
		fresh := c.buf == nil
		if fresh {
			c.buf = c.ln.take()
		}
		for {
			f.n, f.err = syscall.Read(int(fd), c.buf[c.w:])
			if f.err != syscall.EINTR {
				break
			}
		}
		if f.n <= 0 && fresh {
			c.release()
		}
		return f.err != syscall.EAGAIN
	}
}

func (c *Conn) fillRaw() error {
	f := &c.fill
	if err := f.raw.Read(f.try); err != nil {
		return err
	}
	switch {
	case f.err != nil:
		return os.NewSyscallError("read", f.err)
	case f.n <= 0:
		return io.EOF
	}
	c.w += f.n
	return nil
}
