package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

func limits() Limits {
	return Limits{Header: patience, Body: patience, MaxHeader: 16 << 10, MaxConnections: 100}
}

// pair gives a client and the connection that a Listener made of it.
func pair(t testing.TB, l Limits) (client *net.TCPConn, c *Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := Listen(ln, l, nil)
	t.Cleanup(func() { _ = w.Close() })
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	accepted, err := w.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c = accepted.(*Conn)
	t.Cleanup(func() { _ = c.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return nc.(*net.TCPConn), c
}

// received is a request as it came out.
type received struct {
	head, body, trailers string
	status               int // of its refusal
	bodyErr              error
}

// readAll reads requests to the end of the connection.
func readAll(c *Conn) (list []received) {
	readInto(&list, c)
	return list
}

// readInto is readAll for a list that Direct adds to as well.
func readInto(list *[]received, c *Conn) {
	p := make([]byte, 64<<10)
	for {
		n, err := c.Read(p)
		if err != nil {
			return
		}
		head := string(p[:n])
		for !strings.HasSuffix(head, "\r\n\r\n") {
			if n, err = c.Read(p); err != nil {
				return
			}
			head += string(p[:n])
		}
		if r := c.Request().Refusal; r != nil {
			*list = append(*list, received{status: r.Status})
			return
		}
		r := received{head: head}
		var body []byte
		body, r.bodyErr = io.ReadAll(c.Body())
		r.body, r.trailers = string(body), string(c.Body().Trailers())
		*list = append(*list, r)
	}
}

const stream = "\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
	"POST /2 HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\nX: y\r\n\r\nhello" +
	"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\nX: y\r\n\r\n3\r\nabc\r\n2;x=\"y\"\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n" +
	"PUT /4 HTTP/1.0\r\nHost: a\r\ncontent-length:0\r\n\r\n" +
	"GET /5 HTTP/1.1\r\nHost: a\r\n\r\n"

func TestRequestsOneAfterTheOther(t *testing.T) {
	want := []received{
		{head: "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"},
		{head: "POST /2 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", body: "hello"},
		{head: "POST /3 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", body: "abcde", trailers: "X-Sum: 1\r\n"},
		{head: "PUT /4 HTTP/1.0\r\nHost: a\r\n\r\n"},
		{head: "GET /5 HTTP/1.1\r\nHost: a\r\n\r\n"},
	}
	check := func(t *testing.T, c *Conn) {
		t.Helper()
		got := readAll(c)
		if len(got) != len(want) {
			t.Fatalf("%d requests: %+v", len(got), got)
		}
		for i := range want {
			if want[i].trailers == "" {
				got[i].trailers = "" // only valid after a chunked body
			}
			if got[i] != want[i] {
				t.Errorf("request %d: %+v, want %+v", i, got[i], want[i])
			}
		}
	}
	t.Run("whole", func(t *testing.T) {
		client, c := pair(t, limits())
		_, _ = io.WriteString(client, stream)
		_ = client.CloseWrite()
		check(t, c)
	})
	t.Run("in two", func(t *testing.T) {
		for at := range stream {
			c := fed(stream[:at], stream[at:])
			check(t, c)
		}
	})
	t.Run("byte by byte", func(t *testing.T) {
		var pieces []string
		for i := range stream {
			pieces = append(pieces, stream[i:i+1])
		}
		check(t, fed(pieces...))
	})
}

// fed is a connection that receives the pieces one by one, and then its end.
func fed(pieces ...string) *Conn {
	l := &Listener{limits: limits(), conns: map[*Conn]struct{}{}}
	l.pool.New = func() any { return new([bufferSize]byte) }
	return newConn(&script{pieces: pieces}, l)
}

// script is the end of a connection that plays what it was given.
type script struct {
	net.Conn
	pieces []string
	wrote  bytes.Buffer
}

func (s *script) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 && s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)    { return s.wrote.Write(p) }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
func (*script) Close() error                     { return nil }

func TestRefusals(t *testing.T) {
	long := strings.Repeat("a", 20<<10)
	for _, tc := range []struct {
		name, in string
		status   int
	}{
		{"TLS", "\x16\x03\x01", 400},
		{"HTTP/0.9", "GET /\r\n", 400},
		{"two spaces", "GET  / HTTP/1.1\r\n", 400},
		{"tab", "GET\t/ HTTP/1.1\r\n", 400},
		{"space in the target", "GET /a b HTTP/1.1\r\n", 400},
		{"leading space", " GET / HTTP/1.1\r\n", 400},
		{"small http", "GET / http/1.1\r\n", 400},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n", 505},
		{"HTTP/1.2", "GET / HTTP/1.2\r\n", 505},
		{"version with more digits", "GET / HTTP/1.10\r\n", 400},
		{"trailing space", "GET / HTTP/1.1 \r\n", 400},
		{"bare LF", "GET / HTTP/1.1\n", 400},
		{"bare LF in the header", "GET / HTTP/1.1\r\nHost: a\n", 400},
		{"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
		{"folded", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n", 400},
		{"folded first", "GET / HTTP/1.1\r\n Host: a\r\n", 400},
		{"three empty lines", "\r\n\r\n\r\n", 400},
		{"long line", "GET /" + long, 414},
		{"long line, complete", "GET /" + long + " HTTP/1.1\r\n", 414},
		{"long header", "GET / HTTP/1.1\r\nX: " + long, 431},
		{"long header, complete", "GET / HTTP/1.1\r\nX: " + long + "\r\n\r\n", 431},
		{"two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
		{"list of lengths", "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 400},
		{"empty length", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400},
		{"signed length", "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400},
		{"19 digits", "POST / HTTP/1.1\r\nContent-Length: 1000000000000000000\r\n\r\n", 400},
		{"both", "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"two codings", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"HTTP/1.0 chunked", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"gzip", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		{"obfuscated", "POST / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", 501},
		{"unknown expectation", "POST / HTTP/1.1\r\nExpect: tea\r\n\r\n", 417},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := readAll(fed(tc.in))
			if len(got) != 1 || got[0].status != tc.status {
				t.Errorf("%+v, want %d", got, tc.status)
			}
			// Refused as the second request of a connection, too.
			got = readAll(fed("GET / HTTP/1.1\r\n\r\n" + tc.in))
			if len(got) != 2 || got[1].status != tc.status {
				t.Errorf("second: %+v, want %d", got, tc.status)
			}
		})
	}
}

func TestChunkedBodies(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct {
		name, in, body string
		ok             bool
	}{
		{"empty", "0\r\n\r\n", "", true},
		{"capital digits", "0000A\r\n0123456789\r\n0\r\n\r\n", "0123456789", true},
		{"extension", "1;a=b;c\r\nx\r\n0;d\r\n\r\n", "x", true},
		{"space before the extension", "1 ;a\r\nx\r\n0\r\n\r\n", "", false},
		{"space after the size", "1 \r\nx\r\n0\r\n\r\n", "", false},
		{"0x", "0x1\r\nx\r\n0\r\n\r\n", "", false},
		{"sign", "+1\r\nx\r\n0\r\n\r\n", "", false},
		{"underscore", "1_0\r\nx\r\n0\r\n\r\n", "", false},
		{"no size", "\r\nx\r\n0\r\n\r\n", "", false},
		{"overflow", "10000000000000001\r\nx\r\n0\r\n\r\n", "", false},
		{"LF after the size", "1\nx\r\n0\r\n\r\n", "", false},
		{"CR in the extension", "1;a\rb\r\nx\r\n0\r\n\r\n", "", false},
		{"LF in the extension", "1;a\nb\r\nx\r\n0\r\n\r\n", "", false},
		{"long extension", "1;" + strings.Repeat("a", 2000) + "\r\nx\r\n0\r\n\r\n", "", false},
		{"data too long", "1\r\nxy\r\n0\r\n\r\n", "x", false},
		{"LF after the data", "1\r\nx\n0\r\n\r\n", "x", false},
		{"trailer without a colon", "0\r\nabc\r\n\r\n", "", false},
		{"trailer with LF", "0\r\nA: b\n\r\n", "", false},
		{"folded trailer", "0\r\nA: b\r\n c\r\n\r\n", "", false},
		{"large trailers", "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 9) + "\r\n", "", false},
		{"cut", "5\r\nab", "ab", false},
		{"cut before the last line", "2\r\nab\r\n0\r\n", "ab", false},
		{"tiny chunks with long extensions", strings.Repeat("1;"+strings.Repeat("a", 900)+"\r\nx\r\n", 30) + "0\r\n\r\n", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, c := range []*Conn{fed(head + tc.in + "GET /next HTTP/1.1\r\n\r\n"), fed(head, tc.in)} {
				if strings.HasPrefix(tc.name, "cut") && len(c.Conn.(*script).pieces) == 1 {
					continue
				}
				got := readAll(c)
				if (got[0].bodyErr == nil) != tc.ok {
					t.Fatalf("%+v", got)
				}
				if tc.ok && got[0].body != tc.body || !strings.HasPrefix(got[0].body, tc.body) {
					t.Errorf("body %q", got[0].body)
				}
				if !tc.ok && len(got) > 1 {
					t.Errorf("a request after a broken body: %+v", got[1])
				}
			}
		})
	}
}

func TestContinueIsSaidWhenTheBodyIsWanted(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"
	c := fed(head, "ab")
	p := make([]byte, 1<<10)
	n, err := c.Read(p)
	if err != nil || strings.Contains(string(p[:n]), "Expect") {
		t.Fatal(string(p[:n]), err)
	}
	wrote := &c.Conn.(*script).wrote
	if wrote.Len() > 0 {
		t.Fatalf("said %q before the body was wanted", wrote)
	}
	if !c.Body().MustClose() {
		t.Error("a body that may never come does not end the connection")
	}
	if b, err := io.ReadAll(c.Body()); string(b) != "ab" || err != nil || wrote.String() != continueLine {
		t.Errorf("%q %v, said %q", b, err, wrote)
	}
	// Once the answer has begun, 100 would stand in the middle of it.
	c = fed(head, "ab")
	_, _ = c.Read(p)
	_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
	_, _ = c.Body().Read(p)
	if got := c.Conn.(*script).wrote.String(); strings.Contains(got, "100") {
		t.Errorf("said %q", got)
	}
	// The answer came without the body: what follows cannot be told from it.
	c = fed(head, "GET /smuggled HTTP/1.1\r\n\r\n")
	_, _ = c.Read(p)
	if _, err := c.Read(p); err != io.EOF {
		t.Errorf("%v", err)
	}
}

func TestUnreadBody(t *testing.T) {
	p := make([]byte, 1<<10)
	for size, again := range map[int]bool{10: true, maxDrain: true, maxDrain + 1: false} {
		c := fed(fmt.Sprintf("POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n", size)+strings.Repeat("x", size), "GET /next HTTP/1.1\r\n\r\n")
		_, _ = c.Read(p)
		if c.Body().MustClose() == again {
			t.Errorf("%d bytes: MustClose is %v", size, !again)
		}
		if n, err := c.Read(p); (err == nil) != again || again && !strings.HasPrefix(string(p[:n]), "GET /next") {
			t.Errorf("%d bytes: %q, %v", size, p[:n], err)
		}
	}
}

func TestIdleConnectionHoldsNoBuffer(t *testing.T) {
	client, c := pair(t, limits())
	p := make([]byte, 1<<10)
	_, _ = io.WriteString(client, "GET / HTTP/1.1\r\n\r\n")
	if _, err := c.Read(p); err != nil || c.buf == nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := c.Read(p); err != io.EOF || c.buf != nil {
		t.Errorf("%v, buffer of %d", err, len(c.buf))
	}
}

func TestSlowHead(t *testing.T) {
	l := limits()
	l.Header = 20 * time.Millisecond
	client, c := pair(t, l)
	_, _ = io.WriteString(client, "GET / HT")
	p := make([]byte, 1<<10)
	if _, err := c.Read(p); err != nil || c.Request().Refusal == nil || c.Request().Refusal.Status != 408 {
		t.Fatalf("%v %+v", err, c.Request())
	}
}

func TestSlowBodyAndStop(t *testing.T) {
	l := limits()
	l.Body = 20 * time.Millisecond
	client, c := pair(t, l)
	_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")
	p := make([]byte, 1<<10)
	_, _ = c.Read(p)
	var r *Refusal
	if b, err := io.ReadAll(c.Body()); string(b) != "ab" || !errors.As(err, &r) || r.Status != 408 {
		t.Errorf("%q %v", b, err)
	}
	client, c = pair(t, limits())
	_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
	_, _ = c.Read(p)
	done := make(chan error)
	go func() { _, err := c.Body().Read(p); done <- err }()
	c.Body().Stop()
	if err := <-done; err != errStopped {
		t.Errorf("%v", err)
	}
}

// A client that is still sending when it is refused must be able to read why.
func TestAnswerSurvivesTheClose(t *testing.T) {
	client, c := pair(t, limits())
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nContent-Length: 500000\r\n\r\n"+strings.Repeat("x", 500_000))
		_ = client.CloseWrite()
	}()
	p := make([]byte, 1<<10)
	_, _ = c.Read(p)
	c.CloseAfter()
	_, _ = io.WriteString(c, "answer")
	closed := make(chan struct{})
	go func() { defer close(closed); _ = c.Close() }()
	if got, err := io.ReadAll(client); string(got) != "answer" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	<-sent
	<-closed
}

type failing struct {
	net.Listener
	errs []error
}

func (f *failing) Accept() (net.Conn, error) {
	if len(f.errs) == 0 {
		return f.Listener.Accept()
	}
	err := f.errs[0]
	f.errs = f.errs[1:]
	return nil, err
}

func TestListener(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limits()
	l.MaxConnections = 1
	full := 0
	w := Listen(&failing{ln, []error{&net.OpError{Op: "accept", Err: syscall.EMFILE}}}, l, func() { full++ })
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(patience))
		return nc
	}
	first := dial()
	defer first.Close()
	c, err := w.Accept() // after EMFILE
	if err != nil || w.Open() != 1 {
		t.Fatal(err, w.Open())
	}
	second := dial()
	defer second.Close()
	accepted := make(chan error, 1)
	go func() { _, err := w.Accept(); accepted <- err }()
	b, _ := io.ReadAll(second)
	head, body, _ := strings.Cut(string(b), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 503 ") || !strings.Contains(head, fmt.Sprintf("Content-Length: %d", len(body))) {
		t.Errorf("%q", b)
	}
	w.Cut()
	if n, err := first.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a connection outlived Cut")
	}
	_ = c.Close()
	_ = w.Close()
	if err := <-accepted; err == nil || full != 1 || w.Open() != 0 {
		t.Errorf("%v, %d turned away, %d open", err, full, w.Open())
	}
}
