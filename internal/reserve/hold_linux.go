package reserve

import (
	"os"
	"syscall"
)

// holder is a socket that is bound and never listens. Linux lets others bind to its port
// by number when both sockets have SO_REUSEADDR and none that listens is in the way, but
// counts it as taken when it picks a port itself, for a listener or for a connection.
type holder struct{ fd int }

func reserve(port int) (*Port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	p := &Port{hold: holder{fd}}
	if p.Number, err = bind(fd, port); err != nil {
		_ = p.Release()
		return nil, err
	}
	return p, nil
}

func bind(fd, port int) (int, error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	return bound.(*syscall.SockaddrInet4).Port, nil
}

// release closes it once: later its number may be another file's.
func (h *holder) release() error {
	if h.fd < 0 {
		return nil
	}
	fd := h.fd
	h.fd = -1
	return os.NewSyscallError("close", syscall.Close(fd))
}
