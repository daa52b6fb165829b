package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// direct is a Listener whose Direct answers what asks for /direct, and a server that
// answers the rest as fasthttp would: one request at a time, from Read.
type direct struct {
	*Listener
	answered, passed atomic.Int64
	during           func(c *Conn) // while Direct runs
	begun, ended     chan string   // the first heads that the server gets, and what became of their bodies
}

func startDirect(t *testing.T, l Limits, during func(*Conn)) *direct {
	t.Helper()
	return startDirectOn(t, l, during, func(ln net.Listener) net.Listener { return ln })
}

// startDirectOn puts something between the server and its listener.
func startDirectOn(t *testing.T, l Limits, during func(*Conn), over func(net.Listener) net.Listener) *direct {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &direct{Listener: Listen(over(ln), l, nil), during: during, begun: make(chan string, 8), ended: make(chan string, 8)}
	d.Answer(d.answer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := d.Accept()
			if err != nil {
				return
			}
			go d.serve(nc.(*Conn))
		}
	}()
	t.Cleanup(func() {
		_ = d.Close()
		d.Cut()
		<-done
		for d.Open() > 0 {
			time.Sleep(time.Millisecond)
		}
	})
	return d
}

func (d *direct) answer(c *Conn, head []byte) (Outcome, time.Time) {
	what := strings.SplitN(string(head), " ", 3)[1]
	body := make([]byte, 0, bufferSize)
	switch what {
	case "/direct", "/unread":
	case "/half":
		_, _ = io.ReadFull(c.Body(), body[:c.Request().Size/2])
		return Passed, time.Now()
	case "/body":
		n, err := io.ReadFull(c.Body(), body[:c.Request().Size])
		if body = body[:n]; err != nil || !c.Body().Complete() {
			return Failed, time.Now()
		}
	default:
		return Passed, time.Now()
	}
	if d.during != nil {
		d.during(c)
	}
	d.answered.Add(1)
	if c.Send(time.Now(), fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\ndirect%s", len("direct")+len(body), body), nil) != nil {
		return Failed, time.Now()
	}
	return Answered, time.Now()
}

func (d *direct) serve(c *Conn) {
	defer c.Close()
	p := make([]byte, 64<<10)
	for {
		n, err := c.Read(p)
		if err != nil {
			return
		}
		for !strings.HasSuffix(string(p[:n]), "\r\n\r\n") {
			m, err := c.Read(p[n:])
			if n += m; err != nil {
				return
			}
		}
		note(d.begun, string(p[:n]))
		body, err := io.ReadAll(c.Body())
		note(d.ended, fmt.Sprint(string(body), " ", err))
		if d.passed.Add(1); err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\npassed%s", len("passed")+len(body), body)
	}
}

func note(to chan string, s string) {
	select {
	case to <- s:
	default:
	}
}

type client struct {
	net.Conn
	r *bufio.Reader
	t *testing.T
}

func (d *direct) dial(t *testing.T) *client {
	t.Helper()
	nc, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{nc, bufio.NewReader(nc), t}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) want(body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("waiting for %q: %v", body, err)
	}
	if got, err := io.ReadAll(resp.Body); string(got) != body || err != nil {
		c.t.Fatalf("%q %v, want %q", got, err, body)
	}
}

func (c *client) wantEnd() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err != io.EOF {
		c.t.Fatalf("%q %v, want the end", b, err)
	}
}

const (
	getDirect = "GET /direct HTTP/1.1\r\nHost: a\r\n\r\n"
	getPassed = "GET /passed HTTP/1.1\r\nHost: a\r\n\r\n"
)

func TestDirectBetweenOtherRequests(t *testing.T) {
	d := startDirect(t, limits(), nil)
	c := d.dial(t)
	for i := range 50 {
		c.send(getDirect)
		c.want("direct")
		if i%3 == 0 {
			c.send(getPassed)
			c.want("passed")
		}
		if i%5 == 0 {
			c.send(post("/passed", "ab"))
			c.want("passedab")
		}
	}
	if d.answered.Load() != 50 || d.passed.Load() != 27 {
		t.Errorf("%d answered, %d passed", d.answered.Load(), d.passed.Load())
	}
}

func TestDirectPipelined(t *testing.T) {
	d := startDirect(t, limits(), nil)
	c := d.dial(t)
	go func() { _, _ = io.WriteString(c, strings.Repeat(getDirect+getPassed+getDirect, 200)) }()
	for range 200 {
		c.want("direct")
		c.want("passed")
		c.want("direct")
	}
}

