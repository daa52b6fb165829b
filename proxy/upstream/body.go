package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

type framing uint8

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// Body is the body of one response. It is not safe for concurrent use. It lives
// in its Request and is valid until that is used for the next one.
type Body struct {
	c       *Client
	ctx     context.Context
	cn      *conn // nil once the connection was returned to the pool or closed
	up      *upload
	unwatch func() bool
	dec     chunks
	lines   []byte // the trailers that may be passed on
	size    int64
	left    int64
	err     error // what the next Read gives
	framing framing
	reuse   bool
	end     bool // a clean end was seen
	nc      net.Conn
	head    head
	unread  int       // the length of the head that lies before the body; see Head
	now     time.Time // see Skip; zero when something was waited for since
	phase   uint32    // by atomic operations; not atomic.Uint32, since a Request that was not used may be copied
}

// The phases of a Body: its connection is given up once, by settle or by Abort.
const (
	phaseOpen uint32 = iota
	phaseSettled
	phaseAborted
)

// Abort closes the connection, so that a Read that waits fails. It is for another
// goroutine than the one that reads, and does nothing once the connection was given up:
// that may carry somebody else's exchange by then. It must not be called after the
// Request is used again.
func (b *Body) Abort() {
	if atomic.CompareAndSwapUint32(&b.phase, phaseOpen, phaseAborted) {
		_ = b.nc.Close()
	}
}

// Status is that of the response.
func (b *Body) Status() int { return b.head.status }

// Head gives the head of the response, which was checked, to the caller of a Do without
// a header: status line, fields, empty line. It is valid until Skip or Load.
func (b *Body) Head() []byte {
	p, _ := b.cn.br.Peek(b.unread)
	return p
}

// Skip goes past the head. now, if it is not zero, is the time of that, and with it the
// time since which the connection is idle when the whole body came with the head.
func (b *Body) Skip(now time.Time) {
	b.now = now
	_, _ = b.cn.br.Discard(b.unread)
	b.begin()
}

// Load reads the head into h, as Do would have. On an error the body is closed.
func (b *Body) Load(h *fasthttp.ResponseHeader) error {
	if err := load(b.cn, &b.head, b.unread, h); err != nil {
		b.fail(err)
		return b.err
	}
	b.begin()
	return nil
}

func (b *Body) begin() {
	if b.unread = 0; b.size == 0 {
		b.finish()
	}
}

// Size is the length that the response announces, 0 when it has no body (HEAD,
// 204, 304), or -1 when only its end will tell.
func (b *Body) Size() int64 { return b.size }

// Complete reports that all of the body was read: its full length, its last
// chunk and trailers, or a clean close where the close delimits it. A response
// without a body is complete at once. It stays valid after Close.
func (b *Body) Complete() bool { return b.end }

// CloseDelimited reports a body that ends with its connection. HTTP cannot tell
// its end from a crash of the application, so a cache should not trust it.
func (b *Body) CloseDelimited() bool { return b.framing == byClose }

// Read returns what has arrived, without waiting to fill p. Each wait is bounded
// by Timeouts.Idle (ErrTimeout); the whole is not bounded. A body that is cut
// short gives io.ErrUnexpectedEOF, one that breaks its coding ErrBadResponse. At
// the end the connection goes back to the pool, without waiting for Close.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		if b.end {
			b.settle(true)
		}
		return 0, b.err
	}
	if b.cn == nil {
		return 0, errBodyClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	b.now = time.Time{}
	return b.took(b.read(p))
}

// took notes what came, for the next call, and says it.
func (b *Body) took(n int, end bool, err error) (int, error) {
	switch {
	case end:
		b.finish()
	case err != nil:
		b.fail(err)
	}
	if n > 0 {
		return n, nil
	}
	if b.end {
		b.settle(true)
	}
	return 0, b.err
}

// ReadBy is Read for a body with a length, with a bound on the wait: when nothing has
// come by then it gives os.ErrDeadlineExceeded, and the body can be read on.
func (b *Body) ReadBy(p []byte, t time.Time) (int, error) {
	if b.framing != byLength || b.cn == nil || b.err != nil || len(p) == 0 {
		return b.Read(p)
	}
	src := &b.cn.src
	idle := src.idle
	src.idle = 0 // else it would set a deadline of its own
	if b.cn.br.Buffered() == 0 {
		b.now = time.Time{}
		if err := src.readUntil(t); err != nil {
			return 0, err
		}
	}
	n, end, err := b.read(p)
	src.idle = idle
	switch {
	case end:
		b.finish()
	case err != nil && isTimeout(err):
		err = os.ErrDeadlineExceeded
	case err != nil:
		b.fail(err)
		err = b.err
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

func (b *Body) read(p []byte) (n int, end bool, err error) {
	br := b.cn.br
	switch b.framing {
	case byLength:
		n, err = br.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		return n, b.left == 0, err
	case byChunks:
		n, err = b.dec.read(br, p)
		return n, b.dec.dec.Done(), err
	}
	n, err = br.Read(p)
	return n, err == io.EOF, err
}

// Close before the end closes the connection; after it, Close does nothing more
// than to wait for a request body that is still being sent. It may be called
// again, and returns nil.
func (b *Body) Close() error {
	b.settle(b.end)
	if b.err == nil || b.err == io.EOF {
		b.err = errBodyClosed
	}
	return nil
}

// finish notes the clean end. While the request body is still being sent the
// connection is kept: the caller shall have the last bytes before anything waits.
func (b *Body) finish() {
	b.end, b.err = true, io.EOF
	if b.up == nil {
		b.settle(true)
	}
}

// settle gives the connection up, once. It goes back to the pool only if the
// response ended cleanly and permits it, the request was sent in full, no byte
// follows the response, and the context did not close it meanwhile.
func (b *Body) settle(clean bool) {
	cn := b.cn
	if cn == nil {
		return
	}
	b.cn = nil
	reuse := clean && b.reuse
	if !atomic.CompareAndSwapUint32(&b.phase, phaseOpen, phaseSettled) {
		reuse = false // aborted
	}
	if b.up != nil && !b.up.end(reuse) {
		reuse = false
	}
	if b.unwatch != nil && !b.unwatch() {
		reuse = false
	}
	if cn.br.Buffered() > 0 {
		if reuse {
			b.c.n.unsolicited.Add(1)
		}
		reuse = false
	}
	if !reuse {
		b.c.pool.discard(cn)
		return
	}
	if b.now.IsZero() {
		b.now = time.Now()
	}
	b.c.pool.put(cn, b.now)
}

// fail notes why the body ended early and closes the connection.
func (b *Body) fail(err error) {
	b.settle(false)
	c := b.c
	switch {
	case b.ctx.Err() != nil:
		b.err = c.fail(b.ctx, ErrReset, "", nil)
	case b.up != nil && b.up.bodyFailed:
		b.err = c.fail(b.ctx, ErrRequestBody, "the request was cut short", b.up.err)
	case errors.Is(err, ErrBadResponse):
		b.err = fmt.Errorf("upstream %s: %w", c.url, err)
	case truncated(err) == io.ErrUnexpectedEOF:
		b.err = io.ErrUnexpectedEOF
	case isTimeout(err):
		b.err = c.fail(b.ctx, ErrTimeout, fmt.Sprintf("no bytes of the body for %v (%s.timeouts.idle)", c.cfg.Timeouts.Idle, c.opt.setting), nil)
	default:
		b.err = c.fail(b.ctx, ErrReset, "within the response body", errors.Join(io.ErrUnexpectedEOF, err))
	}
}
