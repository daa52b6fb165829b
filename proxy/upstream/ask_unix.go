//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package upstream

import (
	"io"
	"os"
	"syscall"

	"github.com/pillion-proxy/pillion/internal/nonblock"
)

// asker does a small exchange within one call of RawConn.Read: the look at a pooled
// connection, the request, and the first read of the response. RawConn.Read forgets on
// entry what the poller has reported, and remembers it from then on: so what comes after
// the look is seen, and the response can be waited for without a read that finds nothing,
// which costs as much as the look.
type asker struct {
	raw     syscall.RawConn
	step    func(fd uintptr) bool // made once per connection
	request []byte                // to be sent; nil: there is no exchange to begin
	sent    bool
	spare   [1]byte
	wrote   int
	err     error // of the write
	into    []byte
	n       int
	errn    error // of the read
}

func (a *asker) init(s *source, p *prober) {
	a.raw = p.raw
	a.step = func(fd uintptr) bool { return s.askOnce(int(fd)) }
}

func (a *asker) able() bool { return a.raw != nil }

// ask sends the request and reads what comes first.
func (s *source) ask(p []byte) (int, error) {
	a := &s.asker
	a.into, a.sent, a.wrote, a.n, a.err, a.errn = p, false, 0, 0, nil, nil
	s.found = quiet
	err := a.raw.Read(a.step)
	a.into, a.request, s.look = nil, nil, false
	switch {
	case s.found != quiet:
		return 0, errUnfit
	case a.err != nil:
		return 0, errNotSent
	case err != nil:
		return 0, err
	case a.errn != nil:
		return 0, os.NewSyscallError("read", a.errn)
	case a.n == 0:
		return 0, io.EOF
	}
	s.got = true
	return a.n, nil
}

// askOnce is a step; false has the poller wait for the next.
func (s *source) askOnce(fd int) bool {
	a := &s.asker
	if !a.sent {
		// On a fresh connection this would not do: an application that answers before it
		// was asked must be heard.
		if s.found = peek(fd, a.spare[:]); s.found != quiet {
			return true
		}
		a.sent = true
		a.wrote, a.err = s.write(fd, a.request)
		return a.err != nil
	}
	for {
		a.n, a.errn = nonblock.Read(fd, a.into)
		if a.errn != syscall.EINTR {
			break
		}
	}
	return a.errn != syscall.EAGAIN
}

// write writes what the socket takes at once, and then the rest.
func (s *source) write(fd int, b []byte) (int, error) {
	n, err := nonblock.Write(fd, b)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		n = 0
	case err != nil:
		return 0, os.NewSyscallError("write", err)
	case n == len(b):
		return n, nil
	}
	more, err := s.nc.Write(b[n:])
	return n + more, err
}

// peek leaves what it sees in the socket.
func peek(fd int, spare []byte) verdict { return judge(nonblock.Peek(fd, spare)) }
