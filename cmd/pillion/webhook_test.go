package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// taskApp is an application that notes what it is asked, in the form of its tests.
type taskApp struct {
	mu    sync.Mutex
	seen  []string
	ready bool // what /readyz answers
}

func (a *taskApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	line := fmt.Sprintf("%s %s %s attempt %s", r.Method, r.Host, r.RequestURI, r.Header.Get("Pillion-Attempt"))
	if r.TLS != nil {
		line = fmt.Sprintf("%s as %s", r.RequestURI, r.TLS.PeerCertificates[0].Subject.CommonName)
		w.Header().Set("Connection", "close")
	}
	a.seen = append(a.seen, line)
	if r.URL.Path == "/readyz" && !a.ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (a *taskApp) setReady() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ready = true
}

func (a *taskApp) lines() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

// serveSocket serves on a Unix socket until the test ends, or stop is called.
func (a *taskApp) serveSocket(t *testing.T, path string) (stop func()) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	must(t, err)
	srv := &http.Server{Handler: a}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	stop = sync.OnceFunc(func() { _ = srv.Close(); <-done })
	t.Cleanup(stop)
	return stop
}

// queueOf gives what the admin API tells of a queue, with a token or without.
func queueOf(t *testing.T, p *process, name string, args ...string) admin.Queue {
	t.Helper()
	code, out, errs := run(append([]string{"queue", "list", "--json", "--admin", p.admin}, args...)...)
	var answer struct{ Queues []admin.Queue }
	if err := json.Unmarshal([]byte(out), &answer); code != 0 || err != nil {
		t.Fatalf("queue list: exit %d, %v\n%s%s", code, err, out, errs)
	}
	i := slices.IndexFunc(answer.Queues, func(q admin.Queue) bool { return q.Name == name })
	if i < 0 {
		t.Fatalf("no queue %s: %s", name, out)
	}
	return answer.Queues[i]
}

// TestWebhooksOnSockets: the application is the one on upstream's Unix socket, which comes
// later than pillion, goes and comes back; another has a socket of its own and says when
// it is ready. No attempt is spent on waiting, and no type leads out of its path.
func TestWebhooksOnSockets(t *testing.T) {
	dir, err := os.MkdirTemp("", "apps") // t.TempDir's path may be too long for a socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, side := filepath.Join(dir, "app"), filepath.Join(dir, "side")
	srv := redistest.Start(t)
	c := redistest.Client(t, srv)
	p := startProcess(t, writeConfig(t, `
upstreams: [{ name: side, url: "unix://`+side+`" }]
queues:
  - { name: tasks, list: "app:tasks", webhook: { url: "/tasks/{type}?key=s3cret" } }
  - { name: side, list: "app:side", webhook: { url: /side, upstream: side, ready: /readyz } }
rules: [{ match: { path: /page }, session: none }]
`), "redis://"+srv.Addr, "unix://"+socket, "PILLION_ADMIN_TOKEN=token")

	redistest.Do(t, c, "RPUSH", "app:tasks", `{"type":"../admin"}`, `{"type":"/admin"}`, `{"type":"mail"}`)
	redistest.Do(t, c, "RPUSH", "app:side", `{}`)
	eventually(t, "the type that leads elsewhere is a dead letter", func() bool { return redistest.Int(t, c, "XLEN", deadKey) == 1 })
	eventually(t, "no application, and the breakers are open", func() bool {
		q := queueOf(t, p, "tasks")
		return q.BreakerOpen && q.LastError == "unreachable" && queueOf(t, p, "side").BreakerOpen && strings.Contains(p.log.String(), "dial unix "+socket)
	})
	if q := queueOf(t, p, "tasks"); q.Process.Failed != 0 || q.Config.Webhook != "" {
		t.Errorf("%+v: want no attempt failed, and the webhook not shown without a token", q)
	}
	if q := queueOf(t, p, "tasks", "--token", "token"); q.Config.Webhook != "http://unix:"+socket+":/tasks/{type}" {
		t.Errorf("the webhook is shown as %q", q.Config.Webhook)
	}

	app := new(taskApp)
	stop := app.serveSocket(t, socket)
	eventually(t, "the tasks are delivered", func() bool { return queueOf(t, p, "tasks").Process.Delivered == 2 })
	if status, _, _ := p.get("/page"); status != 200 {
		t.Errorf("a request gets %d", status)
	}
	want := []string{
		"GET " + p.addr + " /page attempt ",
		"POST localhost /tasks/%2Fadmin?key=s3cret attempt 1", "POST localhost /tasks/mail?key=s3cret attempt 1",
	}
	if got := slices.Sorted(slices.Values(app.lines())); !slices.Equal(got, want) {
		t.Errorf("the application got %q: want %q", got, want)
	}
	if n := redistest.Int(t, c, "XLEN", deadKey); n != 1 {
		t.Errorf("%d dead letters: want no more", n)
	}

	stop()
	redistest.Do(t, c, "RPUSH", "app:tasks", `{"type":"later"}`)
	eventually(t, "the application is missed", func() bool { return queueOf(t, p, "tasks").BreakerOpen })
	app.serveSocket(t, socket)
	eventually(t, "it is back", func() bool {
		return slices.Contains(app.lines(), "POST localhost /tasks/later?key=s3cret attempt 1")
	})

	sideApp := new(taskApp)
	sideApp.serveSocket(t, side)
	eventually(t, "the other application is asked, and again", func() bool { return len(sideApp.lines()) >= 2 })
	if q := queueOf(t, p, "side"); q.Process.Claimed != 0 {
		t.Errorf("%+v: want nothing claimed", q.Process)
	}
	sideApp.setReady()
	eventually(t, "its task is delivered", func() bool { return slices.Contains(sideApp.lines(), "POST localhost /side attempt 1") })
	must(t, p.stop())
}

