package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
)

// origin is where a request goes that the cache does not answer: the application
// behind a socket, or a handler in this process. fetch leaves the response, head
// and body, in x.ctx.Response.
type origin interface {
	fetch(x *exchange, plain bool) error
}

// bufferUpTo is the size up to which a body of known length is read before the
// answer begins: a truncated one can then still become a 502.
const bufferUpTo = 64 << 10

// bufferWait is for how long it is waited for.
const bufferWait = 100 * time.Millisecond

// hurried reads a body until a time.
type hurried struct {
	body *upstream.Body
	end  time.Time
}

func (h *hurried) Read(p []byte) (int, error) { return h.body.ReadBy(p, h.end) }

// bufferForHTTP10 bounds what is held for a client that knows no chunked coding
// when the length is not known.
const bufferForHTTP10 = 16 << 20

// upstreamOrigin is the application behind a socket.
type upstreamOrigin struct{ client *upstream.Client }

func (o *upstreamOrigin) fetch(x *exchange, plain bool) error {
	c, err := o.ask(x, plain)
	if err != nil {
		return err
	}
	taken := false
	defer func() {
		if !taken { // a panic: the connection must not be lost to the pool
			_ = c.Close()
		}
	}()
	x.tidyHead()
	err = x.takeBody(c)
	taken = true
	if err != nil && x.fwd == cache.FwdMethod {
		// The answer was cut short, but what it tells of was done (RFC 9111 §4.4).
		x.status = x.ctx.Response.StatusCode()
		x.invalidate()
	}
	return err
}

// ask gives the call with the head of the response in x.ctx.Response, be it direct's.
func (o *upstreamOrigin) ask(x *exchange, plain bool) (c *call, err error) {
	h := &x.ctx.Response.Header
	if x.fetched.call != nil {
		return x.takeFetched(h)
	}
	c = x.h.calls.Get().(*call)
	if err := c.prepare(x, plain); err != nil {
		c.release()
		return nil, err
	}
	asked := time.Now()
	c.body, err = o.client.Do(context.Background(), &c.req, h)
	x.upstreamTook += time.Since(asked)
	if err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// takeFetched goes on with what direct has asked for.
func (x *exchange) takeFetched(h *fasthttp.ResponseHeader) (*call, error) {
	c, err := x.fetched.call, x.fetched.err
	if err == nil {
		err = c.body.Load(h)
	}
	if err != nil {
		x.giveUpFetched()
		return nil, err
	}
	x.fetched, c.ctx = fetched{}, x.ctx
	return c, nil
}

// tidyHead drops the hop-by-hop fields of a response (RFC 9110 §7.6.1) and gives
// it a Date when the application did not (§6.6.1).
func (x *exchange) tidyHead() {
	h := &x.ctx.Response.Header
	if c := h.Peek(fasthttp.HeaderConnection); len(c) > 0 {
		for list := append(x.scratch[:0], c...); len(list) > 0; {
			var name []byte
			name, list = nextElement(list)
			if kindOf(name) == kindPass && !syntax.FoldEqual(name, "content-type") && !syntax.FoldEqual(name, "set-cookie") && !syntax.FoldEqual(name, "date") {
				h.DelBytes(name)
			}
		}
	}
	h.ResetConnectionClose()
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
	h.SetProtocol([]byte("HTTP/1.1"))
	if len(h.Peek(fasthttp.HeaderDate)) == 0 {
		x.addDate()
	}
}

// addDate puts a Date in front of the header block and parses it again, since
// fasthttp ignores an attempt to set it.
func (x *exchange) addDate() {
	h := &x.ctx.Response.Header
	block := h.Header()
	end := bytes.IndexByte(block, '\n') + 1
	head := make([]byte, 0, len(block)+64)
	head = append(head, block[:end]...)
	head = append(head, "Date: "+httpDate(time.Now())+"\r\n"...)
	head = append(head, block[end:]...)
	length := h.ContentLength()
	x.readHead(string(head))
	if length < 0 { // an absent length must stay absent, whatever was written for it
		h.SetContentLength(length)
		h.ResetConnectionClose() // which it has set for want of a length
	}
}

// takeBody reads a small body whole; a large or unbounded one is handed on as it
// comes.
func (x *exchange) takeBody(c *call) error {
	resp := &x.ctx.Response
	size := c.body.Size()
	if size == 0 || x.isHead() {
		resp.SkipBody = x.isHead()
		return c.Close()
	}
	if size < 0 && x.wire == nil && x.http10 {
		return x.bufferAll(c)
	}
	if size > 0 && size <= bufferUpTo {
		var src io.Reader = c.body
		if x.wire != nil { // else nobody is waiting, or another server would hold it back
			src = &hurried{c.body, time.Now().Add(bufferWait)}
		}
		_, err := io.CopyN(resp.BodyWriter(), src, size)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.Join(err, c.Close())
		}
		// The application is slow with it: the client shall have what there is.
		c.first = bytes.Clone(resp.Body())
		resp.ResetBody()
	}
	resp.ImmediateHeaderFlush = size < 0
	c.trails = size < 0
	x.endWithSession(c)
	resp.SetBodyStream(c, int(size))
	return nil
}

