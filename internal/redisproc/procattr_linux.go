package redisproc

import "syscall"

// procAttr puts the server into a process group of its own and, should we be
// killed, has the kernel end it too: nothing is left behind.
func procAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
