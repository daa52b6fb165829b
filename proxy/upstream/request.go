package upstream

import (
	"errors"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

// Request is one request, ready to be sent. It also holds the state of its
// exchange, so it must not be copied, and may be used again once its Body is closed.
type Request struct {
	// Head is the complete head: request line, fields, final CRLF. The caller has
	// removed the hop-by-hop fields and set the framing field that belongs to
	// BodySize. Do does not look inside and does not keep it.
	Head []byte
	// Body is nil when there is none. Its Read must not block for ever: where a
	// client stalls, only the caller can end the wait. Reading may go on in another
	// goroutine until the response Body is closed, or Do has failed; never longer.
	Body io.Reader
	// BodySize is the length of Body, or -1: then this client writes the chunked
	// coding. More than BodySize bytes are not read.
	BodySize int64
	// StopBody, when set, is called at most once per exchange to make a blocked
	// Body.Read return, because the rest of the body is not wanted any more.
	StopBody func()
	// Trailers, when set and BodySize is -1, is called once Body has ended cleanly, in
	// the goroutine that reads it. It gives the trailer fields, as lines
	// "Name: value\r\n", of which the caller has removed those that must not trail.
	Trailers func() []byte
	// HeadMethod says that the method is HEAD: the response has no body.
	HeadMethod bool
	// Replayable says that the method is idempotent (RFC 9110 §9.2.2). Whether the
	// body permits a second sending is judged here.
	Replayable bool
	// HeaderTimeout replaces Timeouts.ResponseHeader when it is not 0.
	HeaderTimeout time.Duration
	// Now, when set, is about the present time.
	Now time.Time
	// Interim, when set, is called for each 1xx response, inside Do and in its
	// goroutine. The fields are in h, which the next response overwrites.
	Interim func(status int, h *fasthttp.ResponseHeader)

	body      Body
	streaming bool // Body is being read piecemeal: the request cannot be repeated
}

func (r *Request) begin() {
	_ = r.body.Close()
	r.streaming = false
}

// now is the present time, as far as pooled connections and timeouts care.
func (r *Request) now() time.Time {
	if r.Now.IsZero() {
		return time.Now()
	}
	return r.Now
}

func (r *Request) check() error {
	switch {
	case len(r.Head) == 0:
		return errors.New("upstream: the request has no head")
	case r.BodySize < -1:
		return errors.New("upstream: the request's body size is below -1")
	case r.Body == nil && r.BodySize != 0:
		return errors.New("upstream: the request announces a body and has none")
	}
	return nil
}

// large reports a body that is streamed.
func (r *Request) large() bool { return r.Body != nil && (r.BodySize < 0 || r.BodySize > smallBody) }
