package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/splice"
	"github.com/pillion-proxy/pillion/proxy"
)

// noise gives the bytes of a body, which no other seed has.
func noise(seed uint64, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// bodies is an application that answers /<seed>/<size> with noise of that length, and
// does what the query says: cut=N ends the connection after N bytes, by how=fin or rst.
type bodies struct {
	conns sync.Map // remote addresses that asked
	cuts  atomic.Int64
}

func (a *bodies) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	a.conns.Store(q.RemoteAddr, true)
	_, rest, _ := strings.Cut(q.URL.Path, "/")
	first, second, _ := strings.Cut(rest, "/")
	seed, _ := strconv.Atoi(first)
	size, _ := strconv.Atoi(second)
	body := noise(uint64(seed), size)
	if !q.URL.Query().Has("cut") {
		w.Header().Set("Content-Length", second)
		if _, err := w.Write(body); err != nil {
			a.cuts.Add(1)
		}
		return
	}
	cut, _ := strconv.Atoi(q.URL.Query().Get("cut"))
	nc, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer nc.Close()
	length := "Content-Length: " + second + "\r\n"
	if q.URL.Query().Has("until_close") {
		length = "Connection: close\r\n"
	}
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\n%s\r\n", length)
	_, _ = nc.Write(body[:cut])
	if q.URL.Query().Get("how") == "rst" {
		_ = nc.(*net.TCPConn).SetLinger(0)
	}
}

func (a *bodies) asked() (n int) {
	a.conns.Range(func(_, _ any) bool { n++; return true })
	return n
}

// moves counts what goes through pipes, and lets a test refuse.
type moves struct {
	calls, bytes atomic.Int64
	refuse       func(call int64) error // nil: never
}

func (m *moves) call(from, to, most int) (int, error) {
	n := m.calls.Add(1)
	if m.refuse != nil {
		if err := m.refuse(n); err != nil {
			return 0, err
		}
	}
	took, err := splice.System(from, to, most)
	m.bytes.Add(int64(max(took, 0)))
	return took, err
}

func (m *moves) into(r *rig, max int) {
	r.pipes = func(h *proxy.Handler) { h.UsePipes(max, m.call, true) }
}

// ways are how a request reaches the application.
func ways() map[string]bool { return map[string]bool{"direct": false, "by Handle": true} }

// moveRig has a pod without cache, and bodies or another application.
func moveRig(t *testing.T, app http.HandlerFunc, m *moves, change func(*rig)) (*rig, *pod) {
	t.Helper()
	r := newRig(t, []proxy.Rule{rule("all", "/**", uncached)}, app, 0)
	m.into(r, proxy.MaxPipes)
	r.quiet = true
	if change != nil {
		change(r)
	}
	return r, r.addPod()
}

// client is a connection that asks for bodies.
type client struct {
	net.Conn
	br *bufio.Reader
}

func dialClient(t testing.TB, p *pod) *client {
	t.Helper()
	c := dialPod(t, p)
	return &client{c, bufio.NewReader(c)}
}

func (c *client) ask(t testing.TB, path string) {
	t.Helper()
	_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path)
	must(t, err)
}

// head reads the head of the next answer.
func (c *client) head(t testing.TB) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(c.br, nil)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return resp
}

func (c *client) whole(t testing.TB, want []byte) {
	t.Helper()
	b, err := io.ReadAll(c.head(t).Body)
	if err != nil || !bytes.Equal(b, want) {
		t.Fatalf("%d bytes of %d, equal so far: %v, %v", len(b), len(want), bytes.HasPrefix(want, b), err)
	}
}

// Bodies arrive as they were sent, and both connections carry the next exchange, also one
// that was asked for meanwhile.
func TestMovedBodiesAreWhole(t *testing.T) {
	for way, handleOnly := range ways() {
		t.Run(way, func(t *testing.T) {
			var app bodies
			var m moves
			log := new(lines)
			_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) {
				log = logging(r, "all", 100)
				r.quiet, r.handleOnly = false, handleOnly
			})
			c := dialClient(t, p)
			sizes := []int{proxy.MoveFrom - 1, 2*proxy.MoveFrom + 70_000, 3<<20 + 17, 10, 1 << 20, 5 << 20}
			var requests strings.Builder
			for i, size := range sizes {
				fmt.Fprintf(&requests, "GET /%d/%d HTTP/1.1\r\nHost: h\r\n\r\n", i, size)
			}
			_, err := io.WriteString(c, requests.String())
			must(t, err)
			for i, size := range sizes {
				c.whole(t, noise(uint64(i), size))
				if n := log.one(t, fmt.Sprintf("/%d/%d", i, size))["bytes_out"]; n != float64(size) {
					t.Errorf("%v bytes are logged of %d", n, size)
				}
			}
			if n := app.asked(); n != 1 {
				t.Errorf("%d connections to the application", n)
			}
			// Each byte counts twice: into the pipe, and out of it.
			if n := m.bytes.Load(); n < 2*8<<20 {
				t.Errorf("%d bytes went through pipes", n/2)
			}
			if n := p.handler.PipesLeft(); n != proxy.MaxPipes {
				t.Errorf("%d pipes are left", n)
			}
		})
	}
}

