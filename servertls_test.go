package pillion_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion"
	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/valyala/fasthttp"
)

func startTLS(t *testing.T, change func(*pillion.Config)) string {
	t.Helper()
	app := apptest.StartApp(t, func(ctx *fasthttp.RequestCtx) {
		fmt.Fprintf(ctx, "%s", ctx.Request.Header.Peek("X-Forwarded-Proto"))
	})
	cfg := pillion.Default()
	cfg.Listen, cfg.Admin.Listen = pillion.Off, pillion.Off
	cfg.Upstream.URL = app.URL()
	cfg.Redis.URL = "redis://127.0.0.1:1" // not needed, and down
	cfg.Rules = []proxy.Rule{{Name: "all", Match: rules.Match{Path: "/**"}, Session: sessioncheck.Policy{Mode: sessioncheck.ModeNone}}}
	change(&cfg)
	p, err := pillion.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Serve(ln) }()
	t.Cleanup(func() {
		_ = p.Shutdown(t.Context())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func TestListenerSpeaksTLS(t *testing.T) {
	ca := tlstest.New(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	install := func() {
		c, k := ca.Issue(t, "server", "localhost")
		for from, to := range map[string]string{c: cert, k: key} {
			b, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	install()
	addr := startTLS(t, func(c *pillion.Config) { c.Server.TLS.Cert, c.Server.TLS.Key = cert, key })
	ask := func(cfg *tls.Config) (serial, body string, err error) {
		cfg.RootCAs, cfg.ServerName, cfg.NextProtos = ca.Pool, "localhost", []string{"h2", "http/1.1"}
		c, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			return "", "", err
		}
		defer c.Close()
		for range 2 { // two requests on one connection
			if _, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
				return "", "", err
			}
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return "", "", err
			}
			b, _ := io.ReadAll(resp.Body)
			body += string(b)
		}
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String(), body, nil
	}
	first, body, err := ask(&tls.Config{})
	if err != nil || body != "httpshttps" {
		t.Fatalf("%q, %v", body, err)
	}
	install()
	for end := time.Now().Add(time.Minute); ; {
		serial, _, err := ask(&tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if serial != first {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the new certificate is not used")
		}
	}
	if _, _, err := ask(&tls.Config{MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
		t.Errorf("without TLS: %q", b)
	}
}

func TestClientCertificates(t *testing.T) {
	ca := tlstest.New(t)
	cert, key := ca.Issue(t, "server", "localhost")
	addr := startTLS(t, func(c *pillion.Config) {
		c.Server.TLS = proxy.ServerTLS{Cert: cert, Key: key, ClientCA: ca.File, MinVersion: "1.3"}
	})
	ask := func(certs ...tls.Certificate) error {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: ca.Pool, ServerName: "localhost", Certificates: certs})
		if err != nil {
			return err
		}
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		_, err = http.ReadResponse(bufio.NewReader(c), nil)
		return err
	}
	if ask() == nil {
		t.Error("a client without a certificate was served")
	}
	own, err := tls.LoadX509KeyPair(ca.Issue(t, "client"))
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(own); err != nil {
		t.Error(err)
	}
	stranger, err := tls.LoadX509KeyPair(tlstest.New(t).Issue(t, "client"))
	if err != nil {
		t.Fatal(err)
	}
	if ask(stranger) == nil {
		t.Error("a client with another authority's certificate was served")
	}
}
