package webhook

import (
	"context"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

// maxKept bounds the buffers that an idle sender keeps.
const maxKept = 64 << 10

// Sender makes the deliveries of one worker, one after the other, on a connection of
// its own. It is not safe for concurrent use.
type Sender struct {
	end    *Endpoint
	signer *signer
	conn   *transport
	resp   fasthttp.Response
	head   []byte // the request, from its first line
	body   []byte // what was decoded of a payload
	id     []byte

	since, until stamp
}

// Sender makes a sender, which connects when it is first used.
func (e *Endpoint) Sender() *Sender {
	return &Sender{end: e, conn: newTransport(e.target), signer: newSigner(e.secrets)}
}

// Close closes the connection, if there is one. The sender may be used again.
func (s *Sender) Close() { s.conn.close() }

// Send makes one delivery. When ctx is cancelled a dial ends; a POST under way ends
// only by its lease.
func (s *Sender) Send(ctx context.Context, lease Lease, r *Request) Answer {
	now := time.Now()
	end := now.Add(s.end.timeout)
	until, err := lease.Begin(end)
	if err != nil {
		return failed(stoppedError{err})
	}
	judged := r.Now
	if judged.IsZero() {
		judged = now
	}
	c, buf, err := s.end.mapping.read(r.Payload, judged, s.body)
	s.body = buf
	if err == nil {
		err = s.writeHead(r, &c, now, end)
	}
	if err != nil {
		return failed(err)
	}
	s.resp.Reset()
	m := message{head: s.head, body: c.body}
	if len(c.body) <= bufferSize { // in one piece: two would be two packets
		s.head = append(s.head, c.body...)
		m = message{head: s.head}
	}
	err = s.conn.post(ctx, lease, until, m, &s.resp)
	s.shrink()
	if err != nil {
		return failed(err)
	}
	return s.read(time.Now())
}

// shrink lets go of what an unusually large task needed.
func (s *Sender) shrink() {
	if cap(s.body) > maxKept {
		s.body = nil
	}
	if cap(s.head) > maxKept {
		s.head = nil
	}
}

// writeHead writes the request up to its body. What comes from outside is encoded or
// checked, and bounded; only the type gets into the first line. It fails when the URL
// needs a type that the payload does not give.
func (s *Sender) writeHead(r *Request, c *content, now, end time.Time) error {
	b := append(s.head[:0], "POST "...)
	b, ok := s.end.target.uri(b, c.typ)
	if !ok {
		return payloadError{"the webhook's URL needs the task's type, which task.type names (" + s.end.mapping.Type + "): a JSON string that can be part of a path"}
	}
	b = append(b, " HTTP/1.1\r\n"...)
	b = append(b, s.end.fixed...)
	s.id = appendHeaderValue(s.id[:0], r.ID)
	b = s.appendIdentity(b, c, now)
	b = s.appendAttempt(b, r, end)
	b = s.appendTrace(b, r.ID, c)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(c.body)), 10)
	s.head = append(b, "\r\n\r\n"...)
	return nil
}

// appendIdentity writes what Standard Webhooks and CloudEvents define, and the
// signatures.
func (s *Sender) appendIdentity(b []byte, c *content, now time.Time) []byte {
	b = append(append(b, "webhook-id: "...), s.id...)
	b = append(b, "\r\nwebhook-timestamp: "...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	if len(s.signer.macs) > 0 {
		b = append(b, "\r\nwebhook-signature: "...)
		b = s.signer.appendSignatures(b, s.id, now.Unix(), c.body)
	}
	b = append(append(b, "\r\nIdempotency-Key: "...), s.id...)
	b = append(append(b, "\r\nce-id: "...), s.id...)
	b = append(b, "\r\nce-type: "...)
	if c.typ == "" {
		b = append(b, defaultType...)
	} else {
		b = appendHeaderValue(b, c.typ)
	}
	return append(b, "\r\n"...)
}

// appendAttempt writes what is this attempt's own.
func (s *Sender) appendAttempt(b []byte, r *Request, end time.Time) []byte {
	if !r.First.IsZero() {
		b = append(b, "ce-time: "...)
		b = append(s.since.append(b, r.First), "\r\n"...)
	}
	b = append(b, "Pillion-Attempt: "...)
	b = strconv.AppendInt(b, int64(r.Attempt), 10)
	b = append(b, "\r\nPillion-Reason: "...)
	b = appendHeaderValue(b, r.Reason)
	b = append(b, "\r\nPillion-Deadline: "...)
	b = append(s.until.append(b, end), "\r\n"...)
	if r.Token != "" {
		b = append(b, "Pillion-Lease-Token: "...)
		b = append(appendHeaderValue(b, r.Token), "\r\n"...)
	}
	return b
}

// appendTrace writes the trace that the task was made in, or one of its own.
func (s *Sender) appendTrace(b []byte, id string, c *content) []byte {
	trace := c.trace
	if !trace.ok {
		trace = traceOf(id)
	}
	b = append(b, "traceparent: "...)
	b = append(trace.appendTraceparent(b), "\r\n"...)
	if c.tracestate != "" {
		b = append(append(b, "tracestate: "...), c.tracestate...)
		b = append(b, "\r\n"...)
	}
	return b
}
