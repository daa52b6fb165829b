package upstream

import "time"

// lookByDeadline is the portable way to see whether a connection is readable: a
// read that is given almost no time. It costs that time, so it serves only where
// the socket cannot be asked directly.
func lookByDeadline(cn *conn) verdict {
	cn.src.idle = 0 // else the source would replace the deadline by its own
	if cn.nc.SetReadDeadline(time.Now().Add(100*time.Microsecond)) != nil {
		return gone
	}
	_, err := cn.br.Peek(1)
	switch {
	case err == nil:
		return unsolicited
	case isTimeout(err):
		return quiet
	}
	return gone
}