// bufferAll is for a server that is not this package's: it holds a body without a length for a client that knows no chunked coding.
func (x *exchange) bufferAll(c *call) error {
	n, err := io.CopyN(x.ctx.Response.BodyWriter(), c.body, bufferForHTTP10+1)
	switch {
	case err == io.EOF && c.body.Complete():
		err = nil
	case n > bufferForHTTP10:
		err = errHTTP10Body
	}
	return errors.Join(err, c.Close())
}

// handlerOrigin is an application in this process, for embedders.
type handlerOrigin struct{ next fasthttp.RequestHandler }

func (o *handlerOrigin) fetch(x *exchange, plain bool) error {
	h := &x.ctx.Request.Header
	if limit := x.maxBody(); x.size > limit || !x.ctx.Request.IsBodyStream() && int64(len(x.ctx.Request.Body())) > limit {
		return &refusalError{&refuseBody}
	}
	for i := range x.lines {
		l := &x.lines[i]
		if x.h.sessions.IsIdentityHeader(l.name) || x.snap.isRequestID(l.name) || x.h.tasks.isTwin(l.name) || l.kind == kindPrefix ||
			plain && x.leftOut(l.name) || l.kind == kindUpgrade && !x.upgrade {
			h.DelBytes(l.name)
		}
	}
	x.stripHandlerID()
	if plain {
		for _, f := range x.conds.AppendFields(nil) {
			h.SetBytesKV(f.Name, f.Value)
		}
	}
	// The handler sees the same form that the rules and the session check saw, but for
	// what the rule changes.
	target, stripped := x.appendAppTarget(nil)
	x.setRequestFields(stripped, plain)
	if x.session != nil {
		setLines(h, x.h.sessions.AppendIdentity(nil, x.session))
	}
	x.ctx.Request.SetRequestURIBytes(target)
	x.ctx.Request.Header.SetHostBytes(x.appendAppHost(nil))
	asked := time.Now()
	o.next(x.ctx)
	x.upstreamTook += time.Since(asked)
	return nil
}

// setRequestFields gives a handler in this process the fields that pillion and the rule
// set.
func (x *exchange) setRequestFields(stripped, plain bool) {
	h := &x.ctx.Request.Header
	var block []byte
	if id := x.requestID(); len(id) > 0 {
		block = appendLine(block, x.snap.requestField, id)
	}
	setLines(h, x.appendPrefix(block, stripped, plain))
	e := x.route.requestEdit
	if e == nil || x.edited {
		return
	}
	x.edited = true // what is added must not be added again when the handler is asked twice
	for _, name := range e.drop {
		h.Del(name)
	}
	for _, l := range x.lines {
		if e.drops(l.name) {
			h.DelBytes(l.name)
		}
	}
	lines, _ := scan(nil, x.editHead(nil, 0))
	for _, l := range lines {
		h.AddBytesKV(l.name, l.value)
	}
}

// setLines sets the field lines of a block.
func setLines(h *fasthttp.RequestHeader, block []byte) {
	lines, _ := scan(nil, block)
	for _, l := range lines {
		h.SetBytesKV(l.name, l.value)
	}
}
