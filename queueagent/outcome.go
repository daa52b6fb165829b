package queueagent

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	minThrottle = 100 * time.Millisecond
	maxThrottle = 5 * time.Minute
)

// verdict says what becomes of a task.
type verdict uint8

const (
	verdictAck      verdict = iota // delivered
	verdictRetry                   // the attempt failed
	verdictGiveBack                // no attempt was made, or it does not count
	verdictBury                    // to the dead letters
	verdictDrop                    // the lease is someone else's: leave the task alone
)

// outcome is a delivery's end.
type outcome struct {
	d        *delivery
	verdict  verdict
	delay    time.Duration // of verdictRetry and verdictGiveBack; negative: at once
	throttle time.Duration // for how long the application wants no tasks; 0: none
	reach    reach
	attempt  bool   // the application was asked, and it counts
	kind     string // a word for metrics: "status_500", "timeout", ...
	bury     string // reason of the dead letter
	detail   string // for logs and the dead letter; bounded
}

// badPayload is the outcome for a task whose URL cannot be made.
func badPayload(d *delivery) outcome {
	return outcome{
		d: d, verdict: verdictBury, kind: "bad_payload", bury: "bad_payload",
		detail: `the webhook's URL needs the task's "type": a JSON string that can be part of a path`,
	}
}

// judge is the table of what an answer means.
func judge(d *delivery, r Retry, a answer) outcome {
	if a.err != nil {
		return judgeError(d, r, a.err)
	}
	o := outcome{
		d: d, reach: reachYes, attempt: true, kind: "status_" + strconv.Itoa(a.status),
		detail: fmt.Sprintf("status %d: %s", a.status, a.excerpt),
	}
	switch {
	case a.status/100 == 2:
		return outcome{d: d, reach: reachYes, attempt: true, verdict: verdictAck}
	case a.status == fasthttp.StatusGone:
		o.verdict, o.bury = verdictBury, "gone"
	case a.bury:
		o.verdict, o.bury = verdictBury, "rejected"
	case a.retryAfter >= 0 && (a.status == fasthttp.StatusTooManyRequests || a.status == fasthttp.StatusServiceUnavailable):
		o.verdict, o.attempt = verdictGiveBack, false
		o.throttle = min(max(a.retryAfter, minThrottle), maxThrottle)
		o.delay = o.throttle
	default:
		return o.failed(r)
	}
	return o
}

func judgeError(d *delivery, r Retry, err error) outcome {
	o := outcome{d: d, reach: reachYes, attempt: true, detail: err.Error()}
	var dial dialError
	switch {
	case errors.Is(err, errLeaseLost):
		return outcome{d: d, verdict: verdictDrop, kind: "lease_lost", detail: o.detail}
	case errors.Is(err, errAborted):
		return outcome{d: d, verdict: verdictGiveBack, delay: -1, kind: "shutdown", detail: o.detail}
	case errors.Is(err, errLeaseOver):
		return outcome{d: d, verdict: verdictGiveBack, delay: -1, kind: "lease_over", detail: o.detail}
	case errors.As(err, &dial):
		return outcome{d: d, verdict: verdictGiveBack, delay: -1, reach: reachNo, kind: "unreachable", detail: o.detail}
	}
	o.kind = kindOf(err)
	return o.failed(r)
}

// failed makes a failed attempt a retry or, after the last, a dead letter.
func (o outcome) failed(r Retry) outcome {
	n := o.d.Attempts + 1
	if n >= r.MaxAttempts {
		o.verdict, o.bury = verdictBury, "max_attempts"
		return o
	}
	o.verdict, o.delay = verdictRetry, r.delay(n)
	return o
}
