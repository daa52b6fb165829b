//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package wire

import (
	"io"
	"os"
	"syscall"

	"github.com/pillion-proxy/pillion/internal/nonblock"
)

// filler reads into the connection's buffer, and takes one only when bytes are there:
// thousands of idle connections wait without any.
type filler struct {
	raw   syscall.RawConn
	read  func(c *Conn) error
	try   func(fd uintptr) bool // made once per connection
	blind bool                  // try waits before it reads
	fd    int                   // within try; else -1
	n     int
	err   error
}

func (f *filler) init(c *Conn) {
	f.read, f.fd = (*Conn).fillPlain, -1 // 0 would be the process's standard input
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
	f.try = c.try
}

// try reads once; false has RawConn.Read wait and call it again. Between two requests it
// goes on to answer what Direct can answer, for as long as that goes: RawConn.Read
// forgets on entry what the poller has reported, and remembers it from then on, so it is
// safe in here, and nowhere else, to wait without having seen the socket empty. That
// saves every answer a read that finds nothing.
func (c *Conn) try(fd uintptr) bool {
	f := &c.fill
	f.fd = int(fd)
	defer func() { f.fd = -1 }()
	for {
		if f.blind {
			f.blind = false
			return false
		}
		room := c.pull(int(fd))
		if f.n <= 0 {
			if f.err != syscall.EAGAIN {
				return true
			}
			if c.head.end > 0 {
				c.armBody()
			}
			return false
		}
		if c.taken || c.raw || c.ln.direct == nil {
			return true
		}
		switch c.advance() {
		case turnEmpty:
			// A short read has emptied the socket. A connection's first wait begins with a
			// look all the same: who has one request only may have ended with it.
			f.blind = f.n < room && c.served > 1
			c.rest(f.blind)
		case turnBody:
			c.room()
		case turnEnd:
			f.n = 0
			return true
		default:
			return true
		}
	}
}

// pull reads into the buffer once, and gives the room that there was.
func (c *Conn) pull(fd int) (room int) {
	f := &c.fill
	fresh := c.buf == nil
	if fresh {
		c.buf = c.ln.take()
	}
	room = len(c.buf) - c.w
	for {
		f.n, f.err = nonblock.Read(fd, c.buf[c.w:])
		if f.err != syscall.EINTR {
			break
		}
	}
	switch {
	case f.n > 0:
		c.w += f.n
	case fresh:
		c.release()
	}
	return room
}

// push writes what the socket takes at once, and gives the rest.
func (c *Conn) push(b []byte) (rest []byte, err error) {
	if c.fill.fd < 0 {
		return b, nil
	}
	switch n, err := nonblock.Write(c.fill.fd, b); {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return b, nil
	case err != nil:
		return nil, os.NewSyscallError("write", err)
	default:
		return b[n:], nil
	}
}

func (c *Conn) fillRaw() error {
	f := &c.fill
	f.blind = false
	if err := f.raw.Read(f.try); err != nil {
		return err
	}
	switch {
	case f.err != nil:
		return os.NewSyscallError("read", f.err)
	case f.n <= 0:
		return io.EOF
	}
	return nil
}
