package wire

import (
	"syscall"
	"unsafe"
)

// read and write are for sockets that do not block: the scheduler need not be told of
// the call, as syscall.Read and syscall.Write do, since it is over in microseconds.

func read(fd int, b []byte) (int, error) { return nonblock(syscall.SYS_READ, fd, b) }

func write(fd int, b []byte) (int, error) { return nonblock(syscall.SYS_WRITE, fd, b) }

func nonblock(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
