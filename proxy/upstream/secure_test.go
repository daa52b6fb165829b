package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// tlsVersions run a test on both handshakes.
func tlsVersions(t *testing.T, f func(t *testing.T, version uint16)) {
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) { f(t, version) })
	}
}

func startTLS(t *testing.T, a *tlstest.Authority, version uint16, script func(int) []apptest.Step) (*apptest.Raw, Config) {
	t.Helper()
	server := a.Server(t, "127.0.0.1")
	server.MaxVersion = version
	raw := apptest.StartTLS(t, server, script)
	cfg := testConfig(raw.URL())
	cfg.TLS.CA = a.File
	return raw, cfg
}

// TestIdleTLS: what happens to a TLS connection in the pool decides about its reuse.
func TestIdleTLS(t *testing.T) {
	a := tlstest.New(t)
	under := func(f func(net.Conn) error) apptest.Step {
		return func(c *apptest.Conn) error { return f(c.Conn.(*tls.Conn).NetConn()) }
	}
	write := func(b ...byte) apptest.Step {
		return under(func(nc net.Conn) error { _, err := nc.Write(b); return err })
	}
	tests := []struct {
		name        string
		late        apptest.Step
		reused      bool
		unsolicited uint64
	}{
		{"nothing", func(*apptest.Conn) error { return nil }, true, 0},
		{"response", apptest.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), false, 1},
		{"one byte", apptest.Send("\n"), false, 1},
		{"half a record", write(23, 3, 3, 1, 0, 1, 2, 3), false, 1},
		{"half a record's head", write(23), false, 1},
		{"a record that is none", write(23, 3, 3, 0, 32, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8), false, 0},
		{"close_notify", apptest.CloseWrite(), false, 0},
		{"cut", under(func(nc net.Conn) error { return nc.(*net.TCPConn).CloseWrite() }), false, 0},
		{"reset", under(func(nc net.Conn) error { _ = nc.(*net.TCPConn).SetLinger(0); _ = nc.Close(); return io.EOF }), false, 0},
	}
	tlsVersions(t, func(t *testing.T, version uint16) {
		for _, tt := range tests {
			for _, dial := range []string{"socket", "by deadline"} {
				t.Run(tt.name+", "+dial, func(t *testing.T) {
					now, arrived := make(chan struct{}), make(chan struct{})
					late := func(c *apptest.Conn) error { defer close(arrived); return tt.late(c) }
					raw, cfg := startTLS(t, a, version, apptest.InTurn(
						[]apptest.Step{apptest.EchoOnce(""), apptest.Wait(now), late, apptest.Echo(), apptest.Drain()},
						[]apptest.Step{apptest.Echo()}))
					var opts []Option
					if dial == "by deadline" {
						opts = append(opts, WithDial(dialOpaque))
					}
					c := newClient(t, cfg, opts...)
					wantOwn(t, c, "/first")
					if s := c.Stats(); s.Idle != 1 {
						t.Fatalf("stats %+v", s)
					}
					close(now)
					<-arrived
					wantOwn(t, c, "/second")
					s := c.Stats()
					if (raw.Conns() == 1) != tt.reused || (s.Stale == 0) != tt.reused || s.Unsolicited != tt.unsolicited || s.Retries != 0 {
						t.Errorf("%d connections, stats %+v", raw.Conns(), s)
					}
				})
			}
		}
	})
}

