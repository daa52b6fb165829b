package webhook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/nonblock"
)

const (
	// maxAnswer bounds how much of an answer's body is read.
	maxAnswer = 64 << 10
	// maxHead bounds the header of an answer. It is rarely above bufferSize, which each worker has.
	maxHead    = 64 << 10
	bufferSize = 8 << 10
)

// transport is one connection to the webhook, used by one worker. It neither follows
// redirects nor sends a request twice, with one exception that post names. Not
// fasthttp's client: the end of a lease must be able to cut a POST short, and a
// connection with unexpected bytes must not be used.
type transport struct {
	target *target
	dialer net.Dialer
	conn   net.Conn // nil when there is none
	raw    net.Conn // conn without TLS
	idle   idleCheck
	br     *bufio.Reader
	ask    nonblock.Exchange // with conn, unless that is TLS
	asking []byte            // the request that the next read sends, if there is one
}

// message is a request: its head, and what of its body is not in there.
type message struct{ head, body []byte }

func newTransport(t *target) *transport {
	return &transport{
		target: t, dialer: net.Dialer{Timeout: dialTimeout}, br: bufio.NewReaderSize(nil, bufferSize),
	}
}

// Read is what the buffered reader reads.
func (t *transport) Read(p []byte) (int, error) {
	if request := t.asking; request != nil {
		t.asking = nil
		return t.ask.Do(request, p)
	}
	return t.conn.Read(p)
}

// noAnswerError: the connection ended before the first byte of an answer.
type noAnswerError struct{ error }

func (e noAnswerError) Unwrap() error { return e.error }

// post sends the request and reads the answer. It ends by the lease's deadline.
//
// A server may close a kept connection just as it is used again. When nothing of an
// answer came back on such a connection, the request is sent once more on a new one.
// If the application cannot be reached then, that is not a refused connection: the
// request may have been what ended it, so it counts as an attempt.
func (t *transport) post(ctx context.Context, lease Lease, until time.Time, m message, resp *fasthttp.Response) error {
	ask := len(m.body) == 0 && t.ask.Able() // with a look of its own
	reused := t.usable(ask)
	if reused {
		err := t.roundTrip(lease, m, resp, ask)
		if err != nonblock.ErrUnfit {
			return t.again(ctx, lease, until, m, resp, err)
		}
	}
	if err := t.dial(ctx, until); err != nil {
		return err
	}
	err := t.roundTrip(lease, m, resp, false)
	if isSilent(err) && t.refused(err) {
		return dialError{t.explained(err)}
	}
	return err
}

// again sends the request once more, when a kept connection ended without an answer.
func (t *transport) again(ctx context.Context, lease Lease, until time.Time, m message, resp *fasthttp.Response, err error) error {
	if err == nil || !isSilent(err) || t.dial(ctx, until) != nil {
		return err
	}
	return t.roundTrip(lease, m, resp, false)
}

// isSilent says whether a connection ended without a byte of an answer.
func isSilent(err error) bool {
	var silent noAnswerError
	return errors.As(err, &silent) && !isTimeout(err)
}

// usable says whether the kept connection can carry a request, as far as is known when
// asking looks at it too. A byte, or an end, that waits there belongs to no request.
func (t *transport) usable(ask bool) bool {
	if t.conn == nil {
		return false
	}
	if t.br.Buffered() > 0 || !ask && t.idle.readable() {
		t.close()
		return false
	}
	return true
}

// roundTrip sends the request and reads the answer. With ask, it gives
// nonblock.ErrUnfit when the connection proves unfit before anything was sent.
func (t *transport) roundTrip(lease Lease, m message, resp *fasthttp.Response, ask bool) error {
	if err := lease.Attach(t.conn); err != nil {
		t.close()
		return stoppedError{err}
	}
	err := t.exchange(m, resp, ask)
	if cut := lease.Detach(); cut != nil && err != nil {
		err = stoppedError{cut}
	}
	if err != nil || resp.ConnectionClose() || resp.StatusCode() == fasthttp.StatusSwitchingProtocols {
		t.close()
	}
	if errors.Is(err, fasthttp.ErrBodyTooLarge) {
		return nil // the status is known, and the rest is not needed
	}
	return err
}

func (t *transport) exchange(m message, resp *fasthttp.Response, ask bool) (err error) {
	if ask {
		t.asking = m.head
	} else {
		err = t.write(m)
	}
	_, perr := t.br.Peek(1)
	if perr == nonblock.ErrUnfit {
		return perr
	}
	if perr == nonblock.ErrNotSent {
		err = t.ask.WriteErr
		_, perr = t.br.Peek(1)
	}
	// A server may answer, say with 413, without reading everything: its answer was
	// looked for even when writing failed.
	if perr != nil {
		if err == nil || t.refused(perr) {
			err = perr // the cause, also of a write that failed
		}
		return noAnswerError{err}
	}
	rerr := t.readAnswer(resp)
	if err != nil {
		resp.SetConnectionClose() // half a request went out on it
	}
	return rerr
}

// readAnswer reads the answer whose first byte is there.
func (t *transport) readAnswer(resp *fasthttp.Response) error {
	err := resp.ReadLimitBody(t.br, maxAnswer)
	var small *fasthttp.ErrSmallBuffer
	if !errors.As(err, &small) {
		return err
	}
	// The header is in the buffer still, as far as that has room for it. What follows the answer may be lost
	// with the large buffer: so the connection is not kept.
	err = resp.ReadLimitBody(bufio.NewReaderSize(t.br, maxHead), maxAnswer)
	resp.SetConnectionClose()
	if errors.As(err, &small) {
		return fmt.Errorf("the header of the answer has more than %d KiB: let the application send less", maxHead>>10)
	}
	return err
}

func (t *transport) write(m message) error {
	if len(m.body) == 0 {
		_, err := t.conn.Write(m.head)
		return err
	}
	_, err := (&net.Buffers{m.head, m.body}).WriteTo(t.conn)
	return err
}

func (t *transport) close() {
	if t.conn == nil {
		return
	}
	_ = t.raw.Close() // no close_notify: it could block
	t.conn, t.raw = nil, nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
