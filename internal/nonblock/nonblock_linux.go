package nonblock

import (
	"syscall"
	"unsafe"
)

// Read reads into b, once. It is recvfrom(2), and Write is sendto(2): what read and write
// do for any file is a fiftieth of a small exchange.
func Read(fd int, b []byte) (int, error) {
	return result(syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		0, 0, 0))
}

// Write writes b, or a part of it, once.
func Write(fd int, b []byte) (int, error) {
	return result(syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		syscall.MSG_NOSIGNAL, 0, 0))
}

// Peek is Read that leaves what it sees in the socket.
func Peek(fd int, b []byte) (int, error) {
	return result(syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0))
}

func result(n, _ uintptr, errno syscall.Errno) (int, error) {
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
