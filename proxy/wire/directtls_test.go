package wire

import (
	"bufio"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// A connection that is encrypted has no descriptor to be written to past the encryption.
func TestDirectOverTLS(t *testing.T) {
	a := tlstest.New(t)
	cert, key := a.Issue(t, "server", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	d := startDirectOn(t, limits(), nil, func(ln net.Listener) net.Listener {
		return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}})
	})
	nc, err := tls.Dial("tcp", d.Addr().String(), &tls.Config{RootCAs: a.Pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	c := &client{Conn: nc, r: bufio.NewReader(nc), t: t}
	for range 3 {
		c.send(getDirect)
		c.want("direct")
		c.send(getPassed)
		c.want("passed")
		c.send(getDirect + post("/body", "hello")[:len(post("/body", "hello"))-2])
		c.want("direct")
		c.send("lo")
		c.want("directhello")
	}
	if d.answered.Load() != 9 {
		t.Errorf("%d answers of Direct", d.answered.Load())
	}
}
