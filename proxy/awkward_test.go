package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/proxy"
)

// awkward is one response of an application. Whatever it is, the client must not take
// a part of it for the whole, and every other request must get its own answer.
type awkward struct {
	name    string
	send    string
	then    apptest.Step // what the connection does next; nil: it goes on
	method  string       // GET when empty
	upload  int          // bytes of the request's body
	early   bool         // the answer comes before the body is read
	status  int
	body    string
	cut     bool  // the response is truncated: the client sees that, or gets 502
	maybe   bool  // 502 is right as well
	interim []int // what an HTTP/1.1 client gets before it
}

// awkwardRig is a pod in front of an application that answers /awkward/N with the
// N-th response of a table, the first request for /stored/N too, /raw/N with what the
// test puts there, and everything else with its own target.
type awkwardRig struct {
	pod *pod

	mu    sync.Mutex
	table []awkward
	seen  map[string]bool
}

func newAwkwardRig(t *testing.T, table []awkward) *awkwardRig {
	t.Helper()
	g := &awkwardRig{table: table, seen: make(map[string]bool)}
	raw := apptest.Start(t, apptest.Each(apptest.Loop(apptest.Route(g.answer))))
	off := func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff }
	r := newRig(t, []proxy.Rule{rule("stored", "/stored/**", ttl(time.Minute)), rule("all", "/**", off)}, nil, 0)
	r.up.URL, r.quiet = raw.URL(), true
	g.pod = r.addPod()
	return g
}

func (g *awkwardRig) answer(req *http.Request) []apptest.Step {
	readBody := func(*apptest.Conn) error { _, err := io.Copy(io.Discard, req.Body); return err }
	g.mu.Lock()
	defer g.mu.Unlock()
	kind, number, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	var n int
	_, err := fmt.Sscan(number, &n)
	if err != nil || kind != "awkward" && kind != "stored" || kind == "stored" && g.seen[number] {
		body := req.RequestURI
		if req.Method == http.MethodHead {
			body = ""
		}
		return []apptest.Step{readBody, apptest.Sendf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(req.RequestURI), body)}
	}
	g.seen[number] = g.seen[number] || kind == "stored"
	a := g.table[n]
	var steps []apptest.Step
	if !a.early {
		steps = append(steps, readBody)
	}
	steps = append(steps, apptest.Send(a.send))
	if a.early && a.then == nil {
		steps = append(steps, readBody)
	}
	if a.then != nil {
		steps = append(steps, a.then)
	}
	return steps
}

// clientConn is a client's connection, which reads responses strictly.
type clientConn struct {
	net.Conn
	buf []byte
}

func (g *awkwardRig) dial(t *testing.T) *clientConn {
	t.Helper()
	nc, err := net.Dial("tcp", g.pod.addr)
	must(t, err)
	must(t, nc.SetDeadline(time.Now().Add(time.Minute)))
	return &clientConn{Conn: nc}
}

// got is what a request brought: a complete response, or why there is none.
type got struct {
	apptest.Message
	interim []int
	err     error
}

