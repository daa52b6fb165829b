//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package nonblock

import (
	"io"
	"net"
	"os"
	"syscall"
)

// Exchange does a small exchange within one call of RawConn.Read: the look at an idle
// connection, the request, and the first read of the answer. RawConn.Read forgets on
// entry what the poller has reported, and remembers it from then on: so what comes after
// the look is seen, and the answer can be waited for without a read that finds nothing,
// which costs as much as the look. The connection's deadlines hold.
//
// It is not safe for concurrent use.
type Exchange struct {
	// What became of the last Do. Wrote and WriteErr tell more of ErrNotSent, Found of
	// ErrUnfit.
	Found    Verdict
	Wrote    int
	WriteErr error

	nc            net.Conn
	raw           syscall.RawConn
	step          func(fd uintptr) bool // made once
	request, into []byte
	sent          bool
	spare         [1]byte
	n             int
	err           error // of the read
}

// Watch prepares it for a connection, and says whether that can be used with it: it needs
// the socket itself.
func (e *Exchange) Watch(nc net.Conn) bool {
	e.raw = nil
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	e.nc, e.raw = nc, raw
	if e.step == nil {
		e.step = func(fd uintptr) bool { return e.once(int(fd)) }
	}
	return true
}

// Able says what Watch said last.
func (e *Exchange) Able() bool { return e.raw != nil }

// Do looks at the connection, sends the request, which must not be empty, and reads what
// comes first. With ErrUnfit nothing was sent. With ErrNotSent nothing was read.
func (e *Exchange) Do(request, into []byte) (int, error) {
	e.request, e.into = request, into
	e.Found, e.Wrote, e.WriteErr, e.sent, e.n, e.err = Quiet, 0, nil, false, 0, nil
	err := e.raw.Read(e.step)
	e.request, e.into = nil, nil
	switch {
	case e.Found != Quiet:
		return 0, ErrUnfit
	case e.WriteErr != nil:
		return 0, ErrNotSent
	case err != nil:
		return 0, err
	case e.err != nil:
		return 0, os.NewSyscallError("read", e.err)
	case e.n == 0:
		return 0, io.EOF
	}
	return e.n, nil
}

// once is a step; false has the poller wait for the next.
func (e *Exchange) once(fd int) bool {
	if !e.sent {
		// On a fresh connection this would not do: an application that answers before it
		// was asked must be heard.
		if e.Found = Judge(Peek(fd, e.spare[:])); e.Found != Quiet {
			return true
		}
		e.sent = true
		e.Wrote, e.WriteErr = e.write(fd, e.request)
		return e.WriteErr != nil
	}
	for {
		e.n, e.err = Read(fd, e.into)
		if e.err != syscall.EINTR {
			break
		}
	}
	return e.err != syscall.EAGAIN
}

// write writes what the socket takes at once, and then the rest.
func (e *Exchange) write(fd int, b []byte) (int, error) {
	n, err := Write(fd, b)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		n = 0
	case err != nil:
		return 0, os.NewSyscallError("write", err)
	case n == len(b):
		return n, nil
	}
	more, err := e.nc.Write(b[n:])
	return n + more, err
}

// Judge says what it means that n bytes could be had of an idle connection, or none.
func Judge(n int, err error) Verdict {
	switch {
	case err == syscall.EAGAIN || err == syscall.EWOULDBLOCK || err == syscall.EINTR:
		return Quiet
	case err == nil && n > 0:
		return Unsolicited
	}
	return Gone // an orderly end (0 bytes) or a reset
}
