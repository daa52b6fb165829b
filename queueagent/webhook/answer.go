package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"
)

// Kind says how a delivery ended that came to no status.
type Kind string

// The kinds; their text is what metrics and logs show.
const (
	// KindAnswered: there is a status.
	KindAnswered Kind = ""
	// KindStopped: the lease, or the caller, ended the delivery. Answer.Err says why.
	KindStopped Kind = "stopped"
	// KindBadPayload: no request can be made of the payload, so none was sent.
	KindBadPayload Kind = "bad_payload"
	// KindNotDue: the task is to be delivered later, in Answer.Due. Nothing was sent.
	KindNotDue Kind = "not_due"
	// KindExpired: it is too late for the task, so nothing was sent.
	KindExpired Kind = "expired"
	// KindUnreachable: no connection could be made, so nothing was sent.
	KindUnreachable Kind = "unreachable"
	// KindTimeout: no answer came in time.
	KindTimeout Kind = "timeout"
	// KindConnection: the connection ended before the answer did.
	KindConnection Kind = "connection"
	// KindBadResponse: what came back is not HTTP, or says something that cannot be
	// understood.
	KindBadResponse Kind = "bad_response"
)

// Result is what the header Pillion-Result asks for.
type Result uint8

const (
	// ResultNone: there is no such header.
	ResultNone Result = iota
	// ResultAck: the task is done.
	ResultAck
	// ResultRetry: the task has failed, and may be tried again.
	ResultRetry
	// ResultDeadLetter: the task has failed, and no retry will help.
	ResultDeadLetter
)

// Answer is what a delivery came to.
type Answer struct {
	// Kind says how the delivery ended; KindAnswered when there is a Status.
	Kind Kind
	// Err is why there is no status; nil when there is one.
	Err error
	// Status is the HTTP status.
	Status int
	// RetryAfter is what the header Retry-After asks for; negative: it is not there.
	RetryAfter time.Duration
	// Result is what the header Pillion-Result asks for.
	Result Result
	// Lease is for how long the application goes on working on a task that it has
	// accepted with 202, and will acknowledge later; 0: it does not.
	Lease time.Duration
	// Due is after how much time a task of KindNotDue is due.
	Due time.Duration
	// Excerpt is the start of the body of a failure: printable text.
	Excerpt string
}

// maxExcerpt bounds how much of a failure's body is logged and kept.
const maxExcerpt = 256

func failed(err error) Answer {
	a := Answer{Kind: kindOf(err), Err: err, RetryAfter: -1}
	if a.Kind == KindConnection {
		a.Err = fmt.Errorf("the connection ended before the answer did: %w", err) // "EOF" says little in a dead letter
	}
	var early notDueError
	if errors.As(err, &early) {
		a.Due = early.in
	}
	return a
}

// stoppedError is an error of the lease.
type stoppedError struct{ error }

func (e stoppedError) Unwrap() error { return e.error }

func kindOf(err error) Kind {
	var dial dialError
	var stopped stoppedError
	var payload payloadError
	var early notDueError
	switch {
	case errors.As(err, &stopped), errors.Is(err, context.Canceled):
		return KindStopped
	case errors.As(err, &payload):
		return KindBadPayload
	case errors.As(err, &early):
		return KindNotDue
	case errors.Is(err, errExpired):
		return KindExpired
	case errors.As(err, &dial):
		return KindUnreachable
	case isTimeout(err):
		return KindTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return KindConnection
	}
	return KindBadResponse
}

// read takes the response apart.
func (s *Sender) read(now time.Time) Answer {
	h := &s.resp.Header
	a := Answer{Status: s.resp.StatusCode(), RetryAfter: parseRetryAfter(h.Peek("Retry-After"), now)}
	var ok bool
	if v := h.Peek("Pillion-Result"); len(v) > 0 {
		if a.Result, ok = parseResult(string(v)); !ok {
			// Not ignored: with a 2xx, what the application calls a failure would be done.
			return failed(fmt.Errorf("the answer with status %d has a Pillion-Result of %q: want ack, retry or dead-letter", a.Status, Printable(v, 64)))
		}
	}
	if a.Status/100 != 2 || a.Result == ResultRetry || a.Result == ResultDeadLetter {
		a.Excerpt = Printable(s.resp.Body(), maxExcerpt)
	}
	if a.Status != fasthttp.StatusAccepted || a.Result != ResultNone {
		return a
	}
	a.Lease = s.end.accepted
	if v := h.Peek("Pillion-Lease"); len(v) > 0 {
		if a.Lease, ok = parseLease(string(v)); !ok {
			return failed(fmt.Errorf("the answer's Pillion-Lease is %q: want seconds, or a duration such as 5m", Printable(v, 64)))
		}
	}
	return a
}

func parseResult(text string) (Result, bool) {
	switch strings.ToLower(text) {
	case "ack":
		return ResultAck, true
	case "retry":
		return ResultRetry, true
	case "dead-letter":
		return ResultDeadLetter, true
	}
	return ResultNone, false
}

// parseLease reads a number of seconds, or a duration, and keeps it within its bounds.
func parseLease(text string) (time.Duration, bool) {
	d, err := time.ParseDuration(text)
	if err != nil {
		var secs int64
		if secs, err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, false
		}
		d = time.Duration(min(max(secs, 0), int64(MaxAcceptedLease/time.Second))) * time.Second
	}
	return min(max(d, MinAcceptedLease), MaxAcceptedLease), true
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110 section 10.2.3); negative
// when there is neither.
func parseRetryAfter(v []byte, now time.Time) time.Duration {
	if len(v) == 0 {
		return -1
	}
	if secs, err := strconv.ParseUint(string(v), 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(secs) * time.Second
	}
	at, err := fasthttp.ParseHTTPDate(v)
	if err != nil {
		return -1
	}
	return max(0, at.Sub(now))
}

// Printable gives the start of a text, at most limit bytes of it, with what is not
// printable escaped: it may end in a terminal.
func Printable(text []byte, limit int) string {
	text = text[:min(len(text), limit)]
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[0])
		case unicode.IsPrint(r):
			b.Write(text[:n])
		default:
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
		text = text[n:]
	}
	return b.String()
}
