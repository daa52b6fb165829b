//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package upstream

import (
	"net"
	"syscall"
)

// prober asks the socket without waiting and without taking bytes from it. The
// closure and its buffer are made once per connection, so that a look allocates
// nothing.
type prober struct {
	raw  syscall.RawConn
	ask  func(fd uintptr)
	buf  [1]byte
	n    int
	errn error
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
		p.n, _, p.errn = syscall.Recvfrom(int(fd), p.buf[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	}
}

// look uses Control and not Read: Read refuses a descriptor whose deadline has
// passed, and the deadline of the last exchange is still set on an idle one.
func (p *prober) look(cn *conn) verdict {
	if p.raw == nil {
		return lookByDeadline(cn)
	}
	if err := p.raw.Control(p.ask); err != nil {
		return gone
	}
	switch {
	case p.errn == syscall.EAGAIN || p.errn == syscall.EWOULDBLOCK || p.errn == syscall.EINTR:
		return quiet
	case p.errn == nil && p.n > 0:
		return unsolicited
	}
	return gone // an orderly end (0 bytes) or a reset
}