// Every place at which the bytes of requests may be parted, also across the wait that
// begins without a look at the socket.
func TestDirectInPieces(t *testing.T) {
	d := startDirect(t, limits(), nil)
	c := d.dial(t)
	for at := 1; at < len(getDirect); at++ {
		c.send(getDirect + getDirect[:at])
		c.want("direct")
		c.send(getDirect[at:])
		c.want("direct")
	}
	c.send("GET /direct HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 3*bufferSize) + "\r\n\r\n" + getDirect)
	c.want("direct")
	c.want("direct")
}

// A client that sends the end of its side together with a request gets the end of the
// connection: at once after the first request, and soon after a later one, for which the
// end may have gone unseen.
func TestDirectSeesTheEnd(t *testing.T) {
	for requests := 1; requests <= 3; requests++ {
		d := startDirect(t, limits(), nil)
		c := d.dial(t)
		for range requests - 1 {
			c.send(getDirect)
			c.want("direct")
		}
		c.send(getDirect)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		c.want("direct")
		c.wantEnd()
	}
}

func TestDirectIdleLimit(t *testing.T) {
	l := limits()
	for _, l.Idle = range []time.Duration{500 * time.Millisecond, unseen + 500*time.Millisecond} {
		d := startDirect(t, l, nil)
		c := d.dial(t)
		for range 3 {
			c.send(getDirect)
			c.want("direct")
		}
		c.wantEnd()
	}
}

// An answer that is under way when the connection is closed reaches its client.
func TestCloseWaitsForDirect(t *testing.T) {
	var closed atomic.Int64
	d := startDirect(t, limits(), func(c *Conn) {
		if closed.Add(1) == 2 {
			_ = c.Close()
		}
	})
	c := d.dial(t)
	c.send(getDirect)
	c.want("direct")
	c.send(getDirect + getDirect)
	c.want("direct")
	c.wantEnd()
	if n := closed.Load(); n != 2 {
		t.Errorf("%d answers", n)
	}
}

// Cut does not wait for an answer that is under way, whatever that waits for.
func TestCutDuringDirect(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	d := startDirect(t, limits(), func(*Conn) {
		close(begun)
		<-end
	})
	c := d.dial(t)
	c.send(getDirect)
	<-begun
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		d.Cut()
	}()
	select {
	case <-cut:
	case <-time.After(patience):
		t.Error("Cut waits for the answer")
	}
	c.wantEnd()
	close(end)
	<-cut
	for d.Open() > 0 {
		time.Sleep(time.Millisecond)
	}
}

type dropped struct{ n atomic.Int64 }

func (p *dropped) Drop() { p.n.Add(1) }

// What Direct leaves for the server is dropped when the connection was closed meanwhile.
func TestParkedIsDropped(t *testing.T) {
	p := new(dropped)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Listen(ln, limits(), nil)
	defer l.Close()
	l.Answer(func(c *Conn, _ []byte) (Outcome, time.Time) {
		c.Parked = p
		_ = c.Close()
		return Passed, time.Now()
	})
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_, _ = io.WriteString(nc, getDirect)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 100)); n > 0 || err != io.EOF {
		t.Errorf("%d, %v: a request of a connection that was closed", n, err)
	}
	_ = c.Close()
	if p.n.Load() != 1 {
		t.Errorf("dropped %d times", p.n.Load())
	}
}

func TestDrainEndsWhatWaits(t *testing.T) {
	d := startDirect(t, limits(), nil)
	waits, serves := d.dial(t), d.dial(t)
	waits.send(getDirect)
	waits.want("direct")
	serves.send(getPassed)
	serves.want("passed")
	for d.waiting() == 0 { // the state changes after the answer is out
		time.Sleep(time.Millisecond)
	}
	d.Drain()
	waits.wantEnd()
	serves.send(getDirect)
	serves.want("passed")
	if d.answered.Load() != 1 {
		t.Errorf("%d answers of Direct", d.answered.Load())
	}
}

func (d *direct) waiting() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.conns {
		if c.state.Load() == waiting {
			n++
		}
	}
	return n
}

func TestExpiredByRequests(t *testing.T) {
	l := limits()
	l.MaxRequests = 2
	c := newConn(&script{pieces: []string{getPassed + getPassed}}, &Listener{limits: l, conns: map[*Conn]struct{}{}})
	c.ln.pool.New = func() any { return new([bufferSize]byte) }
	p := make([]byte, 1<<10)
	for want := range 2 {
		if _, err := c.Read(p); err != nil || c.Expired(time.Now()) != (want == 1) {
			t.Errorf("request %d: %v, expired: %v", want, err, c.Expired(time.Now()))
		}
	}
}

// A stalled client is not waited for longer than Limits.Write.
func TestSendHasADeadline(t *testing.T) {
	l := limits()
	l.Write = 50 * time.Millisecond
	client, c := pair(t, l)
	_ = client.SetReadBuffer(4 << 10)
	big := make([]byte, 16<<20)
	if err := c.Send(time.Now(), []byte("head"), big); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func BenchmarkHead(b *testing.B) {
	request := []byte("GET /api/products/42?lang=en HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0\r\n" +
		"Accept: text/html,*/*;q=0.8\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\nCookie: theme=dark; session_id=6f1f2a9e\r\n\r\n")
	var h head
	b.ReportAllocs()
	for b.Loop() {
		var m Message
		h.reset(0)
		if end, refusal := h.feed(request, &m, 1<<14); end != len(request) || refusal != nil {
			b.Fatal(end, refusal)
		}
	}
}
