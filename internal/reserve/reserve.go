// Package reserve keeps ports of loopback for servers that are to listen on them later,
// or again.
//
// A port that was found free and let go may be anybody's a moment later: the system gives
// it to the next that asks for any port, which is likely where many servers start and end.
package reserve

import (
	"net"
	"strconv"
)

// Port is a port of 127.0.0.1 that the system gives to nobody who asks for any, until
// Release. A server that names it can listen on it, as often as it likes, when it sets
// SO_REUSEADDR, as servers do. While none does, connections to it are refused.
type Port struct {
	Number int
	hold   holder
}

// Any reserves a port that the system picks.
func Any() (*Port, error) { return reserve(0) }

// Wanted reserves that port unless somebody listens there; then any. Nobody wants 0.
func Wanted(port int) (*Port, error) {
	if port == 0 {
		return Any()
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return Any()
	}
	_ = ln.Close()
	return reserve(port)
}

// Addr is host:port.
func (p *Port) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Number)) }

// Release gives the port back. Who listens on it goes on.
func (p *Port) Release() error { return p.hold.release() }