// A client on this machine gets bodies by copying.
func TestBodiesToThisMachineAreCopied(t *testing.T) {
	for way, handleOnly := range ways() {
		var app bodies
		var m moves
		_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) {
			r.handleOnly = handleOnly
			r.pipes = func(h *proxy.Handler) { h.UsePipes(1, m.call, false) }
		})
		c := dialClient(t, p)
		for i := range 2 {
			c.ask(t, fmt.Sprintf("/%d/%d", i, 8<<20))
			c.whole(t, noise(uint64(i), 8<<20))
		}
		if n := m.calls.Load(); n > 0 {
			t.Errorf("%s: %d calls", way, n)
		}
	}
}

// What needs more than bytes to be handed on is copied, or its end is that of a connection.
func TestWhatIsMoved(t *testing.T) {
	const size = 4 << 20
	body := noise(1, size)
	close := "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + string(body)
	tests := map[string]struct {
		answer, request string
		unix, moved     bool
	}{
		"length":                  {answer: sized("HTTP/1.1 200 OK\r\n", string(body)), request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", moved: true},
		"length, HTTP/1.0":        {answer: sized("HTTP/1.1 200 OK\r\n", string(body)), request: "GET / HTTP/1.0\r\n\r\n", moved: true},
		"length, Unix socket":     {answer: sized("HTTP/1.1 200 OK\r\n", string(body)), request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n", unix: true, moved: true},
		"chunked":                 {answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400000\r\n" + string(body) + "\r\n0\r\n\r\n", request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		"until close":             {answer: close, request: "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		"until close, HTTP/1.0":   {answer: close, request: "GET / HTTP/1.0\r\n\r\n", moved: true},
		"length, with conditions": {answer: sized("HTTP/1.1 200 OK\r\nETag: \"a\"\r\n", string(body)), request: "GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"b\"\r\n\r\n", moved: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			script := apptest.Each(apptest.ExpectHead(), apptest.Send(tt.answer), apptest.Close())
			raw := apptest.Start(t, script)
			if tt.unix {
				raw = apptest.StartUnix(t, script)
			}
			var m moves
			_, p := moveRig(t, nil, &m, func(r *rig) { r.up.URL = raw.URL() })
			c := dialClient(t, p)
			_, err := io.WriteString(c, tt.request)
			must(t, err)
			c.whole(t, body)
			if moved := m.bytes.Load() > 0; moved != tt.moved {
				t.Errorf("moved: %v", moved)
			}
		})
	}
}

// What the application sends behind a body is nobody's: not the client's, and not the next
// exchange's.
func TestBytesBehindMovedBody(t *testing.T) {
	const size = 2 << 20
	body := noise(4, size)
	answer := sized("HTTP/1.1 200 OK\r\n", string(body))
	for way, handleOnly := range ways() {
		t.Run(way, func(t *testing.T) {
			raw := apptest.Start(t, func(n int) []apptest.Step {
				if n == 0 {
					return []apptest.Step{apptest.ExpectHead(), apptest.Send(answer + sized("HTTP/1.1 200 OK\r\n", "evil")), apptest.Drain()}
				}
				return []apptest.Step{apptest.Loop(apptest.ExpectHead(), apptest.Send(answer))}
			})
			var m moves
			_, p := moveRig(t, nil, &m, func(r *rig) { r.handleOnly, r.up.URL = handleOnly, raw.URL() })
			c := dialClient(t, p)
			for range 3 {
				c.ask(t, "/")
				c.whole(t, body)
			}
			if n := raw.Conns(); n != 2 || m.bytes.Load() == 0 {
				t.Errorf("%d connections to the application, %d bytes moved", n, m.bytes.Load())
			}
		})
	}
}

// A client may take longer than write_timeout for a body, as long as it goes on reading.
func TestMovedBodyToSlowReader(t *testing.T) {
	const size, pieces = 16 << 20, 128
	var app bodies
	var m moves
	_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) { r.cfg.WriteTimeout = time.Second })
	c := dialClient(t, p)
	must(t, c.Conn.(*net.TCPConn).SetReadBuffer(64<<10))
	c.ask(t, fmt.Sprintf("/5/%d", size))
	body, want := c.head(t).Body, noise(5, size)
	got := make([]byte, size/pieces)
	for i := range pieces {
		time.Sleep(20 * time.Millisecond) // the reader's pace: two and a half seconds for all
		if _, err := io.ReadFull(body, got); err != nil || !bytes.Equal(got, want[i*len(got):][:len(got)]) {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
	if m.bytes.Load() == 0 {
		t.Error("nothing was moved")
	}
}

// Each part reaches the client before the application sends the next, large or small.
func TestMovedPartsAreNotHeldBack(t *testing.T) {
	parts := []int{300 << 10, 1, 1 << 10, 500 << 10, 2 << 20, 100, 5000, 1 << 20, 1, 700 << 10}
	total := 0
	for _, n := range parts {
		total += n
	}
	for way, handleOnly := range ways() {
		t.Run(way, func(t *testing.T) {
			next := make(chan struct{})
			body := noise(9, total)
			app := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", strconv.Itoa(total))
				rest := body
				for _, n := range parts {
					_, _ = w.Write(rest[:n])
					_ = http.NewResponseController(w).Flush()
					rest = rest[n:]
					<-next
				}
			}
			var m moves
			_, p := moveRig(t, app, &m, func(r *rig) { r.handleOnly = handleOnly })
			c := dialClient(t, p)
			c.ask(t, "/")
			resp, rest := c.head(t), body
			for i, n := range parts {
				got := make([]byte, n)
				if _, err := io.ReadFull(resp.Body, got); err != nil || !bytes.Equal(got, rest[:n]) {
					t.Fatalf("part %d: %v", i, err)
				}
				rest = rest[n:]
				next <- struct{}{}
			}
			if m.bytes.Load() == 0 {
				t.Error("nothing was moved")
			}
		})
	}
}

// Many transfers at once, more than there are pipes, do not mix.
func TestMovedBodiesAtOnce(t *testing.T) {
	const clients, rounds, size, pipes = 16, 3, 1<<20 + 11, 4
	var app bodies
	var m moves
	_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) { m.into(r, pipes) })
	var wg sync.WaitGroup
	for i := range clients {
		c := dialClient(t, p)
		wg.Go(func() {
			for round := range rounds {
				seed := i*rounds + round
				if _, err := fmt.Fprintf(c, "GET /%d/%d HTTP/1.1\r\nHost: h\r\n\r\n", seed, size); err != nil {
					t.Error(err)
					return
				}
				resp, err := http.ReadResponse(c.br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(resp.Body)
				if err != nil || !bytes.Equal(b, noise(uint64(seed), size)) {
					t.Errorf("%d: %d bytes, %v", seed, len(b), err)
				}
			}
		})
	}
	wg.Wait()
	if n := m.bytes.Load(); n == 0 {
		t.Error("nothing was moved")
	}
	eventually(t, "all pipes are back", func() bool { return p.handler.PipesLeft() == pipes })
}

