package proxy

import (
	"io"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/splice"
	"github.com/pillion-proxy/pillion/proxy/wire"
)

const (
	smallPiece = 4 << 10 // what an event stream that idles holds
	largePiece = 64 << 10
	// hugePiece is for bodies that fill large ones: each part costs both sides a wake-up.
	// maxHuge bounds the memory that slow clients can hold so.
	hugePiece = 512 << 10
	maxHuge   = 32
	// chunkRoom is the room for the size line of a chunk before its data, and for the
	// CR LF after it.
	chunkRoom = len("10000\r\n")
)

// outgoing sends a response body that streams: each part is written when it is there.
// fasthttp alone would hold the parts of a body with a length back until its buffer is
// full. It writes to the connection itself, which is right only once fasthttp has
// flushed the head.
type outgoing struct {
	conn    *wire.Conn // nil: fasthttp sends
	pieces  *pieces
	pipes   *splice.Pipes // nil: none for this client
	timeout time.Duration
	chunked bool
}

// setOut arranges for a response that streams to be sent part by part. It is true when
// the caller must send it, by sendUntilClose.
func (x *exchange) setOut(body *answer) (toTheEnd bool) {
	resp := &x.ctx.Response
	if resp.SkipBody && resp.Header.ContentLength() < 0 && x.http10 {
		untilClose(&resp.Header) // the answer to a HEAD says what that to a GET would have
	}
	if x.wire == nil || body == nil || resp.SkipBody {
		return false
	}
	body.out = x.outgoing()
	body.out.chunked = resp.Header.ContentLength() < 0
	switch r := body.r.(type) { // the deadlines are moved along here
	case *call:
		r.extend = 0
	case *spoolReader:
		r.extend = 0
	}
	resp.ImmediateHeaderFlush = true
	return body.out.chunked && x.http10
}

func (x *exchange) outgoing() outgoing {
	return outgoing{conn: x.wire, pieces: &x.h.pieces, pipes: x.h.pipesTo(x.wire), timeout: x.snap.server.WriteTimeout}
}

// sendUntilClose answers an HTTP/1.0 client, which knows no chunked coding, with a body
// whose length is not known: its end is the end of the connection (RFC 9112 §6.3). One
// that is cut short ends with a reset, so that it is not taken for the whole.
func sendUntilClose(ctx *fasthttp.RequestCtx, body *answer) {
	h, o := &ctx.Response.Header, &body.out
	untilClose(h)
	o.chunked = false
	_ = o.conn.ExtendWrite(o.timeout)
	_, err := o.conn.Write(h.Header())
	if err == nil {
		_, err = o.send(body)
	}
	if err != nil {
		o.conn.Abort()
	}
	_ = ctx.Response.CloseBodyStream()
	ctx.HijackSetNoResponse(true)
	ctx.Hijack(func(c net.Conn) { _ = c.Close() })
}

// untilClose makes the end of the connection that of the body.
func untilClose(h *fasthttp.ResponseHeader) {
	h.Del(fasthttp.HeaderTransferEncoding)
	h.SetContentLength(-2)
}

// send passes the body on until its end: by a pipe while that can be done and is worth it,
// else by copying.
func (o *outgoing) send(body io.Reader) (total int64, err error) {
	for moves := true; ; moves = !moves {
		pass := o.copy
		if moves {
			pass = o.move
		}
		n, done, err := pass(body)
		if total += n; done || err != nil {
			return total, err
		}
	}
}

// copy passes the body on until its end, or until it can go on by a pipe.
func (o *outgoing) copy(body io.Reader) (total int64, done bool, err error) {
	var small [chunkRoom + smallPiece + len("\r\n")]byte
	r := room{pieces: o.pieces, buf: small[:]}
	defer r.release()
	for {
		n, err := body.Read(r.data())
		if n > 0 {
			total += int64(n)
			if err := o.write(r.buf, n); err != nil {
				return total, false, err
			}
		}
		switch {
		case err == io.EOF:
			return total, true, nil
		case err != nil:
			return total, false, err
		case n < smallPiece/2:
			r.release()
			r.buf = small[:]
		case n == len(r.data()):
			if o.movable(body) != nil {
				return total, false, nil
			}
			r.enlarge()
		}
	}
}

// write sends the n bytes at buf[chunkRoom:], in one write with their framing.
func (o *outgoing) write(buf []byte, n int) error {
	start, end := chunkRoom, chunkRoom+n
	if o.chunked {
		var size [8]byte
		line := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
		start -= copy(buf[chunkRoom-len(line):], line)
		end += copy(buf[end:], "\r\n")
	}
	if err := o.conn.ExtendWrite(o.timeout); err != nil {
		return err
	}
	_, err := o.conn.Write(buf[start:end])
	return err
}
