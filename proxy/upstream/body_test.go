package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// TestHead: what Do leaves in h, and what the Body says.
func TestHead(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send("HTTP/1.0 203 Fine\r\n"+
		"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nSet-Cookie: a=1\r\nset-cookie: a=2\r\nX: 1\r\nX: 2\r\n"+
		"Trailer: X-Sum\r\nConnection: close, X\r\nContent-Length: 5\r\n\r\nhello")))
	c := newClient(t, testConfig(raw.URL()))
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	if body.Size() != 5 || body.Complete() || body.CloseDelimited() {
		t.Errorf("%d %v %v", body.Size(), body.Complete(), body.CloseDelimited())
	}
	got := string(h.Header())
	for _, want := range []string{"HTTP/1.1 203 Fine\r\n", "X: 1\r\nX: 2\r\n", "Set-Cookie: a=1\r\nSet-Cookie: a=2\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if string(h.Peek("Date")) != "Thu, 01 Jan 1970 00:00:00 GMT" || h.ConnectionClose() ||
		strings.Contains(got, "Trailer") || string(h.Peek("Connection")) != "X" {
		t.Errorf("%q", got)
	}
	_ = body.Close()
	_ = body.Close()
	if _, err := body.Read(make([]byte, 1)); err == nil || err == io.EOF || body.Complete() {
		t.Errorf("read of a closed body: %v", err)
	}
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("closed before the end: %+v", s)
	}
}

// TestStaleBody: a Body kept after its end has no hold on the connection, which
// by then serves somebody else.
func TestStaleBody(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Echo()))
	c := newClient(t, testConfig(raw.URL()))
	var h fasthttp.ResponseHeader
	old, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/old")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(old)
	next, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/new")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := old.Read(make([]byte, 8)); n > 0 || err != io.EOF {
		t.Errorf("the old body gave %d bytes, %v", n, err)
	}
	_ = old.Close()
	if b, err := io.ReadAll(next); string(b) != "/new" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestCloseDelimitedBody(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send("HTTP/1.1 200 OK\r\n\r\nhello"), apptest.Close()))
	c := newClient(t, testConfig(raw.URL()))
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if string(b) != "hello" || err != nil || !body.Complete() || !body.CloseDelimited() || body.Size() != -1 {
		t.Errorf("%q %v %v %v %d", b, err, body.Complete(), body.CloseDelimited(), body.Size())
	}
}

// watched notes the read deadline that holds at each read of a body, and when the body
// was asked for that.
type watched struct {
	net.Conn
	deadline, asked time.Time
	reads           []watchedRead
}

type watchedRead struct{ asked, deadline time.Time }

func (w *watched) SetReadDeadline(t time.Time) error {
	w.deadline = t
	return w.Conn.SetReadDeadline(t)
}
func (w *watched) SetDeadline(t time.Time) error { w.deadline = t; return w.Conn.SetDeadline(t) }
func (w *watched) Read(p []byte) (int, error) {
	if !w.asked.IsZero() {
		w.reads = append(w.reads, watchedRead{w.asked, w.deadline})
	}
	return w.Conn.Read(p)
}

// TestEventsArriveOneByOne: each piece is returned when it arrives, and each wait
// has a deadline of its own, so that the stream has none.
func TestEventsArriveOneByOne(t *testing.T) {
	for name, form := range map[string]string{"chunks": "7\r\nevent %d\r\n", "until close": "event %d"} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			steps := []apptest.Step{apptest.Expect(), apptest.Send(chunkedResponse(""))}
			if name != "chunks" {
				steps[1] = apptest.Send("HTTP/1.1 200 OK\r\n\r\n")
			}
			for i := range 5 {
				steps = append(steps, apptest.Wait(next), apptest.Sendf(form, i))
			}
			raw := apptest.Start(t, apptest.Each(append(steps, apptest.Drain())...))
			var conn watched
			cfg := testConfig(raw.URL())
			cfg.Timeouts.Idle = 1600 * time.Millisecond
			cfg.Timeouts.ResponseHeader = cfg.Timeouts.Idle / 2
			c := newClient(t, cfg, WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
				nc, err := new(net.Dialer).DialContext(ctx, network, address)
				conn.Conn = nc
				return &conn, err
			}))
			readEvents(t, c, next, &conn)
			if len(conn.reads) < 4 {
				t.Errorf("%d reads", len(conn.reads))
			}
			for i, r := range conn.reads {
				if left := r.deadline.Sub(r.asked); left < cfg.Timeouts.Idle {
					t.Errorf("read %d may wait for no more than %v", i, left)
				}
			}
		})
	}
}

