package proxy

import (
	"bytes"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/proxy/wire"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// call is one exchange with the application. It lives until the response body has
// been passed on, which is after the handler returned, and is pooled. As a reader
// it is that body.
type call struct {
	req      upstream.Request
	head     []byte
	in       bodyReader
	guard    containedReader // around in
	body     *upstream.Body
	first    []byte               // of the body: it has been read, and comes before the rest
	ctx      *fasthttp.RequestCtx // nil while direct has the request
	client   *wire.Conn           // nil when another server has the connection
	extend   time.Duration
	pool     *sync.Pool
	stop     func()
	hint     func(int, *fasthttp.ResponseHeader)
	trailers func() []byte
	// untilClose is upstream.until_close.
	untilClose bool
	barred     func(name []byte) bool // of the trailers of a chunked request
	trails     bool                   // the head is sent before the body is read
	life       lifetime
	lifecycle  *sessioncheck.Lifecycle
	tasks      *TaskField
	// detached says that the response will close the body though it is not its own
	// any more.
	detached bool
}

func newCall(pool *sync.Pool) *call {
	c := &call{pool: pool}
	c.stop = c.stopBody
	c.hint = c.interim
	c.trailers = c.requestTrailers
	return c
}

// interim passes an interim response on (RFC 9110 §15.2), such as 103 Early Hints. It
// is for this client only: it is no part of what is stored. 100 is not passed on, since
// Expect was answered here.
func (c *call) interim(status int, h *fasthttp.ResponseHeader) {
	if status == fasthttp.StatusContinue || status == fasthttp.StatusSwitchingProtocols {
		return
	}
	head := append([]byte("HTTP/1.1 "), strconv.Itoa(status)...)
	head = append(append(head, ' '), fasthttp.StatusMessage(status)...)
	head = append(head, '\r', '\n')
	for name, value := range h.All() {
		if k := kindOf(name); k == kindPass && !syntax.FoldEqual(name, "content-type") && !c.lifecycle.IsHeader(name) && !c.tasks.is(name) {
			head = appendLine(head, name, value)
		}
	}
	head = append(head, '\r', '\n')
	// Straight to the connection: the server writes when the handler has returned. A
	// client that has gone is noticed later.
	if c.client != nil {
		_ = c.client.WriteInterim(head)
		return
	}
	_, _ = c.ctx.Conn().Write(head)
}

// stopBody ends a read that waits for the rest of an upload that is not wanted.
func (c *call) stopBody() {
	if c.in.wire != nil {
		c.in.wire.Stop()
		return
	}
	_ = c.ctx.SetReadDeadline(time.Unix(1, 0))
}

func (c *call) release() {
	c.body, c.ctx, c.client, c.barred, c.trails, c.first = nil, nil, nil, nil, false, nil
	c.in, c.guard = bodyReader{}, containedReader{}
	c.pool.Put(c)
}

// prepare serialises the request.
func (c *call) prepare(x *exchange, plain bool) error {
	c.ctx, c.client, c.extend, c.untilClose = x.ctx, x.wire, x.snap.server.WriteTimeout, x.route.untilClose
	c.req.Interim, c.req.HeaderTimeout, c.req.Now = nil, 0, time.Time{}
	c.lifecycle, c.tasks = x.h.lifecycle, x.h.tasks
	if x.waited {
		c.req.HeaderTimeout = max(x.patience(), time.Millisecond)
	}
	if !x.background && !x.http10 {
		c.req.Interim = c.hint
	}
	size, refused := c.takeRequestBody(x)
	if refused != nil {
		return &refusalError{refused}
	}
	if c.req.Body != nil {
		c.guard = containedReader{x.h, c.req.Body}
		c.req.Body = &c.guard
	}
	b := x.buildHead(c.head[:0], plain)
	switch {
	case size > 0:
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), size, 10), '\r', '\n')
	case size < 0:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case x.hasLength() || expectsBody(x.method):
		b = append(b, "Content-Length: 0\r\n"...)
	}
	c.head = append(b, '\r', '\n')
	c.req.Head, c.req.HeadMethod, c.req.Replayable = c.head, x.isHead(), x.idempotent()
	return nil
}

