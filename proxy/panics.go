package proxy

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
)

// errPanicked ends what a panic happened in.
var errPanicked = errors.New("an internal error")

// panicked notes a panic that ended one request and nothing else.
func (h *Handler) panicked(where string, p any) {
	h.stats.panics.Add(1)
	h.log.Error().Str("where", where).Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("a panic was contained")
}

// contain, deferred, ends a panic here. It belongs at the top of every goroutine that
// works for one request, and around every call that the server makes after the handler
// has returned: there nobody else recovers, and the process would end.
func (h *Handler) contain(where string) {
	if p := recover(); p != nil {
		h.panicked(where, p)
	}
}

// containedReader makes a panic of a reader an error. It is a request body, which is
// read in a goroutine of the client for the application when it is large.
type containedReader struct {
	h *Handler
	r io.Reader
}

// Read fails when the reader panics.
func (c *containedReader) Read(p []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.h.panicked("reading a request body", p)
			n, err = 0, errPanicked
		}
	}()
	return c.r.Read(p)
}

// answer is the body of a response as the server reads it, when the handler has
// returned. It contains panics, and ends the request's line in the access log.
type answer struct {
	h *Handler
	r io.Reader
	x *exchange // kept until the body has been passed on, when its line waits for that
	n int64
	// out, when it has a connection, sends the body instead of fasthttp.
	out outgoing
}

// SupportsBodyWriteTo and WriteTo are what fasthttp asks for.
func (a *answer) SupportsBodyWriteTo() bool { return a.out.conn != nil }

// WriteTo sends the body to the client, not to fasthttp's writer, which is empty.
func (a *answer) WriteTo(io.Writer) (int64, error) { return a.out.send(a) }

// Read gives the body. After a panic it fails, so that the server cuts the connection
// and the client does not take what it has for the whole.
func (a *answer) Read(p []byte) (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.h.panicked("passing a response body on", p)
			n, err = 0, errPanicked
		}
	}()
	n, err = a.r.Read(p)
	a.n += int64(n)
	return n, err
}

// Close ends the body and writes the line that waits for it.
func (a *answer) Close() (err error) {
	if x := a.x; x != nil {
		a.x = nil
		defer a.h.release(x)
		defer a.h.contain("writing the access log")
		defer func() { x.logAccess(x.sinceBegan(), a.n) }()
	}
	defer func() {
		if p := recover(); p != nil {
			a.h.panicked("ending a response body", p)
			err = errPanicked
		}
	}()
	if c, ok := a.r.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

func (h *Handler) closeStream(c *call) {
	defer h.contain("ending a response body")
	_ = c.Close()
}

// stream answers with a body that comes while it is sent; size is -1 when it is not known.
func (x *exchange) stream(r io.Reader, size int) {
	x.ctx.Response.SetBodyStream(&answer{h: x.h, r: r}, size)
}

// seal makes what is left of the response an answer. The stream of a handler in this
// process stays what it is: the server that it runs in reads it. The result is nil when
// there is no body that is still to be read here.
func (x *exchange) seal() *answer {
	resp := &x.ctx.Response
	if !resp.IsBodyStream() {
		return nil
	}
	if c, ok := resp.BodyStream().(*call); ok {
		size := resp.Header.ContentLength()
		c.detached = true // it is replaced, not ended
		x.stream(c, size)
	}
	a, _ := resp.BodyStream().(*answer)
	return a
}
