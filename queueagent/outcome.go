package queueagent

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

const (
	minThrottle = 100 * time.Millisecond
	maxThrottle = 5 * time.Minute
	// maxDetail bounds what is logged and kept of a failure.
	maxDetail = 512
)

// verdict says what becomes of a task.
type verdict uint8

const (
	verdictAck      verdict = iota // delivered
	verdictRetry                   // the attempt failed
	verdictGiveBack                // no attempt was made, or it does not count
	verdictBury                    // to the dead letters
	verdictDrop                    // the lease is someone else's: leave the task alone
	verdictPend                    // the application goes on working, and acknowledges later
)

// outcome is a delivery's end.
type outcome struct {
	d        *delivery
	verdict  verdict
	delay    time.Duration // of verdictRetry and verdictGiveBack; negative: at once
	lease    time.Duration // of verdictPend
	throttle time.Duration // for how long the application wants no tasks; 0: none
	reach    reach
	attempt  bool          // the application was asked, and it counts
	kind     string        // a word for metrics: "status_500", "timeout", ...
	bury     string        // reason of the dead letter
	detail   string        // for logs and the dead letter; bounded
	status   int           // 0: there was none
	excerpt  string        // of the answer's body; bounded
	took     time.Duration // the delivery, from its begin to its end
	noted    bool          // counted and logged already
}

// kindNotReady is a failure that the application's readiness excuses.
const kindNotReady = "not_ready"

// judge says what an answer means. Pillion-Result decides if it is there, then the
// status. now is by the clock of Redis, as the time from which a task's age counts is.
func (p *policy) judge(d *delivery, a webhook.Answer, now time.Time) outcome {
	if a.Kind != webhook.KindAnswered {
		return p.judgeError(d, a, now)
	}
	o := outcome{d: d, reach: reachYes, attempt: true, status: a.Status, excerpt: a.Excerpt}
	act := p.action(a)
	if act == actAck {
		if a.Lease > 0 {
			o.verdict, o.lease = verdictPend, a.Lease
		}
		return o
	}
	o.kind = "status_" + strconv.Itoa(a.Status)
	o.detail = fmt.Sprintf("status %d: %s", a.Status, a.Excerpt)
	switch act {
	case actDeadLetter:
		o.verdict, o.bury = verdictBury, "rejected"
		if a.Status == statusGone && a.Result == webhook.ResultNone {
			o.bury = "gone"
		}
		return o
	case actThrottle:
		return p.throttled(o, a, now)
	}
	return p.failed(o, a, now)
}

// throttled gives a task back to a queue that waits.
func (p *policy) throttled(o outcome, a webhook.Answer, now time.Time) outcome {
	wait := a.RetryAfter
	if wait < 0 {
		wait = p.retry.delay(o.d.Attempts + 1)
	}
	o.verdict, o.attempt = verdictGiveBack, false
	o.throttle = min(max(wait, minThrottle), maxThrottle)
	o.delay = o.throttle
	return p.withinAge(o, now)
}

func (p *policy) judgeError(d *delivery, a webhook.Answer, now time.Time) outcome {
	o := outcome{d: d, kind: string(a.Kind), detail: webhook.Printable([]byte(a.Err.Error()), maxDetail)}
	switch a.Kind {
	case webhook.KindStopped:
		return o.stopped(a.Err)
	case webhook.KindBadPayload, webhook.KindExpired:
		o.verdict, o.bury = verdictBury, o.kind
		return o
	case webhook.KindNotDue:
		// Until the ms that both clocks are rounded to are over too, or the task would be
		// claimed and given back some times more.
		o.verdict, o.delay = verdictGiveBack, a.Due+2*time.Millisecond
		return o
	case webhook.KindUnreachable:
		o.verdict, o.delay, o.reach = verdictGiveBack, -1, reachNo
		return o
	}
	o.reach, o.attempt = reachYes, true
	return p.failed(o, a, now)
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

// failed makes a failed attempt a retry or, after the last, a dead letter. The
// application may ask for a longer delay, but not for one above retry.max.
func (p *policy) failed(o outcome, a webhook.Answer, now time.Time) outcome {
	n := o.d.Attempts + 1
	if n >= p.retry.MaxAttempts {
		o.verdict, o.bury = verdictBury, "max_attempts"
		return o
	}
	o.verdict, o.delay = verdictRetry, p.retry.delay(n)
	o.delay = max(o.delay, min(a.RetryAfter, p.retry.Max))
	return p.withinAge(o, now)
}

// withinAge buries a task whose next delivery would come too late.
func (p *policy) withinAge(o outcome, now time.Time) outcome {
	if p.retry.MaxAge > 0 && now.Add(o.delay).After(o.d.Since.Add(p.retry.MaxAge)) {
		o.verdict, o.bury = verdictBury, "max_age"
	}
	return o
}

// askable says whether a failure may have been the application's, not the task's: a
// 5xx, or no answer in time. A connection that ended is not, since a task that kills
// the application must not be tried for ever.
func (o *outcome) askable() bool {
	return o.attempt && (o.verdict == verdictRetry || o.bury == "max_attempts") &&
		(o.status/100 == 5 || o.kind == string(webhook.KindTimeout))
}

// pardoned is a failed attempt that does not count, since the application is not
// ready. What bounds these is retry.max_age, and the pace of the open breaker.
func (p *policy) pardoned(o outcome, now time.Time) outcome {
	o.verdict, o.attempt, o.bury = verdictGiveBack, false, ""
	o.detail = "the application is not ready; " + o.detail
	o.kind, o.delay = kindNotReady, p.retry.delay(1)
	return p.withinAge(o, now)
}
