package pillion

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// TestTunnelsDrainBesideRequests: a request that takes long does not keep tunnels open
// beyond server.tunnel_drain, and finishes.
func TestTunnelsDrainBesideRequests(t *testing.T) {
	release, asked := make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Upgrade") == "" {
			close(asked)
			<-release
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.Copy(io.Discard, rw)
	}))
	defer app.Close()
	cfg := Default()
	cfg.Admin.Listen, cfg.Upstream.URL, cfg.Server.TunnelDrain = Off, app.URL, 50*time.Millisecond
	cfg.Rules = []proxy.Rule{{Name: "all", Match: rules.Match{Path: "/**"}, Session: sessioncheck.Policy{Mode: sessioncheck.ModeNone}}}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	ask := func(path, fields string) *bufio.Reader {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: h\r\n"+fields+"\r\n")
		return bufio.NewReader(c)
	}
	request := ask("/slow", "")
	<-asked
	tunnel := ask("/ws", "Connection: Upgrade\r\nUpgrade: x\r\n")
	if resp, err := http.ReadResponse(tunnel, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		done <- p.Shutdown(ctx)
	}()
	if _, err := tunnel.ReadByte(); err != io.EOF {
		t.Errorf("the tunnel, while the request is under way: %v", err)
	}
	close(release)
	if resp, err := http.ReadResponse(request, nil); err != nil || resp.StatusCode != 200 {
		t.Errorf("the request that was under way: %v %v", resp, err)
	}
	if err := <-done; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
