package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy"
)

// trapMark in what a connection reads makes that Read panic, once for each arm.
const trapMark = "TRAP"

type trap struct{ armed atomic.Bool }

type trapConn struct {
	net.Conn
	t *trap
}

func (c *trapConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bytes.Contains(p[:n], []byte(trapMark)) && c.t.armed.CompareAndSwap(true, false) {
		panic("sprung by a test")
	}
	return n, err
}

func (c *trapConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

type trapListener struct {
	net.Listener
	t *trap
}

func (l *trapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &trapConn{c, l.t}, nil
}

// trapped makes a pod whose connections to the application, and those of whose clients,
// can be made to panic.
func trapped(t *testing.T, list []proxy.Rule, app http.HandlerFunc) (r *rig, p *pod, toApp, toClient *trap, log *lines) {
	r = newRig(t, list, app, 0)
	toApp, toClient, log = new(trap), new(trap), new(lines)
	r.log = zerolog.New(log)
	r.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &trapConn{c, toApp}, nil
	}
	r.accept = func(ln net.Listener) net.Listener { return &trapListener{ln, toClient} }
	r.up.MaxConnections = 2 // a connection that a panic loses is missed soon
	return r, r.addPod(), toApp, toClient, log
}

// contained expects one panic more, with its stack in the log, and a process that goes on.
func contained(t *testing.T, p *pod, log *lines, n uint64) {
	t.Helper()
	// It is counted before it is logged.
	eventually(t, "the panic is counted and logged", func() bool {
		return p.handler.Stats().Panics == n && uint64(strings.Count(log.String(), "a panic was contained")) >= n
	})
	if text := log.String(); uint64(strings.Count(text, "a panic was contained")) != n || !strings.Contains(text, "sprung by a test") || !strings.Contains(text, "trapConn") {
		t.Errorf("the log has not %d panics with their stacks:\n%s", n, text)
	}
	if got := p.do(t, "GET", "/fine"); got.status != 200 || got.body != "fine" {
		t.Errorf("the next request: %+v", got)
	}
}

// cutOff reads a response and says whether its body was cut off.
func cutOff(t *testing.T, p *pod, path string) bool {
	t.Helper()
	resp, err := transport().RoundTrip(must1(http.NewRequest("GET", "http://"+p.addr+path, nil)))
	must(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err != nil
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// fine answers /fine, and other paths with a large body that has the mark in its middle
// and, on request, a length.
func fine(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/fine" {
		io.WriteString(w, "fine")
		return
	}
	if q.URL.Path == "/head" {
		w.Header().Set("X-A", trapMark)
		return
	}
	half := strings.Repeat("x", 200_000)
	if strings.HasSuffix(q.URL.Path, "/length") {
		w.Header().Set("Content-Length", "400004")
	}
	io.WriteString(w, half)
	w.(http.Flusher).Flush()
	io.WriteString(w, trapMark+half)
}

func TestPanicsAreContained(t *testing.T) {
	list := []proxy.Rule{rule("stored", "/stored/**", ttl(time.Hour)), rule("all", "/**", uncached)}
	r, p, toApp, _, log := trapped(t, list, fine)
	panics := uint64(0)
	for round := range 3 { // more often than there are connections
		for _, path := range []string{"/head", "/pass", "/pass/length", "/stored", "/stored/length"} {
			toApp.armed.Store(true)
			panics++
			if path == "/head" {
				if got := p.do(t, "GET", path); got.status != 500 || !strings.Contains(got.header.Get("Content-Type"), "problem") {
					t.Errorf("%s: %+v", path, got)
				}
			} else if !cutOff(t, p, path) {
				t.Errorf("%s: the client takes what it has for the whole", path)
			}
			contained(t, p, log, panics)
			if path == "/head" {
				continue
			}
			if round < 2 && cutOff(t, p, "/pass") { // not armed
				t.Error("an answer after a panic was cut")
			}
		}
	}
	// The fill that panicked holds neither its key nor its lease.
	for _, path := range []string{"/stored", "/stored/length"} {
		if cutOff(t, p, path) {
			t.Errorf("%s after a panic was cut", path)
		}
		eventually(t, path+" is stored", func() bool { return strings.Contains(p.do(t, "GET", path).cacheStatus(), "; hit") })
	}
	if n := p.handler.Stats().Panics; n != panics {
		t.Errorf("%d panics, want %d", n, panics)
	}
	_ = r
}

// TestPanicOfAFillLetsOthersGoOn: who waits for a fill that panics is not left waiting,
// and is not given half a body as a whole.
func TestPanicOfAFillLetsOthersGoOn(t *testing.T) {
	hold := make(chan struct{})
	var first atomic.Bool
	_, p, toApp, _, log := trapped(t, []proxy.Rule{rule("stored", "/stored/**", ttl(time.Hour)), rule("all", "/**", uncached)}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/fine" && first.CompareAndSwap(false, true) {
			<-hold
		}
		fine(w, q)
	})
	toApp.armed.Store(true)
	results := make(chan bool, 2)
	go func() { results <- cutOff(t, p, "/stored") }()
	eventually(t, "the first is at the application", first.Load)
	go func() { results <- cutOff(t, p, "/stored") }()
	close(hold)
	if a, b := <-results, <-results; !a && !b {
		t.Error("neither was cut")
	}
	contained(t, p, log, 1)
}