func readEvents(t *testing.T, c *Client, next chan<- struct{}, conn *watched) {
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	p := make([]byte, 100)
	for i := range 5 {
		// A deadline stays for a sixteenth of the idle time, which has to pass.
		time.Sleep(c.cfg.Timeouts.Idle / 16)
		next <- struct{}{}
		conn.asked = time.Now()
		n, err := body.Read(p)
		if want := fmt.Sprint("event ", i); string(p[:n]) != want || err != nil {
			t.Fatalf("%q, %v; want %q", p[:n], err, want)
		}
	}
}

func TestIdleBody(t *testing.T) {
	for name, send := range map[string]string{
		"chunks": chunkedResponse("5\r\nhello\r\n"), "length": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
		"half a chunk size": chunkedResponse("5\r\nhello\r\n5"), "until close": "HTTP/1.1 200 OK\r\n\r\nhello",
	} {
		t.Run(name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send(send), apptest.Drain()))
			cfg := testConfig(raw.URL())
			cfg.Timeouts.Idle = 200 * time.Millisecond
			c := newClient(t, cfg)
			if a := get(c, "/"); a.body != "hello" || !errors.Is(a.bodyErr, ErrTimeout) || a.complete {
				t.Errorf("%+v", a)
			}
		})
	}
}

// TestEarlyRelease: the connection is free once the last byte is read, before
// Close, and many chunks that arrived together are read together.
func TestEarlyRelease(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send(chunkedResponse(strings.Repeat("1\r\na\r\n", 100)+"0\r\n\r\n")), apptest.Drain()))
	c := newClient(t, testConfig(raw.URL()))
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	n, err := body.Read(make([]byte, 1000))
	if n != 100 || err != nil || !body.Complete() || c.Stats().Idle != 1 {
		t.Errorf("%d, %v, %v, %+v", n, err, body.Complete(), c.Stats())
	}
}

func TestHeaderTimeout(t *testing.T) {
	for name, part := range map[string]string{"nothing": "", "half a head": "HTTP/1.1 200 OK\r\nX", "interim": "HTTP/1.1 100 Continue\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send(part), apptest.Drain()))
			cfg := testConfig(raw.URL())
			cfg.Timeouts.ResponseHeader = 30 * time.Millisecond
			c := newClient(t, cfg)
			if a := get(c, "/"); !errors.Is(a.err, ErrTimeout) || !strings.Contains(a.err.Error(), "response_header") {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	asked := make(chan struct{}, 1)
	tell := func(*apptest.Conn) error { asked <- struct{}{}; return nil }
	script := func(part string) []apptest.Step {
		return []apptest.Step{apptest.Expect(), apptest.Send(part), tell, apptest.Drain()}
	}
	raw := apptest.Start(t, apptest.InTurn(script(""), script("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"), script("")))
	c := newClient(t, testConfig(raw.URL()))
	var h fasthttp.ResponseHeader

	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	if _, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h); !errors.Is(err, context.Canceled) {
		t.Errorf("before the head: %v", err)
	}

	ctx, cancel = context.WithCancel(context.Background())
	body, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	cancel()
	if b, err := io.ReadAll(body); !errors.Is(err, context.Canceled) || body.Complete() {
		t.Errorf("within the body: %q, %v", b, err)
	}

	ctx, cancel = context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h); !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: %v", err)
	}
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
}

