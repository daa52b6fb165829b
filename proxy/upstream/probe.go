package upstream

import (
	"net"
	"time"
)

// almostNone is the time that the portable ways take to find nothing. They serve
// only where the socket cannot be asked directly.
const almostNone = 100 * time.Microsecond

// lookByDeadline is the portable way to see whether a connection is readable.
func lookByDeadline(cn *conn) verdict {
	cn.src.idle = 0 // else the source would replace the deadline by its own
	if cn.nc.SetReadDeadline(time.Now().Add(almostNone)) != nil {
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

// readByDeadline is the portable way to take what has arrived.
func readByDeadline(nc net.Conn, b []byte) (int, error) {
	if err := nc.SetReadDeadline(time.Now().Add(almostNone)); err != nil {
		return 0, err
	}
	n, err := nc.Read(b)
	if n == 0 && isTimeout(err) {
		return 0, errQuiet
	}
	return n, err
}

// quietError says that nothing has arrived. TLS takes an error that calls itself
// temporary for no end of the connection, and goes on at the next read.
type quietError struct{}

var errQuiet error = quietError{}

func (quietError) Error() string   { return "nothing to read" }
func (quietError) Timeout() bool   { return true }
func (quietError) Temporary() bool { return true }