// TestWebhooksOverTLS: a URL with an authority and a client certificate of its own, a path
// on an application that has them, and two whose handshakes fail. A certificate that is
// replaced is shown without a restart.
func TestWebhooksOverTLS(t *testing.T) {
	a, other := tlstest.New(t), tlstest.New(t)
	app := new(taskApp)
	server := httptest.NewUnstartedServer(app)
	server.TLS, server.Config.ErrorLog = a.Server(t, "app.internal"), log.New(io.Discard, "", 0)
	server.TLS.ClientAuth, server.TLS.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool
	server.StartTLS()
	t.Cleanup(server.Close)
	cert, key := a.Issue(t, "first")
	files := fmt.Sprintf("{ ca: %q, cert: %q, key: %q, server_name: app.internal }", a.File, cert, key)
	srv := redistest.Start(t)
	c := redistest.Client(t, srv)
	p := startProcess(t, writeConfig(t, fmt.Sprintf(`
upstreams: [{ name: secure, url: %[1]q, tls: %[2]s }]
queues:
  - { name: own, list: own, webhook: { url: "%[1]s/own", tls: %[2]s } }
  - { name: path, list: path, webhook: { url: /path, upstream: secure } }
  - { name: stranger, list: stranger, webhook: { url: "%[1]s/stranger", tls: { ca: %[3]q, server_name: app.internal } } }
  - { name: nameless, list: nameless, webhook: { url: "%[1]s/nameless", tls: { ca: %[4]q, server_name: app.internal } } }
`, server.URL, files, other.File, a.File)), "redis://"+srv.Addr, server.URL)
	push := func(queues ...string) {
		t.Helper()
		for _, q := range queues {
			redistest.Do(t, c, "RPUSH", q, "{}")
		}
	}
	push("own", "path", "stranger", "nameless")
	for _, want := range []string{"/own as first", "/path as first"} {
		eventually(t, want, func() bool { return slices.Contains(app.lines(), want) })
	}
	for queue, setting := range map[string]string{"stranger": "webhook.tls.ca", "nameless": "webhook.tls.cert"} {
		eventually(t, setting+" is named", func() bool { return strings.Contains(p.log.String(), setting) })
		if q := queueOf(t, p, queue); q.LastError != "unreachable" || q.Process.Failed != 0 {
			t.Errorf("%s: %+v: want it unreachable, and no attempt failed", queue, q)
		}
	}
	newCert, newKey := a.Issue(t, "second")
	must(t, os.Rename(newCert, cert))
	must(t, os.Rename(newKey, key))
	for _, want := range []string{"/own as second", "/path as second"} {
		eventually(t, want, func() bool { push("own", "path"); return slices.Contains(app.lines(), want) })
	}
	must(t, p.stop())
}
