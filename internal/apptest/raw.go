// Package apptest gives tests an application to talk to: Raw, which sends exactly
// the bytes a test asks for, awkward ones above all, and App, a well-behaved one
// that counts what reaches it.
package apptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Step is one act of a scripted connection. An error ends the script and closes
// the connection; it is no failure of the test, since being cut off is what many
// tests are about.
type Step func(*Conn) error

// Conn is one connection that a Raw application accepted.
type Conn struct {
	net.Conn
	Index int // 0 for the first accepted
	br    *bufio.Reader
	raw   *Raw
	tape  *tape
}

// tape records what a connection received. It is read while the script runs.
type tape struct {
	mu   sync.Mutex
	b    []byte
	done bool
}

func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	return len(p), nil
}

// Raw is a scripted application on a socket of its own.
type Raw struct {
	script func(n int) []Step
	ln     net.Listener
	wg     sync.WaitGroup
	quit   chan struct{} // closed at the end of the test
	tls    bool

	mu    sync.Mutex
	conns []net.Conn
	tapes []*tape
}

// Start listens on a loopback port and plays script(n) on the n-th connection,
// counted from 0. It ends with the test, and waits for its goroutines.
func Start(tb testing.TB, script func(n int) []Step) *Raw {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return serve(tb, ln, script)
}

// StartUnix is Start on a Unix socket.
func StartUnix(tb testing.TB, script func(n int) []Step) *Raw {
	tb.Helper()
	// Not tb.TempDir: its path grows with the test's name, a socket's must be short.
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	return serve(tb, ln, script)
}

// StartTLS is Start with TLS, whose handshake is part of the first read or write.
func StartTLS(tb testing.TB, cfg *tls.Config, script func(n int) []Step) *Raw {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := serve(tb, tls.NewListener(ln, cfg), script)
	r.tls = true
	return r
}

// Each plays the same steps on every connection.
func Each(steps ...Step) func(int) []Step { return func(int) []Step { return steps } }

// InTurn plays the n-th script on the n-th connection, and the last on all that follow.
func InTurn(scripts ...[]Step) func(int) []Step {
	return func(n int) []Step { return scripts[min(n, len(scripts)-1)] }
}

func serve(tb testing.TB, ln net.Listener, script func(int) []Step) *Raw {
	r := &Raw{script: script, ln: ln, quit: make(chan struct{})}
	r.wg.Add(1)
	go r.accept()
	tb.Cleanup(r.stop)
	return r
}

func (r *Raw) accept() {
	defer r.wg.Done()
	for n := 0; ; n++ {
		nc, err := r.ln.Accept()
		if err != nil {
			return
		}
		t := new(tape)
		r.mu.Lock()
		r.conns = append(r.conns, nc)
		r.tapes = append(r.tapes, t)
		r.mu.Unlock()
		r.wg.Add(1)
		go r.play(&Conn{Conn: nc, Index: n, br: bufio.NewReader(io.TeeReader(nc, t)), raw: r, tape: t})
	}
}

func (r *Raw) play(c *Conn) {
	defer r.wg.Done()
	_ = run(c, r.script(c.Index))
	_ = c.Close()
	c.tape.mu.Lock()
	c.tape.done = true
	c.tape.mu.Unlock()
}

func run(c *Conn, steps []Step) error {
	for _, step := range steps {
		if err := step(c); err != nil {
			return err
		}
	}
	return nil
}

func (r *Raw) stop() {
	close(r.quit)
	_ = r.ln.Close()
	r.mu.Lock()
	for _, nc := range r.conns {
		_ = nc.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// Addr is host:port, or the path of the Unix socket.
func (r *Raw) Addr() string { return r.ln.Addr().String() }

// URL is http://host:port, https://host:port, or unix:///path.
func (r *Raw) URL() string {
	if r.tls {
		return "https://" + r.Addr()
	}
	if r.ln.Addr().Network() == "unix" {
		return "unix://" + r.Addr()
	}
	return "http://" + r.Addr()
}

// Conns is the number of connections accepted so far.
func (r *Raw) Conns() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.tapes)
}

