package splice

import (
	"errors"
	"io"
	"os"
	"syscall"
)

const (
	supported = true
	// Size is how much a pipe holds at most.
	Size = 1 << 20
	// leastSize is below what the kernel gives at first. A user who has many pipes gets
	// smaller ones, which are of no use.
	leastSize = 64 << 10

	fcntlSetPipeSize, fcntlGetPipeSize = 1031, 1032
	flagMove, flagNonblock             = 1, 2
)

// Pipe is one pipe on loan. It is not safe for concurrent use.
type Pipe struct {
	owner       *Pipes
	read, write int // descriptors
	size        int
	held        int
	in, out     func(fd uintptr) bool // made once
	most, n     int
	err         error
}

// System is splice(2). It does not say SPLICE_F_MORE, which would have TCP hold the last
// bytes back for more, and there may be none for a while.
func System(from, to, most int) (int, error) {
	n, err := syscall.Splice(from, nil, to, nil, most, flagMove|flagNonblock)
	return int(n), err
}

// open makes a pipe, or gives nil: the process may have no descriptor left.
func open(owner *Pipes) *Pipe {
	var fds [2]int
	if syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK) != nil {
		return nil
	}
	p := &Pipe{owner: owner, read: fds[0], write: fds[1]}
	if p.size = enlarge(fds[1]); p.size < leastSize {
		p.close()
		return nil
	}
	p.in = func(fd uintptr) bool { return p.step(int(fd), p.write) }
	p.out = func(fd uintptr) bool { return p.step(p.read, int(fd)) }
	return p
}

// enlarge gives the pipe Size, where that is allowed, and gives what it has.
func enlarge(fd int) int {
	if n, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), fcntlSetPipeSize, Size); errno == 0 {
		return int(n)
	}
	n, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), fcntlGetPipeSize, 0)
	return int(n)
}

func (p *Pipe) close() {
	_ = syscall.Close(p.read)
	_ = syscall.Close(p.write)
}

// Held is how many bytes are in the pipe.
func (p *Pipe) Held() int { return p.held }

// Fill waits for bytes of a socket, and takes up to most of them. The pipe must be empty.
// It gives io.EOF at the end, and ErrRefused as package splice says it.
func (p *Pipe) Fill(from syscall.RawConn, most int64) (int, error) {
	p.most = int(min(most, int64(p.size)))
	if err := from.Read(p.in); err != nil {
		return 0, err
	}
	if p.err != nil {
		return 0, p.failed()
	}
	if p.n == 0 {
		return 0, io.EOF
	}
	p.held += p.n
	return p.n, nil
}

// Drain waits until a socket takes bytes, and gives it as many as it takes at once.
func (p *Pipe) Drain(to syscall.RawConn) (int, error) {
	p.most = p.held
	if err := to.Write(p.out); err != nil {
		return 0, err
	}
	if p.err != nil {
		return 0, p.failed()
	}
	if p.n == 0 {
		return 0, io.ErrNoProgress // there is something in the pipe
	}
	p.held -= p.n
	return p.n, nil
}

// Read takes bytes out, for who cannot drain the pipe.
func (p *Pipe) Read(b []byte) (int, error) {
	if p.held == 0 {
		return 0, io.EOF
	}
	n, err := syscall.Read(p.read, b[:min(len(b), p.held)])
	switch {
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(b) > 0:
		return 0, io.ErrUnexpectedEOF
	}
	p.held -= n
	return n, nil
}

// step moves once; false has the poller wait. It is always the socket that EAGAIN is about:
// bytes go only into an empty pipe, and out of one that holds some.
func (p *Pipe) step(from, to int) bool {
	for {
		if p.n, p.err = p.owner.call(from, to, p.most); p.err != syscall.EINTR {
			return p.err != syscall.EAGAIN
		}
	}
}

// failed judges an error. These say that the kernel, or a filter on its calls, does not do
// it at all: it is not asked again.
func (p *Pipe) failed() error {
	for _, refusal := range [...]error{syscall.EINVAL, syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.EOPNOTSUPP} {
		if errors.Is(p.err, refusal) {
			p.owner.refused.Store(true)
			return ErrRefused
		}
	}
	return os.NewSyscallError("splice", p.err)
}
