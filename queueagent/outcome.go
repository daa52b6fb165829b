package queueagent

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/webhook"
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

// judge is the table of what an answer means.
func judge(d *delivery, r Retry, a webhook.Answer) outcome {
	if a.Kind != webhook.KindAnswered {
		return judgeError(d, r, a)
	}
	o := outcome{
		d: d, reach: reachYes, attempt: true, kind: "status_" + strconv.Itoa(a.Status),
		detail: fmt.Sprintf("status %d: %s", a.Status, a.Excerpt),
	}
	switch {
	case a.Status/100 == 2:
		return outcome{d: d, reach: reachYes, attempt: true, verdict: verdictAck}
	case a.Status == fasthttp.StatusGone:
		o.verdict, o.bury = verdictBury, "gone"
	case a.DeadLetter:
		o.verdict, o.bury = verdictBury, "rejected"
	case a.RetryAfter >= 0 && (a.Status == fasthttp.StatusTooManyRequests || a.Status == fasthttp.StatusServiceUnavailable):
		o.verdict, o.attempt = verdictGiveBack, false
		o.throttle = min(max(a.RetryAfter, minThrottle), maxThrottle)
		o.delay = o.throttle
	default:
		return o.failed(r)
	}
	return o
}

func judgeError(d *delivery, r Retry, a webhook.Answer) outcome {
	o := outcome{d: d, kind: string(a.Kind), detail: a.Err.Error()}
	switch a.Kind {
	case webhook.KindStopped:
		return o.stopped(a.Err)
	case webhook.KindBadPayload:
		o.verdict, o.bury = verdictBury, o.kind
		return o
	case webhook.KindUnreachable:
		o.verdict, o.delay, o.reach = verdictGiveBack, -1, reachNo
		return o
	}
	o.reach, o.attempt = reachYes, true
	return o.failed(r)
}

// stopped is the end of a delivery that the lease or a shutdown has ended.
func (o outcome) stopped(err error) outcome {
	switch {
	case errors.Is(err, errLeaseLost):
		o.verdict, o.kind = verdictDrop, "lease_lost"
	case errors.Is(err, errLeaseOver):
		o.verdict, o.delay, o.kind = verdictGiveBack, -1, "lease_over"
	default:
		o.verdict, o.delay, o.kind = verdictGiveBack, -1, "shutdown"
	}
	return o
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