// TestSurplusInsideTLS: bytes behind a response, in its record or in the next one,
// lie in TLS and not in the socket.
func TestSurplusInsideTLS(t *testing.T) {
	a := tlstest.New(t)
	long := strings.Repeat("x", readBuffer) // fills the client's own buffer
	tlsVersions(t, func(t *testing.T, version uint16) {
		for name, steps := range map[string][]apptest.Step{
			"one record":  {apptest.Sendf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", len(long), long)},
			"two records": {apptest.Sendf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), apptest.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")},
		} {
			t.Run(name, func(t *testing.T) {
				sent := make(chan struct{})
				script := append([]apptest.Step{apptest.Expect()}, steps...)
				raw, cfg := startTLS(t, a, version, apptest.InTurn(append(script, apptest.Signal(sent), apptest.Drain()), []apptest.Step{apptest.Echo()}))
				c := newClient(t, cfg)
				if got := get(c, "/first"); got.err != nil || got.body != long {
					t.Fatalf("%v, %d bytes", got.err, len(got.body))
				}
				<-sent
				wantOwn(t, c, "/second")
				if s := c.Stats(); raw.Conns() != 2 || s.Unsolicited != 1 {
					t.Errorf("%d connections, stats %+v", raw.Conns(), s)
				}
			})
		}
	})
}

// TestCutTLS: a body that ends with its connection is whole only after a
// close_notify (RFC 9112 §9.8).
func TestCutTLS(t *testing.T) {
	a := tlstest.New(t)
	cut := func(c *apptest.Conn) error { return c.Conn.(*tls.Conn).NetConn().Close() }
	for _, tt := range []struct {
		name string
		end  apptest.Step
		want error
	}{{"close_notify", apptest.Close(), nil}, {"cut", cut, io.ErrUnexpectedEOF}} {
		t.Run(tt.name, func(t *testing.T) {
			_, cfg := startTLS(t, a, tls.VersionTLS13, apptest.Each(apptest.Expect(), apptest.Send("HTTP/1.1 200 OK\r\n\r\nhello"), tt.end))
			got := get(newClient(t, cfg), "/")
			if got.err != nil || !errors.Is(got.bodyErr, tt.want) || got.complete != (tt.want == nil) || got.body != "hello" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestHandshakeFails: the message says which setting to change.
func TestHandshakeFails(t *testing.T) {
	a, other := tlstest.New(t), tlstest.New(t)
	expired, err := tls.LoadX509KeyPair(a.IssueUntil(t, "expired", time.Now().Add(-time.Minute), "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		app  func(*tls.Config)
		cfg  func(*Config)
		want string
	}{
		{"authority", nil, func(c *Config) { c.TLS.CA = other.File }, "upstreams[2].tls.ca"},
		{"name", nil, func(c *Config) { c.TLS.ServerName = "app.internal" }, "upstreams[2].tls.server_name"},
		{"expired", func(s *tls.Config) { s.Certificates = []tls.Certificate{expired} }, nil, "renew it"},
		{"version", func(s *tls.Config) { s.MaxVersion = tls.VersionTLS12 }, func(c *Config) { c.TLS.MinVersion = "1.3" }, "refused the TLS handshake"},
		{"protocol", func(s *tls.Config) { s.NextProtos = []string{"other"} }, nil, "refused the TLS handshake"},
		{"client certificate, TLS 1.2", func(s *tls.Config) { s.ClientAuth, s.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12 }, nil, "upstreams[2].tls.cert"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := a.Server(t, "127.0.0.1")
			if tt.app != nil {
				tt.app(server)
			}
			raw := apptest.StartTLS(t, server, apptest.Each(apptest.Echo()))
			cfg := testConfig(raw.URL())
			cfg.TLS.CA = a.File
			if tt.cfg != nil {
				tt.cfg(&cfg)
			}
			c := newClient(t, cfg, WithSetting("upstreams[2]"))
			got := get(c, "/")
			if !errors.Is(got.err, ErrConnect) || !strings.Contains(got.err.Error(), tt.want) {
				t.Errorf("%v, want %q", got.err, tt.want)
			}
			if s := c.Stats(); s.DialErrors != 1 || s.Open != 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
	t.Run("client certificate, TLS 1.3", func(t *testing.T) {
		server := a.Server(t, "127.0.0.1")
		server.ClientAuth = tls.RequireAnyClientCert
		// The connection stays open, so that the alert is not lost to a reset.
		raw := apptest.StartTLS(t, server, apptest.Each(
			func(c *apptest.Conn) error { _ = c.Conn.(*tls.Conn).Handshake(); return nil },
			func(c *apptest.Conn) error { _, err := io.Copy(io.Discard, c.Conn.(*tls.Conn).NetConn()); return err }))
		cfg := testConfig(raw.URL())
		cfg.TLS.CA = a.File
		if got := get(newClient(t, cfg), "/"); !errors.Is(got.err, ErrConnect) || !strings.Contains(got.err.Error(), "upstream.tls.cert") {
			t.Errorf("%v", got.err)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		raw := apptest.Start(t, apptest.Each(apptest.Send("220 mail ready\r\n"), apptest.Drain()))
		c := newClient(t, testConfig("https://"+raw.Addr()))
		if got := get(c, "/"); !errors.Is(got.err, ErrConnect) || !strings.Contains(got.err.Error(), "write http://") {
			t.Errorf("%v", got.err)
		}
	})
}

// TestHandshakeIsBounded: an application that accepts and says nothing.
func TestHandshakeIsBounded(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Drain()))
	cfg := testConfig("https://" + raw.Addr())
	cfg.Timeouts.Connect = 20 * time.Millisecond
	if got := get(newClient(t, cfg), "/"); !errors.Is(got.err, ErrConnect) || !errors.Is(got.err, context.DeadlineExceeded) {
		t.Errorf("%v", got.err)
	}
}

// TestServerNameAndALPN: what the application sees of the handshake.
func TestServerNameAndALPN(t *testing.T) {
	a := tlstest.New(t)
	server := a.Server(t, "app.internal")
	hello := make(chan *tls.ClientHelloInfo, 1)
	server.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { hello <- h; return nil, nil }
	raw := apptest.StartTLS(t, server, apptest.Each(apptest.Echo()))
	cfg := testConfig(raw.URL())
	cfg.TLS.CA, cfg.TLS.ServerName = a.File, "app.internal"
	wantOwn(t, newClient(t, cfg), "/")
	h := <-hello
	if h.ServerName != "app.internal" || len(h.SupportedProtos) != 1 || h.SupportedProtos[0] != "http/1.1" {
		t.Errorf("%q, %q", h.ServerName, h.SupportedProtos)
	}
	for _, v := range h.SupportedVersions {
		if v < tls.VersionTLS12 {
			t.Errorf("version %#x is offered", v)
		}
	}
}

// TestClientCertificateFollowsItsFile: a connection that is opened after the files
// changed shows the new certificate.
func TestClientCertificateFollowsItsFile(t *testing.T) {
	a := tlstest.New(t)
	server := a.Server(t, "127.0.0.1")
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool
	raw := apptest.StartTLS(t, server, apptest.Each(func(c *apptest.Conn) error {
		nc := c.Conn.(*tls.Conn)
		if err := nc.Handshake(); err != nil {
			return err
		}
		name := nc.ConnectionState().PeerCertificates[0].Subject.CommonName
		return apptest.Sendf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(name), name)(c)
	}, apptest.Drain()))
	cfg := testConfig(raw.URL())
	cfg.TLS.CA = a.File
	cfg.TLS.Cert, cfg.TLS.Key = a.Issue(t, "client")
	c := newClient(t, cfg)
	if got := get(c, "/"); got.body != "client" {
		t.Fatalf("%+v", got)
	}
	cert, key := a.Issue(t, "renewed")
	copyFile(t, cfg.TLS.Cert, cert)
	copyFile(t, cfg.TLS.Key, key)
	until(t, "the new certificate is shown", func() bool {
		got := get(c, "/")
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.body == "renewed"
	})
}

func TestTLSFilesAreRead(t *testing.T) {
	a := tlstest.New(t)
	cert, _ := a.Issue(t, "client")
	for want, set := range map[string]TLS{
		"upstream.tls.ca: ":                      {CA: "absent.pem"},
		"upstream.tls.cert and upstream.tls.key": {Cert: cert, Key: cert},
		"upstream.tls.min_version":               {MinVersion: "1.1"},
	} {
		cfg := testConfig("https://app")
		cfg.TLS = set
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTLSUpgrade: a tunnel over TLS can be half-closed, and its first bytes may come
// with the 101.
func TestTLSUpgrade(t *testing.T) {
	_, cfg := startTLS(t, tlstest.New(t), tls.VersionTLS13, apptest.Each(
		apptest.ExpectHead(), apptest.Send("HTTP/1.1 101 Switching Protocols\r\n\r\nfirst"), apptest.ExpectBytes(4), apptest.Send(" last"), apptest.CloseWrite(), apptest.Drain()))
	c := newClient(t, cfg)
	var h fasthttp.ResponseHeader
	nc, _, err := c.Upgrade(context.Background(), &Request{Head: reqHead("GET", "/", "Connection: upgrade", "Upgrade: x")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, "ping"); err != nil {
		t.Fatal(err)
	}
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(nc); string(b) != "first last" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestRecords: the position in the stream is known, however it arrives.
func TestRecords(t *testing.T) {
	stream := bytes.Join([][]byte{{22, 3, 3, 0, 0}, {23, 3, 3, 0, 2, 1, 2}, append([]byte{23, 3, 3, 1, 4}, make([]byte, 260)...)}, nil)
	ends := map[int]bool{0: true, 5: true, 12: true, len(stream): true}
	for step := 1; step <= len(stream); step++ {
		var r records
		for pos := 0; pos < len(stream); pos += step {
			if r.partial() == ends[pos] {
				t.Fatalf("steps of %d: at %d partial is %v", step, pos, r.partial())
			}
			r.see(stream[pos:min(pos+step, len(stream))])
		}
		if r.partial() {
			t.Fatalf("steps of %d: partial at the end", step)
		}
	}
}
