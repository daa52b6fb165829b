package wire

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/proxy/chunked"
)

// errStopped ends the reading of a body that is not wanted any more.
var errStopped = errors.New("the rest of the request body is not wanted")

const continueLine = "HTTP/1.1 100 Continue\r\n\r\n"

// Body reads the body of one request. It is not safe for concurrent use, apart from
// Stop and Complete. It lives in its Conn.
type Body struct {
	c    *Conn
	dec  chunked.Decoder
	size int64       // -1: chunked
	left int64       // of a body with a length
	max  int64       // of a chunked body: what may still come; -1 for any amount
	err  error       // what Read gives from now on
	all  atomic.Bool // Read has seen the end

	mu      sync.Mutex // orders Stop and the deadlines of Read
	stopped bool
}

func (b *Body) begin(m *Message) {
	b.size, b.left, b.err, b.max = m.Size, m.Size, nil, -1
	b.all.Store(m.Size == 0)
	b.mu.Lock()
	b.stopped = false
	b.mu.Unlock()
	switch {
	case m.Size == 0:
		b.err = io.EOF
	case m.Size < 0:
		b.dec.Reset()
	}
}

// skip leaves what is left of a body that is in the connection's buffer.
func (b *Body) skip() {
	b.left, b.err = 0, io.EOF
	b.all.Store(true)
}

// Limit bounds a chunked body, which may say only late that it is too large: it is
// refused when the size of a chunk says so. The size of another is known before.
func (b *Body) Limit(n int64) { b.max = n }

// Trailers gives the field lines that followed a chunked body, once Read has given
// io.EOF. They are valid until the next request.
func (b *Body) Trailers() []byte {
	if b.size >= 0 {
		return nil
	}
	return b.dec.Trailers()
}

// Complete says that all of the body was read. It may be called while another
// goroutine reads.
func (b *Body) Complete() bool { return b.all.Load() }

// MustClose says that the connection cannot be used again as things are: the rest of
// the body is too long to be read for nothing, or may never come.
func (b *Body) MustClose() bool {
	return b.err != io.EOF && (b.c.msg.expect || b.err != nil || b.size < 0 || b.left > maxDrain)
}

// Read gives what has arrived, without waiting to fill p. Each wait is bounded by
// Limits.Body. The first one says "100 Continue" to a client that waits for it
// (RFC 9110 §10.1.1). A body that is cut short gives io.ErrUnexpectedEOF, one that
// breaks the chunked coding a *Refusal.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err == io.EOF && !b.ended() {
		err = io.ErrUnexpectedEOF
	}
	if b.ended() {
		err = io.EOF
		b.all.Store(true)
	}
	if b.err = err; n > 0 {
		return n, nil
	}
	return 0, err
}

func (b *Body) ended() bool {
	if b.size < 0 {
		return b.dec.Done()
	}
	return b.left == 0
}

func (b *Body) read(p []byte) (int, error) {
	if b.size < 0 {
		return b.readChunked(p)
	}
	n, err := b.take(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (b *Body) readChunked(p []byte) (n int, err error) {
	c := b.c
	for {
		m, bad := b.dec.Next(c.buf[c.r:c.w])
		c.r += m
		if bad != nil {
			return n, b.refuse(bad)
		}
		switch data := b.dec.Data(); {
		case b.max >= 0 && data > b.max:
			c.linger.Store(true)
			return n, &refuseBody
		case b.dec.Done() || n == len(p):
			return n, nil
		case data > 0 && (n == 0 || c.r < c.w):
			m, err = b.take(p[n : n+int(min(int64(len(p)-n), data))])
			b.took(m)
			if n += m; err != nil {
				return n, err
			}
		case n > 0: // what follows is still to come
			return n, nil
		default:
			if err := b.wait(func() error { return c.more() }); err != nil {
				return 0, err
			}
		}
	}
}

// refuse says which part of the coding is wrong.
func (b *Body) refuse(bad error) *Refusal {
	b.c.linger.Store(true)
	if errors.Is(bad, chunked.ErrTrailer) {
		return &refuseTrailer
	}
	return &refuseChunk
}

func (b *Body) took(n int) {
	b.dec.Took(n)
	if b.max >= 0 {
		b.max -= int64(n)
	}
}

// take gives bytes that are buffered, else reads straight into p.
func (b *Body) take(p []byte) (n int, err error) {
	c := b.c
	if c.r < c.w {
		n = copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	if len(p) == 0 {
		return 0, nil
	}
	err = b.wait(func() error {
		n, err = c.Conn.Read(p)
		return err
	})
	if n > 0 {
		err = nil
	}
	return n, err
}

// wait runs one read of the connection under a deadline of its own.
func (b *Body) wait(read func() error) error {
	if err := b.arm(); err != nil {
		return err
	}
	err := read()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.stopped {
			return errStopped
		}
		return &refuseTimeout
	}
	return err
}

func (b *Body) arm() error {
	c := b.c
	if c.msg.expect {
		c.msg.expect = false
		if err := c.WriteInterim([]byte(continueLine)); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return errStopped
	}
	if c.limits.Body <= 0 {
		return nil
	}
	return c.SetReadDeadline(time.Now().Add(c.limits.Body))
}

// Stop makes a Read that waits return, and every later one fail. It may be called from
// another goroutine.
func (b *Body) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	_ = b.c.SetReadDeadline(time.Unix(1, 0))
}

// finish reads what is left of the body, so that the connection can be used again. It
// is false when that is too much, or may never come.
func (b *Body) finish() bool {
	if b.err == io.EOF {
		return true
	}
	if b.err == nil && !b.c.msg.expect {
		b.mu.Lock()
		b.stopped = false
		b.mu.Unlock()
		buf := b.c.ln.take()
		defer b.c.ln.give(buf)
		for left := maxDrain; left > 0 && b.err == nil; {
			n, _ := b.Read(buf[:min(left, len(buf))])
			left -= n
		}
	}
	if b.err != io.EOF {
		b.c.linger.Store(true)
	}
	return b.err == io.EOF
}
