// Package webhook delivers tasks by HTTP POST: the request with its headers and
// signature, one kept connection to each worker, and the answer taken apart. It knows
// nothing of where tasks come from, nor of what becomes of them.
package webhook

import (
	"context"
	"net"
	"strconv"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"
)

// Config is an HTTP endpoint of the application.
type Config struct {
	// URL is http:// or https://. "{type}" in its path takes the task's "type"
	// field, percent-encoded.
	URL string `yaml:"url"`
	// Timeout bounds one delivery, connection included.
	Timeout time.Duration `yaml:"timeout"`
	// Secret signs deliveries as Standard Webhooks says, when set: "whsec_" and
	// base64, or the raw bytes.
	Secret string `yaml:"secret" secret:"true"`
}

// Request is one delivery of a task.
type Request struct {
	// ID is the same for each delivery of the task.
	ID string
	// Payload is the task as its producer wrote it.
	Payload string
	// Attempt counts from 1.
	Attempt int
	// Reason says why the task is delivered now: first, retry or crash.
	Reason string
}

// Lease is the right to deliver one task, which may end while a POST runs. Its owner
// may move the deadline of an attached connection at any time, or cut it short.
type Lease interface {
	// Begin is told when the webhook's time will be over, and gives the time when
	// dialling must end. An error means that the delivery is not to begin.
	Begin(end time.Time) (until time.Time, err error)
	// Attach puts a connection under the lease's deadline.
	Attach(net.Conn) error
	// Detach takes it back. The error says that the POST was cut short, and why.
	Detach() error
}

// defaultType is the CloudEvents type of a task that names none: the attribute must
// not be empty.
const defaultType = "pillion.task"

// Endpoint is one webhook as it is configured. It is safe for concurrent use.
type Endpoint struct {
	cfg         Config
	queue       string
	maxAttempts int
	target      *target
	secret      []byte
}

// New makes the endpoint of a queue, whose name and number of attempts are sent with
// each delivery. An error names the setting, without a secret.
func New(cfg Config, queue string, maxAttempts int) (*Endpoint, error) {
	t, err := newTarget(cfg.URL)
	if err != nil {
		return nil, err
	}
	secret, err := newSecret(cfg.Secret)
	if err != nil {
		return nil, err
	}
	return &Endpoint{cfg: cfg, queue: queue, maxAttempts: maxAttempts, target: t, secret: secret}, nil
}

// Sender makes the deliveries of one worker, one after the other, on a connection of
// its own. It is not safe for concurrent use.
type Sender struct {
	end    *Endpoint
	signer *signer // nil: deliveries are not signed
	conn   *transport
	req    fasthttp.Request
	resp   fasthttp.Response
	uri    []byte
}

// Sender makes a sender, which connects when it is first used.
func (e *Endpoint) Sender() *Sender {
	s := &Sender{end: e, conn: newTransport(e.target)}
	if len(e.secret) > 0 {
		s.signer = newSigner(e.secret)
	}
	h := &s.req.Header
	h.DisableNormalizing()
	h.SetMethod(fasthttp.MethodPost)
	h.SetHost(e.target.host)
	h.SetUserAgent("pillion")
	h.SetContentType("application/json")
	h.Set("ce-specversion", "1.0")
	h.Set("ce-source", string(appendUnreserved([]byte("/pillion/"), e.queue)))
	h.Set("Pillion-Queue", headerValue(e.queue))
	h.Set("Pillion-Max-Attempts", strconv.Itoa(e.maxAttempts))
	return s
}

// Close closes the connection, if there is one. The sender may be used again.
func (s *Sender) Close() { s.conn.close() }

// Send makes one delivery. When ctx is cancelled a dial ends; a POST under way ends
// only by its lease.
func (s *Sender) Send(ctx context.Context, lease Lease, r *Request) Answer {
	now := time.Now()
	until, err := lease.Begin(now.Add(s.end.cfg.Timeout))
	if err != nil {
		return failed(stoppedError{err})
	}
	if err := s.prepare(r, now); err != nil {
		return failed(err)
	}
	s.resp.Reset()
	err = s.conn.post(ctx, lease, until, &s.req, &s.resp)
	s.req.SetBodyRaw(nil) // a payload must not stay in memory with an idle worker
	if err != nil {
		return failed(err)
	}
	return s.read(time.Now())
}

// prepare fills in what differs from task to task. It fails when the URL needs a type
// that the payload does not give.
func (s *Sender) prepare(r *Request, now time.Time) error {
	typ, typed := taskType(r.Payload)
	var ok bool
	if s.uri, ok = s.end.target.uri(s.uri[:0], typ); !ok {
		return errBadType
	}
	if !typed || typ == "" {
		typ = defaultType
	}
	// The request only reads the body, so it may share the string's bytes.
	body := unsafe.Slice(unsafe.StringData(r.Payload), len(r.Payload))
	h := &s.req.Header
	h.SetRequestURIBytes(s.uri)
	h.Set("webhook-id", r.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	if s.signer != nil {
		h.SetBytesV("webhook-signature", s.signer.sign(r.ID, now.Unix(), body))
	}
	h.Set("ce-id", r.ID)
	h.Set("ce-type", headerValue(typ))
	h.Set("Idempotency-Key", r.ID)
	h.Set("Pillion-Attempt", strconv.Itoa(r.Attempt))
	h.Set("Pillion-Reason", r.Reason)
	s.req.SetBodyRaw(body)
	return nil
}