func TestInterim(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send(
		"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+ok5), apptest.Drain()))
	c := newClient(t, testConfig(raw.URL()))
	var got []string
	a := do(c, &Request{Head: reqHead("GET", "/"), Interim: func(status int, h *fasthttp.ResponseHeader) {
		got = append(got, fmt.Sprintf("%d %s", status, bytes.Join(h.PeekAll("Link"), []byte(" "))))
	}})
	if a.body != "hello" || fmt.Sprint(got) != "[103 </a> </b> 102 ]" {
		t.Errorf("%+v, %q", a, got)
	}
}

// TestInterimPanics: the panic reaches the caller, the slot is not lost.
func TestInterimPanics(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send("HTTP/1.1 103 Early Hints\r\n\r\n"+ok5), apptest.Drain()))
	c := newClient(t, testConfig(raw.URL()))
	func() {
		defer func() {
			if p := recover(); p != "hook" {
				t.Errorf("recovered %v", p)
			}
		}()
		do(c, &Request{Head: reqHead("GET", "/"), Interim: func(int, *fasthttp.ResponseHeader) { panic("hook") }})
	}()
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
}

func TestUpgrade(t *testing.T) {
	switching := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
	tests := []struct {
		name, send, first string
		status            int
		err               error
	}{
		{"accepted", switching, "", 101, nil},
		{"accepted, first bytes at once", switching + "first", "first", 101, nil},
		{"interim before", "HTTP/1.1 103 Early Hints\r\n\r\n" + switching, "", 101, nil},
		{"refused", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno", "", 401, nil},
		{"refused without a body", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "", 400, nil},
		{"ignored", ok5, "", 200, nil},
		{"malformed", "HTTP/1.1 101 Switching\nUpgrade: x\n\n", "", 0, ErrBadResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send(tt.send), apptest.ExpectBytes(4), apptest.Send("pong"), apptest.Drain()))
			c := newClient(t, testConfig(raw.URL()))
			var h fasthttp.ResponseHeader
			ctx, cancel := context.WithCancel(context.Background())
			nc, body, err := c.Upgrade(ctx, &Request{Head: reqHead("GET", "/ws", "Connection: Upgrade", "Upgrade: x")}, &h)
			if !errors.Is(err, tt.err) || (err == nil && h.StatusCode() != tt.status) || (nc != nil) != (tt.status == 101) {
				t.Fatalf("%v %v %v, status %d", nc, body, err, h.StatusCode())
			}
			cancel()
			if body != nil {
				_ = body.Close()
			}
			if nc != nil {
				tunnel(t, nc, tt.first)
			}
			if s := c.Stats(); s.Open != 0 || s.Idle != 0 {
				t.Errorf("an upgrade left something in the pool: %+v", s)
			}
		})
	}
}

func tunnel(t *testing.T, nc io.ReadWriteCloser, first string) {
	t.Helper()
	defer nc.Close()
	if _, err := nc.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if err := nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(nc); string(b) != first+"pong" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// TestContextEndsAfterTheLastByte: the response is whole, but the end of the
// context is closing the connection just then; it must not reach the pool.
func TestContextEndsAfterTheLastByte(t *testing.T) {
	raw := apptest.Start(t, apptest.InTurn([]apptest.Step{apptest.Expect(), apptest.Send(ok5), apptest.Drain()}, []apptest.Step{apptest.Echo()}))
	c := newClient(t, testConfig(raw.URL()))
	var h fasthttp.ResponseHeader
	ctx, cancel := context.WithCancel(context.Background())
	body, err := c.Do(ctx, &Request{Head: reqHead("GET", "/")}, &h)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_, _ = io.ReadAll(body)
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
	wantOwn(t, c, "/next")
}

func TestReadByLeavesTheBodyAsItIs(t *testing.T) {
	more := make(chan struct{})
	app := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
		apptest.Wait(more), apptest.Send("world"), apptest.Echo()))
	c := newClient(t, testConfig(app.URL()))
	var h fasthttp.ResponseHeader
	r := Request{Head: reqHead("GET", "/")}
	body, err := c.Do(context.Background(), &r, &h)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	if n, err := body.ReadBy(p, time.Now().Add(patience)); string(p[:n]) != "hello" || err != nil {
		t.Fatalf("%q %v", p[:n], err)
	}
	if n, err := body.ReadBy(p, time.Now().Add(time.Millisecond)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q %v", p[:n], err)
	}
	close(more)
	if b, err := io.ReadAll(body); string(b) != "world" || err != nil || !body.Complete() {
		t.Errorf("%q %v", b, err)
	}
	_ = body.Close()
	wantOwn(t, c, "/next")
	if app.Conns() != 1 {
		t.Errorf("%d connections", app.Conns())
	}
}
