//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package upstream

import (
	"io"
	"net"
	"syscall"

	"github.com/pillion-proxy/pillion/internal/nonblock"
)

// prober asks the socket without waiting. The closure and its buffer are made once
// per connection, so that a look allocates nothing.
type prober struct {
	raw   syscall.RawConn
	ask   func(fd uintptr)
	spare [1]byte
	buf   []byte
	flags int
	n     int
	errn  error
}

func (p *prober) init(nc net.Conn) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.ask = func(fd uintptr) {
		p.n, _, p.errn = syscall.Recvfrom(int(fd), p.buf, p.flags|syscall.MSG_DONTWAIT)
	}
}

// receive uses Control and not Read: Read refuses a descriptor whose deadline has
// passed, and the deadline of the last exchange is still set on an idle one.
func (p *prober) receive(b []byte, flags int) (int, verdict) {
	p.buf, p.flags = b, flags
	err := p.raw.Control(p.ask)
	p.buf = nil
	if err != nil {
		return 0, gone
	}
	return max(p.n, 0), nonblock.Judge(p.n, p.errn)
}

// look leaves what it sees in the socket.
func (p *prober) look(cn *conn) verdict {
	if p.raw == nil {
		return lookByDeadline(cn)
	}
	_, v := p.receive(p.spare[:], syscall.MSG_PEEK)
	return v
}

// read takes what lies in the socket, or gives errQuiet.
func (p *prober) read(nc net.Conn, b []byte) (int, error) {
	if p.raw == nil {
		return readByDeadline(nc, b)
	}
	switch n, v := p.receive(b, 0); v {
	case unsolicited:
		return n, nil
	case quiet:
		return 0, errQuiet
	}
	return 0, io.EOF
}
