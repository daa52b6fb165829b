//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package nonblock

import "net"

// Exchange is of no use here: a look, a write and a read do what it does.
type Exchange struct {
	Found    Verdict
	Wrote    int
	WriteErr error
}

// Watch says that the connection cannot be used with it.
func (*Exchange) Watch(net.Conn) bool { return false }

// Able says what Watch said.
func (*Exchange) Able() bool { return false }

// Do does nothing.
func (*Exchange) Do(_, _ []byte) (int, error) { return 0, ErrNotSent }
