package queueagent

import (
	"strconv"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// defaultType is the CloudEvents type of a task that names none: the attribute must
// not be empty.
const defaultType = "pillion.task"

// webhook builds and sends the requests of one worker. Not safe for concurrent use.
type webhook struct {
	target *target
	signer *signer // nil: deliveries are not signed
	conn   *transport
	req    fasthttp.Request
	resp   fasthttp.Response
	uri    []byte
}

func newWebhook(q *queue) *webhook {
	w := &webhook{target: q.target, conn: newTransport(q.target)}
	if len(q.secret) > 0 {
		w.signer = newSigner(q.secret)
	}
	h := &w.req.Header
	h.DisableNormalizing()
	h.SetMethod(fasthttp.MethodPost)
	h.SetHost(q.target.host)
	h.SetUserAgent("pillion")
	h.SetContentType("application/json")
	h.Set("ce-specversion", "1.0")
	h.Set("ce-source", string(appendUnreserved([]byte("/pillion/"), q.cfg.Name)))
	h.Set("Pillion-Queue", headerValue(q.cfg.Name))
	h.Set("Pillion-Max-Attempts", strconv.Itoa(q.cfg.Retry.MaxAttempts))
	return w
}

// prepare fills in what differs from task to task. It is false when the URL needs a
// type that the payload does not give.
func (w *webhook) prepare(t *tasks.Task, now time.Time) bool {
	typ, typed := taskType(t.Payload)
	var ok bool
	if w.uri, ok = w.target.uri(w.uri[:0], typ); !ok {
		return false
	}
	if !typed || typ == "" {
		typ = defaultType
	}
	// The request only reads the body, so it may share the string's bytes.
	body := unsafe.Slice(unsafe.StringData(t.Payload), len(t.Payload))
	h := &w.req.Header
	h.SetRequestURIBytes(w.uri)
	h.Set("webhook-id", t.ID)
	h.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	if w.signer != nil {
		h.SetBytesV("webhook-signature", w.signer.sign(t.ID, now.Unix(), body))
	}
	h.Set("ce-id", t.ID)
	h.Set("ce-type", headerValue(typ))
	h.Set("Idempotency-Key", t.ID)
	h.Set("Pillion-Attempt", strconv.Itoa(t.Attempts+1))
	h.Set("Pillion-Reason", t.Reason.String())
	w.req.SetBodyRaw(body)
	return true
}

// answer is what a POST came to.
type answer struct {
	status     int
	retryAfter time.Duration // negative: none was given
	bury       bool          // the Pillion-Result header says that no retry will help
	excerpt    string        // the start of the body, of a failure
	err        error         // then nothing else is set
}

// maxExcerpt bounds how much of a failure's body is logged and kept.
const maxExcerpt = 256

func (w *webhook) read(err error, now time.Time) answer {
	if err != nil {
		return answer{err: err, retryAfter: -1}
	}
	a := answer{status: w.resp.StatusCode(), retryAfter: parseRetryAfter(w.resp.Header.Peek("Retry-After"), now)}
	a.bury = string(w.resp.Header.Peek("Pillion-Result")) == "dead-letter"
	if a.status/100 != 2 {
		body := w.resp.Body()
		a.excerpt = string(body[:min(len(body), maxExcerpt)])
	}
	return a
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110 section 10.2.3); negative
// when there is neither.
func parseRetryAfter(v []byte, now time.Time) time.Duration {
	if len(v) == 0 {
		return -1
	}
	if secs, err := strconv.ParseUint(string(v), 10, 31); err == nil {
		return time.Duration(secs) * time.Second
	}
	at, err := fasthttp.ParseHTTPDate(v)
	if err != nil {
		return -1
	}
	return max(0, at.Sub(now))
}