func TestPanicOfARefresh(t *testing.T) {
	var version atomic.Int64
	_, p, toApp, _, log := trapped(t, []proxy.Rule{rule("swr", "/swr"), rule("all", "/**", uncached)},
		func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/fine" {
				fine(w, q)
				return
			}
			w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=3600")
			w.Header().Set("ETag", fmt.Sprintf(`"%d"`, version.Load()))
			if n := version.Add(1); n == 1 {
				w.Header().Set("Age", "10")
			} else if n == 2 {
				w.Header().Set("X-A", trapMark)
			}
			io.WriteString(w, "body")
		})
	p.do(t, "GET", "/swr")
	toApp.armed.Store(true)
	if got := p.do(t, "GET", "/swr"); got.status != 200 || !strings.Contains(got.cacheStatus(), "; hit") {
		t.Fatalf("%+v", got)
	}
	contained(t, p, log, 1)
	eventually(t, "another refresh", func() bool {
		return p.do(t, "GET", "/swr").status == 200 && version.Load() >= 3
	})
}

func TestPanicWithinAnUpload(t *testing.T) {
	var begun atomic.Bool
	_, p, _, toClient, log := trapped(t, []proxy.Rule{rule("all", "/**", uncached)}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/fine" {
			_, _ = io.ReadFull(q.Body, make([]byte, 100))
			begun.Store(true)
			if _, err := io.Copy(io.Discard, q.Body); err == nil {
				t.Error("the application takes what it got for the whole body")
			}
			return
		}
		fine(w, q)
	})
	for i, framing := range []string{"Content-Length: 400004", "Transfer-Encoding: chunked"} {
		begun.Store(false)
		toClient.armed.Store(true)
		c, err := net.Dial("tcp", p.addr)
		must(t, err)
		half := strings.Repeat("x", 200_000)
		if i == 1 {
			half = "61a84\r\n" + half // 400004 in one chunk
		}
		_, err = io.WriteString(c, "PUT /upload HTTP/1.1\r\nHost: h\r\n"+framing+"\r\n\r\n"+half)
		must(t, err)
		eventually(t, "the application reads", begun.Load)
		_, _ = io.WriteString(c, trapMark+strings.Repeat("x", 200_000))
		must(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		answer, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection was not closed: %v", framing, err)
		}
		if len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 500 ")) {
			t.Errorf("%s: %q", framing, answer)
		}
		must(t, c.Close())
		contained(t, p, log, uint64(i+1))
	}
}

func TestPanicOfATunnel(t *testing.T) {
	r, p, toApp, toClient, log := trapped(t, []proxy.Rule{rule("all", "/**", uncached)}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/fine" {
			fine(w, q)
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_, _ = io.Copy(c, rw) // what comes goes back
	})
	_ = r
	for i, tr := range []*trap{toApp, toClient} {
		c, err := net.Dial("tcp", p.addr)
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(time.Minute)))
		_, err = io.WriteString(c, "GET /tunnel HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		must(t, err)
		head := make([]byte, len("HTTP/1.1 101"))
		_, err = io.ReadFull(c, head)
		must(t, err)
		if string(head) != "HTTP/1.1 101" {
			t.Fatalf("%q", head)
		}
		tr.armed.Store(true)
		_, err = io.WriteString(c, trapMark)
		must(t, err)
		if rest, _ := io.ReadAll(c); bytes.Contains(rest, []byte(trapMark)) {
			t.Errorf("the tunnel went on: %q", rest)
		}
		must(t, c.Close())
		contained(t, p, log, uint64(i+1))
	}
}

// bomb panics when it is read or closed.
type bomb struct{}

func (bomb) Read([]byte) (int, error) { panic("read") }
func (bomb) Close() error             { panic("closed") }

// TestPanicOfAHandlerInThisProcess: a handler that panics when it has set a stream that
// panics too is answered with 500.
func TestPanicOfAHandlerInThisProcess(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", uncached)}, nil, 0)
	r.next = func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/bomb" {
			ctx.SetBodyStream(bomb{}, -1)
			panic("handler")
		}
		ctx.SetBodyString("fine")
	}
	r.log = zerolog.Nop()
	p := r.addPod()
	for range 2 {
		if got := p.do(t, "GET", "/bomb"); got.status != 500 || got.header.Get("X-Request-Id") == "" {
			t.Errorf("%+v", got)
		}
		if got := p.do(t, "GET", "/fine"); got.status != 200 || got.body != "fine" {
			t.Errorf("%+v", got)
		}
	}
	if n := p.handler.Stats().Panics; n != 4 {
		t.Errorf("%d panics were counted, want the handler's and the stream's each time", n)
	}
}
