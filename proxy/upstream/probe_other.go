//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package upstream

import "net"

type prober struct{}

func (*prober) init(net.Conn) {}

func (*prober) look(cn *conn) verdict { return lookByDeadline(cn) }

func (*prober) read(nc net.Conn, b []byte) (int, error) { return readByDeadline(nc, b) }
