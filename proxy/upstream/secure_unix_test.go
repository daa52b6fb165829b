//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package upstream

import (
	"context"
	"crypto/tls"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// TestTicketsDoNotSpoilTheConnection puts a connection into the pool on which
// nothing has arrived but the session tickets that a TLS 1.3 server sends by itself:
// with its handshake, or after the client's where it asks for a certificate.
func TestTicketsDoNotSpoilTheConnection(t *testing.T) {
	a := tlstest.New(t)
	for name, after := range map[string]bool{"with the handshake": false, "after it": true} {
		t.Run(name, func(t *testing.T) {
			server := a.Server(t, "127.0.0.1")
			if after {
				server.ClientAuth = tls.RequestClientCert
			}
			shaken := make(chan struct{})
			raw := apptest.StartTLS(t, server, apptest.Each(
				func(c *apptest.Conn) error { return c.Conn.(*tls.Conn).Handshake() }, apptest.Signal(shaken), apptest.Echo()))
			cfg := testConfig(raw.URL())
			cfg.TLS.CA = a.File
			c := newClient(t, cfg)
			// Some servers send tickets to any client, Go's to one that would use them.
			cache := &tickets{}
			c.tls.ClientSessionCache = cache
			if _, err := c.pool.take(); err != nil {
				t.Fatal(err)
			}
			cn, err := c.open(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			<-shaken
			_, socket := cn.tls.wire.probe.receive(make([]byte, 1), syscall.MSG_PEEK)
			if cache.n != 0 || after && socket != unsolicited {
				t.Fatalf("%d tickets were read, the socket is %v: the test shows nothing", cache.n, socket)
			}
			cn.idleSince = time.Now()
			for range 3 { // the first reads the ticket, the others find nothing
				if v := cn.look(time.Now(), time.Hour); v != quiet || cache.n != 1 {
					t.Fatalf("verdict %v, %d tickets", v, cache.n)
				}
			}
			c.pool.put(cn, time.Now())
			for _, target := range []string{"/a", "/b", "/c"} {
				wantOwn(t, c, target)
			}
			if s := c.Stats(); raw.Conns() != 1 || s.Reused != 3 || s.Stale != 0 {
				t.Errorf("%d connections, stats %+v", raw.Conns(), s)
			}
		})
	}
}

// tickets counts the tickets of a connection.
type tickets struct{ n int }

func (c *tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *tickets) Put(string, *tls.ClientSessionState)        { c.n++ }