// Received gives every byte that the n-th connection has received so far, read
// by its script or buffered behind it. To have the bytes after the last request
// too, end the script with Drain and wait with Await.
func (r *Raw) Received(n int) []byte {
	r.mu.Lock()
	t := r.tapes[n]
	r.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b)
}

// Await waits until the n-th connection was accepted and its script has ended; it
// fails the test after a minute.
func (r *Raw) Await(tb testing.TB, n int) {
	tb.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if r.Conns() <= n {
			continue
		}
		r.mu.Lock()
		t := r.tapes[n]
		r.mu.Unlock()
		t.mu.Lock()
		done := t.done
		t.mu.Unlock()
		if done {
			return
		}
	}
	tb.Fatalf("connection %d of %d did not end within a minute", n, r.Conns())
}

// Expect reads one complete request, whatever its framing.
func Expect() Step {
	return func(c *Conn) error {
		req, err := http.ReadRequest(c.br)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, req.Body)
		return err
	}
}

// Route reads the head of a request and plays the steps that it is answered with. They
// read its body, if they want it.
func Route(steps func(*http.Request) []Step) Step {
	return func(c *Conn) error {
		req, err := http.ReadRequest(c.br)
		if err != nil {
			return err
		}
		return run(c, steps(req))
	}
}

// ExpectHead reads a request up to the end of its head.
func ExpectHead() Step {
	return func(c *Conn) error {
		for {
			line, err := c.br.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(line) <= 2 {
				return nil
			}
		}
	}
}

// ExpectBytes reads n bytes.
func ExpectBytes(n int64) Step {
	return func(c *Conn) error {
		_, err := io.CopyN(io.Discard, c.br, n)
		return err
	}
}

// Drain reads until the other side closes.
func Drain() Step {
	return func(c *Conn) error {
		_, err := io.Copy(io.Discard, c.br)
		return err
	}
}

// Send writes the bytes at once.
func Send(s string) Step {
	return func(c *Conn) error {
		_, err := io.WriteString(c, s)
		return err
	}
}

// Sendf is Send with formatting.
func Sendf(format string, args ...any) Step { return Send(fmt.Sprintf(format, args...)) }

// Dribble writes the bytes one at a time, each in a write of its own.
func Dribble(s string) Step {
	return func(c *Conn) error {
		for i := range len(s) {
			if _, err := io.WriteString(c, s[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
}

// Close ends the connection in order: the other side reads EOF.
func Close() Step {
	return func(c *Conn) error { _ = c.Conn.Close(); return io.EOF }
}

// CloseWrite ends the sending direction only.
func CloseWrite() Step {
	return func(c *Conn) error {
		if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
			return half.CloseWrite()
		}
		return fmt.Errorf("%T has no CloseWrite", c.Conn)
	}
}

// Reset ends the connection with a TCP reset.
func Reset() Step {
	return func(c *Conn) error {
		nc := c.Conn
		if secure, ok := nc.(*tls.Conn); ok {
			nc = secure.NetConn() // without a close_notify
		}
		if tcp, ok := nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = nc.Close()
		return io.EOF
	}
}

// Wait goes on when the channel is closed or gives a value, or the test ends.
func Wait(ch <-chan struct{}) Step {
	return func(c *Conn) error {
		select {
		case <-ch:
			return nil
		case <-c.raw.quit:
			return io.EOF
		}
	}
}

// Signal closes the channel, to tell the test that a script came this far for the
// first time.
func Signal(ch chan<- struct{}) Step {
	var once sync.Once
	return func(*Conn) error { once.Do(func() { close(ch) }); return nil }
}

// Loop repeats the steps until one fails.
func Loop(steps ...Step) Step {
	return func(c *Conn) error {
		for {
			if err := run(c, steps); err != nil {
				return err
			}
		}
	}
}

// Echo answers every request with its own target as the body, and keeps the
// connection: a response that reaches the wrong request shows.
func Echo() Step { return Loop(EchoOnce("")) }

// EchoOnce answers one request with its own target, and sends surplus in the same write.
func EchoOnce(surplus string) Step {
	return func(c *Conn) error {
		req, err := http.ReadRequest(c.br)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return err
		}
		body := req.RequestURI
		if req.Method == http.MethodHead {
			body = ""
		}
		_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s", len(req.RequestURI), body, surplus)
		return err
	}
}
