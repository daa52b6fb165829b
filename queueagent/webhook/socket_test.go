package webhook

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// socketPath gives a path that is short enough for a socket, which tb.TempDir's may not be.
func socketPath(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func listenUnix(tb testing.TB, path string) *net.UnixListener {
	tb.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatal(err)
	}
	return ln.(*net.UnixListener)
}

// A path goes to the application's socket: every size of body on one connection, and the
// question whether it is ready on one of its own.
func TestSocketIsDeliveredTo(t *testing.T) {
	path := socketPath(t)
	conns := &countingListener{Listener: listenUnix(t, path)}
	app := newApplicationOn(t, conns, fixed(ok200))
	s := newSender(t, Config{URL: "/tasks/{type}?a=b", Ready: "/readyz", App: App{Address: path}}, Task{Type: "type"})
	for _, n := range []int{0, bufferSize, 1 << 20, 1} {
		payload := `{"type":"a/b","n":"` + strings.Repeat("p", n) + `"}`
		if a := s.Send(context.Background(), &fakeLease{}, &Request{ID: "1", Payload: payload, Attempt: 1, Reason: "first"}); a.Status != 200 {
			t.Fatalf("%d bytes: %+v", n, a)
		}
		if r := <-app.seen; r.RequestURI != "/tasks/a%2Fb?a=b" || r.Host != "localhost" || r.Method != "POST" {
			t.Errorf("%s %s to %s", r.Method, r.RequestURI, r.Host)
		}
		if got := <-app.got; string(got) != payload {
			t.Errorf("%d bytes arrive for %d", len(got), len(payload))
		}
	}
	if n := conns.n.Load(); n != 1 {
		t.Errorf("%d connections for deliveries one after the other: want 1", n)
	}
	s.Close()
	if err := s.end.Ready(context.Background()); err != nil {
		t.Error(err)
	}
	if r := <-app.seen; r.Method != "GET" || r.RequestURI != "/readyz" || r.Host != "localhost" {
		t.Errorf("asked by %s %s to %s", r.Method, r.RequestURI, r.Host)
	}
}

// Apps that were given by a program, and what becomes of them.
func TestAppPlaces(t *testing.T) {
	for _, c := range []struct {
		app                          App
		network, addr, host, tls, at string
	}{
		{App{Address: "/run/s"}, "unix", "/run/s", "localhost", "", "webhook.App"},
		{App{Address: "/run/s", Host: "app.internal", Setting: "upstreams[1]"}, "unix", "/run/s", "app.internal", "", "upstreams[1]"},
		{App{Address: "h:1"}, "tcp", "h:1", "h:1", "", "webhook.App"},
		{App{Address: "[::1]:1", Host: "h"}, "tcp", "[::1]:1", "h", "", "webhook.App"},
	} {
		e, err := New(Config{URL: "/x", App: c.app, Timeout: time.Second}, Task{}, "q", 1)
		if err != nil {
			t.Errorf("%+v: %v", c.app, err)
			continue
		}
		if p := e.target.place; p.network != c.network || p.addr != c.addr || p.host != c.host || p.tls != nil || p.tlsAt != c.at {
			t.Errorf("%+v gives %+v", c.app, p)
		}
	}
	for want, app := range map[string]App{
		"App.Address": {Address: "h"}, "App.Host": {Address: "h:1", Host: "h\r\nX: y"}, "is a path: set App": {},
	} {
		if _, err := New(Config{URL: "/x", App: app, Timeout: time.Second}, Task{}, "q", 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v: want %q", app, err, want)
		}
	}
}

// No socket, and one whose application has ended, are no connection: not an attempt.
func TestSocketWithoutAnApplication(t *testing.T) {
	path := socketPath(t)
	s := newSender(t, Config{URL: "/x", Ready: "/readyz", App: App{Address: path}}, Task{})
	want := func(why error) {
		t.Helper()
		if a := send(s, "1"); a.Kind != KindUnreachable || !errors.Is(a.Err, why) || !strings.Contains(a.Err.Error(), path) {
			t.Errorf("%+v: want %v", a, why)
		}
		if err := s.end.Ready(context.Background()); !errors.Is(err, why) {
			t.Errorf("ready: %v: want %v", err, why)
		}
	}
	want(fs.ErrNotExist)
	ln := listenUnix(t, path)
	ln.SetUnlinkOnClose(false)
	_ = ln.Close()
	want(syscall.ECONNREFUSED)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	newApplicationOn(t, listenUnix(t, path), fixed(ok200))
	if a := send(s, "1"); a.Status != 200 {
		t.Errorf("%+v", a)
	}
	s.Close() // before the application waits for its end
}

// What has happened to a kept connection decides about its use, on each kind of socket and
// in each way of sending.
func TestIdleConnections(t *testing.T) {
	starts := map[string]func(testing.TB, func(int) []apptest.Step) *apptest.Raw{"tcp": apptest.Start, "unix": apptest.StartUnix}
	for _, tt := range []struct {
		name  string
		late  apptest.Step
		reuse bool
	}{
		{"nothing", func(*apptest.Conn) error { return nil }, true},
		{"an answer", apptest.Send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"), false},
		{"one byte", apptest.Send("\n"), false},
		{"half an end", apptest.CloseWrite(), false},
		{"an end", func(c *apptest.Conn) error { return c.Conn.Close() }, false},
	} {
		for network, start := range starts {
			for size, payload := range map[string]string{"small": "{}", "large": strings.Repeat("x", 2*bufferSize)} {
				t.Run(tt.name+", "+network+", "+size, func(t *testing.T) {
					now, arrived := make(chan struct{}), make(chan struct{})
					late := func(c *apptest.Conn) error { defer close(arrived); return tt.late(c) }
					raw := start(t, apptest.InTurn(
						[]apptest.Step{apptest.EchoOnce(""), apptest.Wait(now), late, apptest.Echo(), apptest.Drain()},
						[]apptest.Step{apptest.Echo()}))
					cfg := Config{URL: "/x", App: App{Address: raw.Addr()}}
					s := newSender(t, cfg, Task{})
					deliver := func() {
						t.Helper()
						a := s.Send(context.Background(), &fakeLease{}, &Request{ID: "1", Payload: payload, Attempt: 1, Reason: "first"})
						if a.Status != http.StatusOK {
							t.Errorf("%+v", a)
						}
					}
					deliver()
					if s.conn.conn == nil || !s.conn.ask.Able() {
						t.Fatal("no connection was kept, or none that can be asked directly")
					}
					close(now)
					<-arrived
					deliver()
					if got := raw.Conns() == 1; got != tt.reuse {
						t.Errorf("%d connections: want it used again: %v", raw.Conns(), tt.reuse)
					}
					if tt.reuse {
						return
					}
					raw.Await(t, 0)
					if n := strings.Count(string(raw.Received(0)), "POST "); n != 1 {
						t.Errorf("the connection that was unfit got %d requests", n)
					}
				})
			}
		}
	}
}

// A connection that ends with the request in it is replaced once.
func TestSocketThatEndsIsReplaced(t *testing.T) {
	raw := apptest.StartUnix(t, apptest.InTurn(
		[]apptest.Step{apptest.EchoOnce(""), apptest.Expect(), apptest.Close()},
		[]apptest.Step{apptest.EchoOnce("")}))
	s := newSender(t, Config{URL: "/x", App: App{Address: raw.Addr()}}, Task{})
	for range 2 {
		if a := send(s, "1"); a.Status != 200 {
			t.Errorf("%+v", a)
		}
	}
	if raw.Conns() != 2 {
		t.Errorf("%d connections: want 2", raw.Conns())
	}
}
