//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package nonblock

import "syscall"

// Read reads into b, once.
func Read(fd int, b []byte) (int, error) { return syscall.Read(fd, b) }

// Write writes b, or a part of it, once.
func Write(fd int, b []byte) (int, error) { return syscall.Write(fd, b) }

// Peek is Read that leaves what it sees in the socket.
func Peek(fd int, b []byte) (int, error) {
	n, _, err := syscall.Recvfrom(fd, b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}
