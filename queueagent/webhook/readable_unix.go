//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package webhook

import (
	"net"
	"syscall"

	"github.com/pillion-proxy/pillion/internal/nonblock"
)

// idleCheck looks at a connection that waits for its next use.
type idleCheck struct {
	raw   syscall.RawConn // nil: it cannot be looked at
	look  func(fd uintptr)
	quiet bool
}

// watch makes it look at c from now on.
func (i *idleCheck) watch(c net.Conn) {
	i.raw = nil
	if sc, ok := c.(syscall.Conn); ok {
		i.raw, _ = sc.SyscallConn()
	}
	if i.look == nil {
		i.look = i.peek // made once: a method value is an allocation
	}
}

// readable says whether a read would return at once, with data or an end. It does
// not block and takes nothing out.
func (i *idleCheck) readable() bool {
	if i.raw == nil {
		return false
	}
	i.quiet = false
	err := i.raw.Control(i.look)
	return err != nil || !i.quiet
}

func (i *idleCheck) peek(fd uintptr) {
	var b [1]byte
	i.quiet = nonblock.Judge(nonblock.Peek(int(fd), b[:])) == nonblock.Quiet
}