// hasLength says whether the client gave a Content-Length, if of 0.
func (x *exchange) hasLength() bool {
	if x.wire != nil {
		return x.wire.Request().HasLength
	}
	return x.hasKind(kindLength)
}

// expectsBody names the methods that say Content-Length: 0 when they have no body
// (RFC 9110 §8.6).
func expectsBody(method []byte) bool {
	switch string(method) {
	case fasthttp.MethodPost, fasthttp.MethodPut, fasthttp.MethodPatch:
		return true
	}
	return false
}

// takeRequestBody points the request at the client's body and gives its size: 0
// for none, -1 when it is not known.
func (c *call) takeRequestBody(x *exchange) (size int64, r *refusal) {
	c.req.Body, c.req.BodySize, c.req.StopBody, c.req.Trailers = nil, 0, nil, nil
	if size = x.size; size == 0 {
		return 0, nil
	}
	limit := x.maxBody()
	if size > limit {
		return 0, &refuseBody
	}
	if x.wire != nil {
		x.wire.Body().Limit(limit)
		c.in = bodyReader{r: x.wire.Body(), wire: x.wire.Body(), left: limit}
		c.req.StopBody = c.stop
		if size < 0 {
			c.barred, c.req.Trailers = x.bars(), c.trailers
		}
	} else if stream := x.ctx.RequestBodyStream(); stream != nil {
		c.in = bodyReader{r: stream, left: limit, ctx: x.ctx, timeout: x.snap.server.ReadTimeout}
		c.req.StopBody = c.stop
	} else { // a server that reads bodies whole
		raw := x.ctx.Request.Body()
		c.in = bodyReader{r: bytes.NewReader(raw), left: limit}
		size = int64(len(raw))
	}
	c.req.Body, c.req.BodySize = &c.in, size
	return size, nil
}

// Read gives the response body. Every part that arrives moves the client's write
// deadline along: a long download is fine, a stalled one is not.
func (c *call) Read(p []byte) (int, error) {
	if len(c.first) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	n, err := c.body.Read(p)
	if n > 0 && c.ctx != nil && c.extend > 0 {
		_ = c.ctx.SetWriteDeadline(time.Now().Add(c.extend))
	}
	if err == io.EOF && c.trails && c.ctx != nil {
		c.trail(&c.ctx.Response.Header)
	}
	return n, err
}

// detach takes the body away from the response, whose next Close of it does nothing.
func (c *call) detach() { c.detached, c.ctx = true, nil }

// Close ends the exchange. The connection is used again only when the body was
// read to its end.
func (c *call) Close() error {
	if c.detached {
		c.detached = false
		return nil
	}
	if c.body == nil {
		return nil
	}
	c.life.over()
	err := c.body.Close()
	c.release()
	return err
}

// whole says that all of the body was read. One that ends with its connection is not,
// unless upstream.until_close says so: its end cannot be told from a crash of the
// application.
func (c *call) whole() bool {
	return c.body.Complete() && (c.untilClose || !c.body.CloseDelimited())
}

// bodyReader bounds a client's body, which fasthttp does not do for streams, and
// moves the read deadline along: a long upload is fine, a stalled one is not.
type bodyReader struct {
	r       io.Reader
	wire    *wire.Body // r, when this package's own server reads it: it has deadlines of its own
	left    int64
	ctx     *fasthttp.RequestCtx
	timeout time.Duration
}

// Read fails once more than the bound has come.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.ctx != nil && b.timeout > 0 {
		_ = b.ctx.SetReadDeadline(time.Now().Add(b.timeout))
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errBodyTooLarge
	}
	return n, err
}
