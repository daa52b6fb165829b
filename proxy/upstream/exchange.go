package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/nonblock"
	"github.com/pillion-proxy/pillion/internal/tlsfiles"
	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// answerGrace is how long a response is waited for after the connection refused
// the rest of the request: it has been sent by then, or never will be.
const answerGrace = time.Second

// exchange is one sending of a request on one connection, up to the response head.
type exchange struct {
	c       *Client
	ctx     context.Context
	cn      *conn
	r       *Request
	hd      head
	up      *upload     // the streaming of a large body, in a goroutine of its own
	unwatch func() bool // stops watching ctx; false when its end already closed the connection
	sendErr error       // the request was cut, but an answer to what was sent may exist
	upgrade bool        // a 101 is welcome
	unread  int         // the length of the head, where that is left to the caller
}

// exchange sends the request and reads the response head into h. On error the
// connection is closed but still the caller's, and nothing reads r.Body any more.
func (c *Client) exchange(ctx context.Context, cn *conn, r *Request, wire []byte, h *fasthttp.ResponseHeader) (*Body, error) {
	x := exchange{c: c, ctx: ctx, cn: cn, r: r}
	if err := x.run(wire, h); err != nil {
		return nil, err
	}
	return x.body(), nil
}

func (x *exchange) run(wire []byte, h *fasthttp.ResponseHeader) error {
	returned := false
	defer func() {
		if !returned { // the caller's Interim panicked: its request ends, the pool must not shrink
			_ = x.failed(ErrReset)
			x.c.pool.discard(x.cn)
		}
	}()
	err := x.attempt(wire, h)
	returned = true
	return err
}

func (x *exchange) attempt(wire []byte, h *fasthttp.ResponseHeader) error {
	x.cn.src.got, x.cn.src.idle = false, 0
	if x.ctx.Done() != nil {
		x.unwatch = context.AfterFunc(x.ctx, x.cn.abort)
	}
	err := x.send(wire)
	if err == nil {
		err = x.receive(h)
	}
	if err == nonblock.ErrNotSent {
		if err = x.sent(x.cn.src.exchange.Wrote, x.cn.src.exchange.WriteErr); err == nil {
			err = x.receive(h)
		}
	}
	if err == nil && x.up != nil {
		x.up.answered()
	}
	if err != nil {
		return x.failed(err)
	}
	return nil
}

func (x *exchange) headerTimeout() time.Duration {
	if x.r.HeaderTimeout > 0 {
		return x.r.HeaderTimeout
	}
	return x.c.cfg.Timeouts.ResponseHeader
}

// send writes a small request whole, under the deadline that also bounds the wait
// for its answer. Of a large one it writes the head and starts the upload.
func (x *exchange) send(wire []byte) error {
	nc, src := x.cn.nc, &x.cn.src
	if !x.r.large() && src.look {
		src.request = wire // the first read sends it
		return src.arm(x.r.now(), x.headerTimeout())
	}
	src.disarmed()
	if src.look {
		src.look = false
		if src.found = x.cn.probe.look(x.cn); src.found != quiet {
			return nonblock.ErrUnfit
		}
	}
	if !x.r.large() {
		if err := nc.SetDeadline(time.Now().Add(x.headerTimeout())); err != nil {
			return err
		}
		return x.sent(nc.Write(wire))
	}
	// No read deadline: the wait for the answer begins when the upload ends, and
	// the upload sets it then. An early answer is read all the same.
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if err := nc.SetWriteDeadline(time.Now().Add(x.c.cfg.Timeouts.Idle)); err != nil {
		return err
	}
	n, err := nc.Write(wire)
	if err == nil {
		x.r.streaming = true
		x.up = startUpload(x.c, x.cn.nc, x.r, x.headerTimeout())
	}
	return x.sent(n, err)
}

// sent judges a write. If nothing went out, whatever lies in the socket cannot be
// an answer, so it is not read. If a part went out, the application may have
// refused the request from what it saw of it.
func (x *exchange) sent(n int, err error) error {
	if err == nil || n == 0 {
		return err
	}
	x.sendErr = err
	return x.cn.src.readUntil(time.Now().Add(answerGrace))
}

// receive reads heads up to the final one.
func (x *exchange) receive(h *fasthttp.ResponseHeader) error {
	for interim := 0; ; interim++ {
		n, err := x.readHead()
		if err != nil {
			return err
		}
		switch {
		case x.hd.status >= 200 && h == nil:
			x.unread = n
			return nil
		case x.hd.status >= 200, x.hd.status == 101 && x.upgrade:
			return x.load(n, h)
		case x.hd.status == 101:
			return bad("101 Switching Protocols to a request that asked for no upgrade")
		case interim == maxInterim:
			return bad("more than %d interim responses", maxInterim)
		}
		x.c.n.interim.Add(1)
		if x.r.Interim == nil {
			_, _ = x.cn.br.Discard(n)
			continue
		}
		interimHead := h
		if h == nil {
			interimHead = new(fasthttp.ResponseHeader)
		}
		if err := x.load(n, interimHead); err != nil {
			return err
		}
		x.r.Interim(x.hd.status, interimHead)
	}
}

