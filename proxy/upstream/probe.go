package upstream

import (
	"net"
	"time"
)

// almostNone is the time that the portable ways take to find nothing. They serve
// only where the socket cannot be asked directly.
const almostNone = 100 * time.Microsecond

// quietTries bounds how often a read that did not wait is tried again.
const quietTries = 10

// lookByDeadline is the portable way to see whether a connection is readable.
func lookByDeadline(cn *conn) verdict {
	cn.src.idle = 0 // else the source would replace the deadline by its own
	err := waitAlmostNone(cn.nc, func() error {
		_, err := cn.br.Peek(1)
		return err
	})
	switch {
	case err == nil:
		return unsolicited
	case isTimeout(err):
		return quiet
	}
	return gone
}

// readByDeadline is the portable way to take what has arrived.
func readByDeadline(nc net.Conn, b []byte) (n int, err error) {
	err = waitAlmostNone(nc, func() (err error) {
		n, err = nc.Read(b)
		return err
	})
	if n == 0 && isTimeout(err) {
		return 0, errQuiet
	}
	return n, err
}

// waitAlmostNone calls read under a deadline. On a busy machine the deadline may
// have passed before the read begins, and then net does not ask the socket at all:
// such a timeout says nothing about what has arrived. Only a read that was seen to
// wait has found the connection quiet.
func waitAlmostNone(nc net.Conn, read func() error) (err error) {
	for range quietTries {
		if err = nc.SetReadDeadline(time.Now().Add(almostNone)); err != nil {
			return err
		}
		began := time.Now()
		if err = read(); !isTimeout(err) || time.Since(began) >= almostNone/2 {
			return err
		}
	}
	return err
}

// quietError says that nothing has arrived. TLS takes an error that calls itself
// temporary for no end of the connection, and goes on at the next read.
type quietError struct{}

var errQuiet error = quietError{}

func (quietError) Error() string   { return "nothing to read" }
func (quietError) Timeout() bool   { return true }
func (quietError) Temporary() bool { return true }
