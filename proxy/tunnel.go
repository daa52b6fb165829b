package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// restBuffer is what a direction of a tunnel holds while it waits: most tunnels
	// wait most of the time.
	restBuffer = 1 << 10
	// bulkBuffer is what it borrows while more comes than fits that.
	bulkBuffer = 32 << 10
	// bulkLinger is for how long a borrowed buffer is kept without a byte.
	bulkLinger = 200 * time.Millisecond
	// maxExpected bounds the time between the application's 101 and the moment that the
	// server hands the client's connection over. Answers to earlier requests on that
	// connection may be written in between.
	maxExpected = time.Minute
)

// tunnel is one client's connection and one to the application, of which each gets what
// the other sends. The bytes are copied here and not spliced in the kernel, where
// neither their number nor a pause could be seen before the end.
type tunnel struct {
	of        *tunnels
	app       net.Conn
	head      []byte // the 101
	up, down  atomic.Uint64
	began     time.Time
	lastMoved atomic.Int64 // nanoseconds after began

	writeTimeout, idleTimeout time.Duration
	watch                     func() (stop func()) // watches the session; nil without one
	contain                   func(where string)   // deferred, ends a panic

	mu      sync.Mutex
	client  net.Conn // nil until the server has handed it over
	taken   bool     // by its goroutine, or over before
	how     ending
	expired *time.Timer // ends a tunnel that the server never hands over
	idle    *time.Timer
}

// expect begins the wait for the client's connection. The server drops a connection
// that breaks before it is handed over, and calls nobody.
func (t *tunnel) expect() {
	t.mu.Lock()
	t.expired = time.AfterFunc(maxExpected, t.forget)
	t.mu.Unlock()
}

func (t *tunnel) forget() {
	t.mu.Lock()
	taken := t.taken
	t.mu.Unlock()
	if !taken {
		t.end(endError)
	}
}

// end ends the tunnel: both sides are closed, which ends its goroutines. The first
// reason is the one that counts.
func (t *tunnel) end(how ending) {
	t.mu.Lock()
	orphan := !t.taken
	t.taken = true
	if t.how == endNot {
		t.how = how
	}
	_ = t.app.Close()
	if t.client != nil {
		_ = t.client.Close()
	}
	t.expired.Stop()
	t.mu.Unlock()
	if orphan {
		t.of.remove(t, how)
	}
}

// take is called by the server with the client's connection. It returns at once: the
// server's buffers go with its call.
func (t *tunnel) take(c net.Conn) {
	early := buffered(c)
	if wrapped, ok := c.(interface{ UnsafeConn() net.Conn }); ok {
		c = wrapped.UnsafeConn() // for CloseWrite, and without the server's buffer
	}
	t.mu.Lock()
	over := t.taken
	if !over {
		t.taken, t.client, t.began = true, c, time.Now()
		t.expired.Stop()
		if t.idleTimeout > 0 {
			t.idle = time.AfterFunc(t.idleTimeout, t.checkIdle)
		}
	}
	t.mu.Unlock()
	if over {
		_ = c.Close()
		return
	}
	go t.run(early) // tunnels.add has counted it
}

// buffered gives what the server has read of the connection beyond the request: bytes
// of the new protocol, from a client that did not wait for the 101.
func buffered(c net.Conn) []byte {
	// A deadline that has passed ends a read of the socket before it takes a byte, and
	// does not touch what is buffered.
	_ = c.SetReadDeadline(time.Unix(1, 0))
	b, _ := io.ReadAll(c)
	_ = c.SetReadDeadline(time.Time{})
	if len(b) == 0 {
		return nil
	}
	return b
}

// run passes bytes both ways until both sides have ended.
func (t *tunnel) run(early []byte) {
	defer t.over()
	defer t.contain("a tunnel")
	if t.watch != nil {
		defer t.watch()()
	}
	if err := t.send(t.client, t.head, nil); err != nil {
		t.end(endError)
		return
	}
	t.head = nil
	var up sync.WaitGroup
	up.Go(func() { t.pass(t.app, t.client, early, &t.up) })
	defer up.Wait()
	t.pass(t.client, t.app, nil, &t.down)
}

// over closes what is still open, and takes the tunnel from the list.
func (t *tunnel) over() {
	t.end(endClosed)
	t.mu.Lock()
	if t.idle != nil {
		t.idle.Stop()
	}
	how := t.how
	t.mu.Unlock()
	t.of.remove(t, how)
}

// pass copies one direction. Its end is passed on as such, so that the other direction
// may go on (half-close).
func (t *tunnel) pass(dst, src net.Conn, first []byte, moved *atomic.Uint64) {
	ended := false
	defer func() {
		if !ended { // a panic: the other direction must not wait
			t.end(endError)
		}
	}()
	defer t.contain("a tunnel")
	err := t.send(dst, first, moved)
	first = nil
	rest := make([]byte, restBuffer)
	for err == nil {
		var n int
		n, err = src.Read(rest)
		if failed := t.send(dst, rest[:n], moved); failed != nil {
			err = failed
		}
		if err == nil && n == len(rest) {
			err = t.passBulk(dst, src, moved)
		}
	}
	ended = true
	if err != io.EOF {
		t.end(endError)
		return
	}
	if half, ok := dst.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // an error says that the other direction has ended too
		return
	}
	t.end(endClosed)
}

// passBulk copies with a large buffer for as long as bytes keep coming.
func (t *tunnel) passBulk(dst, src net.Conn, moved *atomic.Uint64) error {
	b, _ := t.of.buffers.Get().(*[bulkBuffer]byte)
	if b == nil {
		b = new([bulkBuffer]byte)
	}
	defer t.of.buffers.Put(b)
	defer func() { _ = src.SetReadDeadline(time.Time{}) }()
	for {
		_ = src.SetReadDeadline(time.Now().Add(bulkLinger))
		n, err := src.Read(b[:])
		if failed := t.send(dst, b[:n], moved); failed != nil {
			return failed
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// send writes one piece. Who does not take it within server.write_timeout ends the
// tunnel: nothing else would, while the other side goes on sending.
func (t *tunnel) send(dst net.Conn, p []byte, moved *atomic.Uint64) error {
	if len(p) == 0 {
		return nil
	}
	now := time.Now()
	t.lastMoved.Store(int64(now.Sub(t.began)))
	if t.writeTimeout > 0 {
		_ = dst.SetWriteDeadline(now.Add(t.writeTimeout))
	}
	n, err := dst.Write(p)
	if moved != nil {
		moved.Add(uint64(n))
	}
	return err
}

// checkIdle is the idle timer: it ends the tunnel, or waits for the rest of the time.
func (t *tunnel) checkIdle() {
	left := t.idleTimeout - time.Since(t.began) + time.Duration(t.lastMoved.Load())
	if left <= 0 {
		t.end(endIdle)
		return
	}
	t.mu.Lock()
	if t.how == endNot {
		t.idle.Reset(left)
	}
	t.mu.Unlock()
}
