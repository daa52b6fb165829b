package webhook

import (
	"context"
	"errors"
	"io"
	"strconv"
	"syscall"
	"time"

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
	// KindUnreachable: no connection could be made, so nothing was sent.
	KindUnreachable Kind = "unreachable"
	// KindTimeout: no answer came in time.
	KindTimeout Kind = "timeout"
	// KindConnection: the connection ended before the answer did.
	KindConnection Kind = "connection"
	// KindBadResponse: what came back is not HTTP.
	KindBadResponse Kind = "bad_response"
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
	// DeadLetter: the header Pillion-Result says that no retry will help.
	DeadLetter bool
	// Excerpt is the start of the body, unless the status is a 2xx.
	Excerpt string
}

// maxExcerpt bounds how much of a failure's body is logged and kept.
const maxExcerpt = 256

// errBadType is the failure of a task whose URL cannot be made.
var errBadType = errors.New(`the webhook's URL needs the task's "type": a JSON string that can be part of a path`)

func failed(err error) Answer {
	return Answer{Kind: kindOf(err), Err: err, RetryAfter: -1}
}

// stoppedError is an error of the lease.
type stoppedError struct{ error }

func (e stoppedError) Unwrap() error { return e.error }

func kindOf(err error) Kind {
	var dial dialError
	var stopped stoppedError
	switch {
	case errors.As(err, &stopped), errors.Is(err, context.Canceled):
		return KindStopped
	case errors.Is(err, errBadType):
		return KindBadPayload
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
	a := Answer{Status: s.resp.StatusCode(), RetryAfter: parseRetryAfter(s.resp.Header.Peek("Retry-After"), now)}
	a.DeadLetter = string(s.resp.Header.Peek("Pillion-Result")) == "dead-letter"
	if a.Status/100 != 2 {
		body := s.resp.Body()
		a.Excerpt = string(body[:min(len(body), maxExcerpt)])
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