// Without a pipe to be had, bodies are copied; with one again, they are moved.
func TestBodiesWithoutPipe(t *testing.T) {
	const size = 32 << 20
	var app bodies
	var m moves
	_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) { m.into(r, 1) })
	holder := dialClient(t, p)
	holder.ask(t, fmt.Sprintf("/1/%d", size))
	_ = holder.head(t)
	eventually(t, "the pipe is taken", func() bool { return p.handler.PipesLeft() == 0 })
	// Its sockets are full once nothing moves any more.
	last, still := int64(-1), 0
	eventually(t, "the holder is stuck", func() bool {
		time.Sleep(20 * time.Millisecond) // all these looks are long enough for a call that can still be made
		if n := m.calls.Load(); n != last {
			last, still = n, 0
		}
		still++
		return still > 25
	})
	c := dialClient(t, p)
	c.ask(t, fmt.Sprintf("/2/%d", 4<<20))
	c.whole(t, noise(2, 4<<20))
	if n := m.calls.Load(); n != last {
		t.Errorf("%d calls without a pipe", n-last)
	}
	holder.Close()
	eventually(t, "the pipe is back", func() bool { return p.handler.PipesLeft() == 1 })
	last = m.calls.Load()
	c.ask(t, fmt.Sprintf("/2/%d", 4<<20))
	c.whole(t, noise(2, 4<<20))
	if m.calls.Load() == last {
		t.Error("nothing was moved")
	}
}