// ask sends a request and reads its response to the end.
func (c *clientConn) ask(method, target, version string, upload int) (r got) {
	head := method + " " + target + " " + version + "\r\nHost: h\r\n"
	if upload > 0 {
		head += fmt.Sprintf("Content-Length: %d\r\n", upload)
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	// Beside the reading: an early answer may end the taking of the rest.
	writer.Go(func() { _, _ = io.WriteString(c, head+"\r\n"+strings.Repeat("u", upload)) })
	piece := make([]byte, 32<<10)
	for closed := false; ; {
		m, n, err := apptest.ReadResponse(c.buf, method, closed)
		switch {
		case err == nil && m.Status < 200 && m.Status != 101:
			r.interim = append(r.interim, m.Status)
			c.buf = c.buf[n:]
			continue
		case err == nil, !errors.Is(err, apptest.ErrIncomplete), closed:
			c.buf = c.buf[n:]
			r.Message, r.err = m, err
			return r
		}
		k, err := c.Read(piece)
		c.buf = append(c.buf, piece[:k]...)
		switch {
		case err == io.EOF:
			closed = true
		case err != nil: // a reset, which nobody takes for an end
			r.Message, r.err = m, err
			return r
		}
	}
}

// open says whether the connection may carry another request.
func (r got) open(version string) bool {
	return r.err == nil && version == "HTTP/1.1" && r.Value("Connection") != "close" && !r.ToClose
}

func (a awkward) check(r got, version string) error {
	refused := r.err == nil && r.Status == 502
	if refused && (r.Value("Content-Type") != "application/problem+json" || !strings.Contains(r.Body, `"status":502`)) && a.method != "HEAD" {
		return fmt.Errorf("502 without problem details: %+v", r)
	}
	switch {
	case version == "HTTP/1.0" && r.Chunked:
		return fmt.Errorf("a chunked response to a client that does not know the coding: %+v", r)
	case a.cut && r.err == nil && !refused:
		return fmt.Errorf("a truncated response looks complete: %+v", r)
	case a.cut || a.maybe && refused:
	case r.err != nil:
		return fmt.Errorf("%w: %+v", r.err, r)
	case r.Status != a.status:
		return fmt.Errorf("status %d, want %d", r.Status, a.status)
	case a.status != 502 && r.Body != a.body:
		return fmt.Errorf("body %.200q, want %.200q", r.Body, a.body)
	}
	want := a.interim
	if version == "HTTP/1.0" {
		want = nil
	}
	if got := fmt.Sprint(r.interim); got != fmt.Sprint(want) && !a.cut && !refused {
		return fmt.Errorf("interim responses %v, want %v", r.interim, want)
	}
	return nil
}

// own checks that a request gets the answer to itself. On a connection that carried an
// upload whose answer came early, the pod may have given up the connection instead.
func (c *clientConn) own(t *testing.T, target string, orClosed bool) {
	t.Helper()
	r := c.ask("GET", target, "HTTP/1.1", 0)
	if orClosed && r.err != nil && r.Status == 0 {
		return
	}
	if r.err != nil || r.Status != 200 || r.Body != target {
		t.Errorf("GET %s: %+v", target, r)
	}
}

func (g *awkwardRig) ownOnNew(t *testing.T, target string) {
	t.Helper()
	c := g.dial(t)
	defer c.Close()
	c.own(t, target, false)
}

// TestAwkwardResponses has applications answer in every way that they should not, and
// in some that few expect.
func TestAwkwardResponses(t *testing.T) {
	table := awkwardResponses()
	g := newAwkwardRig(t, table)
	t.Logf("%d responses", len(table))
	for n, a := range table {
		if a.method == "" {
			a.method = "GET"
		}
		t.Run(a.name, func(t *testing.T) {
			g.alone(t, n, a, "HTTP/1.1")
			g.alone(t, n, a, "HTTP/1.0")
			g.together(t, n, a)
			if a.method == "GET" && a.send != "" && (a.cut || a.status == 502) { // a GET that got nothing may be sent again
				g.notStored(t, n, a)
			}
		})
	}
}

// alone asks for one response, then for others on the same and on a new connection.
func (g *awkwardRig) alone(t *testing.T, n int, a awkward, version string) {
	t.Helper()
	c := g.dial(t)
	defer c.Close()
	r := c.ask(a.method, fmt.Sprintf("/awkward/%d", n), version, a.upload)
	if err := a.check(r, version); err != nil {
		t.Errorf("to %s: %v", version, err)
	}
	if r.open(version) {
		for i := range 2 {
			c.own(t, fmt.Sprintf("/own/%d/%d", n, i), a.early)
		}
	}
	for i := range 2 {
		g.ownOnNew(t, fmt.Sprintf("/new/%d/%d", n, i))
	}
}

// together asks for the response and for others at the same time.
func (g *awkwardRig) together(t *testing.T, n int, a awkward) {
	t.Helper()
	var clients sync.WaitGroup
	defer clients.Wait()
	for i := range 4 {
		clients.Go(func() {
			c := g.dial(t)
			defer c.Close()
			if err := a.check(c.ask(a.method, fmt.Sprintf("/awkward/%d", n), "HTTP/1.1", a.upload), "HTTP/1.1"); err != nil {
				t.Errorf("beside others: %v", err)
			}
		})
		clients.Go(func() {
			c := g.dial(t)
			defer c.Close()
			for j := range 3 {
				c.own(t, fmt.Sprintf("/beside/%d/%d/%d", n, i, j), false)
			}
		})
	}
}

// notStored checks that nothing of a broken response is served again.
func (g *awkwardRig) notStored(t *testing.T, n int, a awkward) {
	t.Helper()
	c := g.dial(t)
	defer c.Close()
	target := fmt.Sprintf("/stored/%d", n)
	if err := a.check(c.ask("GET", target, "HTTP/1.1", 0), "HTTP/1.1"); err != nil {
		t.Errorf("on a route with a cache: %v", err)
	}
	g.ownOnNew(t, target)
}

// TestResponseCutAtEveryByte ends a response after each of its bytes, in order and
// with a reset: no client may take what it gets for the whole.
func TestResponseCutAtEveryByte(t *testing.T) {
	var table []awkward
	for _, whole := range []string{okHello, chunkedAnswer("5\r\nhello\r\n1;e\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n")} {
		for n := range whole {
			for how, end := range []apptest.Step{apptest.Close(), apptest.Reset()} {
				table = append(table, awkward{name: fmt.Sprintf("%q, end %d", whole[:n], how), send: whole[:n], then: end, method: "GET", cut: true})
			}
		}
	}
	g := newAwkwardRig(t, table)
	for n, a := range table {
		for _, version := range []string{"HTTP/1.1", "HTTP/1.0"} {
			c := g.dial(t)
			if err := a.check(c.ask("GET", fmt.Sprintf("/awkward/%d", n), version, 0), version); err != nil {
				t.Errorf("%s, to %s: %v", a.name, version, err)
			}
			_ = c.Close()
			g.ownOnNew(t, fmt.Sprintf("/new/%d", n))
		}
	}
	t.Logf("%d responses to two versions", len(table))
}

// TestUnsolicitedBytes: what an application sends on an idle connection answers nobody.
func TestUnsolicitedBytes(t *testing.T) {
	for _, bytes := range []string{"x", "\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"} {
		t.Run(fmt.Sprintf("%.20q", bytes), func(t *testing.T) {
			send, sent := make(chan struct{}), make(chan struct{})
			raw := apptest.Start(t, apptest.InTurn(
				[]apptest.Step{apptest.Expect(), apptest.Send(okHello), apptest.Wait(send), apptest.Send(bytes), apptest.Signal(sent), apptest.Echo()},
				[]apptest.Step{apptest.Echo()}))
			off := func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff }
			r := newRig(t, []proxy.Rule{rule("all", "/**", off)}, nil, 0)
			r.up.URL = raw.URL()
			g := &awkwardRig{pod: r.addPod()}
			c := g.dial(t)
			defer c.Close()
			if first := c.ask("GET", "/first", "HTTP/1.1", 0); first.err != nil || first.Body != "hello" {
				t.Fatalf("%+v", first)
			}
			eventually(t, "the connection is idle", func() bool { return g.pod.up.Stats().Idle == 1 })
			close(send)
			<-sent
			c.own(t, "/second", false)
			g.ownOnNew(t, "/third")
		})
	}
}