// readHead waits for one complete head and returns its length; its bytes stay in
// the buffer.
func (x *exchange) readHead() (int, error) {
	x.hd.reset(x.c.cfg.UntilClose)
	limit := x.c.opt.maxHead
	for {
		b, _ := x.cn.br.Peek(x.cn.br.Buffered())
		if len(b) > 0 {
			n, err := x.hd.feed(b)
			if err != nil {
				return 0, err
			}
			if n > limit || (n == 0 && len(b) >= limit) {
				return 0, bad("the head exceeds %d bytes", limit)
			}
			if n > 0 {
				return n, nil
			}
		}
		if len(b) == x.cn.br.Size() {
			x.cn.grow()
		}
		if _, err := x.cn.br.Peek(len(b) + 1); err != nil {
			return 0, err
		}
	}
}

func (x *exchange) load(n int, h *fasthttp.ResponseHeader) error { return load(x.cn, &x.hd, n, h) }

// load lets fasthttp read the n bytes that were checked, and takes out what
// belongs to this connection and not to the message.
func load(cn *conn, hd *head, n int, h *fasthttp.ResponseHeader) error {
	br := cn.br
	if hd.trailer || hd.unknown {
		b, _ := br.Peek(n)
		void := cutFields(b, func(name []byte) bool {
			return syntax.FoldEqual(name, "trailer") || hd.unknown && syntax.FoldEqual(name, "transfer-encoding")
		})
		_, _ = br.Discard(void)
		n -= void
	}
	before := br.Buffered()
	if err := h.Read(br); err != nil {
		return bad("%v", err)
	}
	// Two readers that disagree about where a head ends are how smuggling begins.
	if got := before - br.Buffered(); got != n {
		return bad("a head of %d bytes was read as one of %d", n, got)
	}
	h.ResetConnectionClose()
	if hd.http10 {
		h.SetProtocol([]byte("HTTP/1.1"))
	}
	return nil
}

// failed ends the exchange. The connection is closed first, which ends a write of
// the upload; then the upload is waited for, because it reads what the caller owns.
func (x *exchange) failed(err error) error {
	x.cn.close()
	x.cn.src.request = nil
	if x.up != nil {
		x.up.end(false)
	}
	if x.unwatch != nil {
		x.unwatch()
	}
	c, ctx := x.c, x.ctx
	if err == nonblock.ErrUnfit {
		return err
	}
	if x.up != nil && x.up.bodyFailed {
		return c.fail(ctx, ErrRequestBody, "the request was cut short", x.up.err)
	}
	if x.up != nil && !x.up.stopped {
		x.sendErr = x.up.err
	}
	switch {
	case ctx.Err() == nil && errors.Is(err, ErrBadResponse):
		return fmt.Errorf("upstream %s: %w", c.url, err)
	case !x.cn.src.got && tlsfiles.Refused(err):
		// In TLS 1.3 a client certificate is judged after the client's part is done.
		return c.fail(ctx, ErrConnect, c.handshakeRemedy(err), err)
	case isTimeout(err) && x.sendErr == nil:
		return c.fail(ctx, ErrTimeout, fmt.Sprintf("no response header within %v (%s.timeouts.response_header)", x.headerTimeout(), c.opt.setting), nil)
	case x.sendErr != nil && isTimeout(x.sendErr):
		return c.fail(ctx, ErrTimeout, "the application does not take the request", x.sendErr)
	case x.sendErr != nil:
		return c.fail(ctx, ErrReset, "within the request", x.sendErr)
	case x.cn.src.got:
		return c.fail(ctx, ErrReset, "within the response head", truncated(err))
	}
	return c.fail(ctx, ErrReset, "before a response", truncated(err))
}

// body describes the response that follows the head. One without a body, or with
// an empty one, is complete here.
func (x *exchange) body() *Body {
	b := &x.r.body
	dec, lines := b.dec, b.lines[:0]
	*b = Body{
		c: x.c, ctx: x.ctx, cn: x.cn, nc: x.cn.nc, up: x.up, unwatch: x.unwatch,
		reuse: x.hd.keepAlive() && x.sendErr == nil && !x.upgrade, head: x.hd, unread: x.unread,
	}
	b.dec, b.lines = dec, lines
	b.dec.reset()
	x.cn.src.idle = x.c.cfg.Timeouts.Idle
	switch {
	case x.r.HeadMethod || x.hd.bodiless():
		b.framing = noBody
	case x.hd.chunked:
		b.framing, b.size = byChunks, -1
	case x.hd.length >= 0:
		b.framing, b.size, b.left = byLength, x.hd.length, x.hd.length
	default:
		b.framing, b.size, b.reuse = byClose, -1, false
	}
	if b.size == 0 && b.unread == 0 {
		b.finish()
	}
	return b
}
