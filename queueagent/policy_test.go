package queueagent

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

func testPolicy(tb testing.TB, r Retry) *policy {
	tb.Helper()
	p, err := newPolicy(r)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestResultsByStatus(t *testing.T) {
	p := testPolicy(t, Retry{MaxAttempts: 3, Min: time.Second, Max: time.Minute, Status: map[string]string{
		"4xx": "dead_letter", "400-429": "retry", "422": "ack", "500-599": "throttle", "503": "retry", "202": "retry", "3xx": "ack",
	}})
	for status, want := range map[int]struct {
		v       verdict
		attempt bool
	}{
		200: {verdictAck, true}, 202: {verdictRetry, true}, 302: {verdictAck, true}, 404: {verdictRetry, true}, 422: {verdictAck, true},
		410: {verdictRetry, true}, 430: {verdictBury, true}, 499: {verdictBury, true}, 429: {verdictRetry, true},
		500: {verdictGiveBack, false}, 503: {verdictRetry, true}, 600: {verdictRetry, true}, 999: {verdictRetry, true},
	} {
		o := p.judge(&delivery{}, webhook.Answer{Status: status, RetryAfter: 1}, time.Now())
		if o.verdict != want.v || o.attempt != want.attempt {
			t.Errorf("%d: verdict %d, attempt %v: want %d, %v", status, o.verdict, o.attempt, want.v, want.attempt)
		}
	}
	for result, want := range map[webhook.Result]verdict{webhook.ResultAck: verdictAck, webhook.ResultRetry: verdictRetry, webhook.ResultDeadLetter: verdictBury} {
		for _, status := range []int{200, 410, 422, 503} {
			o := p.judge(&delivery{}, webhook.Answer{Status: status, Result: result, RetryAfter: 1}, time.Now())
			if o.verdict != want || o.verdict == verdictBury && o.bury != "rejected" {
				t.Errorf("%d with result %d: %d, %q: the header decides", status, result, o.verdict, o.bury)
			}
		}
	}
	o := p.judge(&delivery{}, webhook.Answer{Status: 500, RetryAfter: -1}, time.Now())
	if o.throttle < time.Second || o.throttle > 2*time.Second || o.delay != o.throttle {
		t.Errorf("throttled without Retry-After: %s: want the first delay of a retry", o.throttle)
	}
}

func TestStatusMistakes(t *testing.T) {
	for key, result := range map[string]string{
		"4x": "ack", "": "ack", "x": "ack", "600": "ack", "6xx": "ack", "099": "ack", "500-400": "ack", "400-": "ack", "-400": "ack",
		"4xx-5xx": "ack", "+42": "ack", "422": "", "500": "bury",
	} {
		_, err := newPolicy(Retry{Status: map[string]string{key: result}})
		if err == nil || !strings.Contains(err.Error(), "retry.status: \""+key+"\"") {
			t.Errorf("%q: %q: %v: want an error that names it", key, result, err)
		}
	}
	for _, keys := range [][2]string{{"400-410", "405-415"}, {"4xx", "400-499"}, {"404", "404-404"}} {
		if _, err := newPolicy(Retry{Status: map[string]string{keys[0]: "ack", keys[1]: "retry"}}); err == nil {
			t.Errorf("%q and %q are as exact as each other: want an error", keys[0], keys[1])
		}
	}
}

func TestRetryAfterRaisesTheDelay(t *testing.T) {
	p := testPolicy(t, Retry{MaxAttempts: 3, Min: time.Second, Max: time.Minute})
	for after, want := range map[time.Duration][2]time.Duration{
		-1: {time.Second, 2 * time.Second}, 0: {time.Second, 2 * time.Second},
		30 * time.Second: {30 * time.Second, 30 * time.Second}, time.Hour: {time.Minute, time.Minute},
	} {
		o := p.judge(&delivery{}, webhook.Answer{Status: 500, RetryAfter: after}, time.Now())
		if o.verdict != verdictRetry || o.delay < want[0] || o.delay > want[1] {
			t.Errorf("Retry-After %s: tried again in %s: want %s to %s", after, o.delay, want[0], want[1])
		}
	}
}

func TestMaxAge(t *testing.T) {
	p := testPolicy(t, Retry{MaxAttempts: 10, Min: time.Minute, Max: time.Minute, MaxAge: time.Hour})
	now := time.Unix(1e6, 0)
	for age, want := range map[time.Duration]string{58 * time.Minute: "", 59 * time.Minute: "", 59*time.Minute + 1: "max_age"} {
		d := &delivery{Task: tasks.Task{Since: now.Add(-age)}}
		failed := p.judge(d, webhook.Answer{Kind: webhook.KindConnection, Err: io.EOF, RetryAfter: -1}, now)
		slow := p.judge(d, webhook.Answer{Status: 429, RetryAfter: time.Minute}, now)
		excused := p.pardoned(outcome{d: d}, now)
		excused.delay = p.retry.Min
		for what, o := range map[string]outcome{"failed": failed, "throttled": slow, "pardoned": excused} {
			if o.bury != want || (o.verdict == verdictBury) != (want != "") {
				t.Errorf("%s at the age of %s: verdict %d, %q: want %q", what, age, o.verdict, o.bury, want)
			}
		}
	}
	d := &delivery{Task: tasks.Task{Since: now.Add(-24 * time.Hour)}}
	for name, a := range map[string]webhook.Answer{
		"delivered": {Status: 200}, "unreachable": {Kind: webhook.KindUnreachable, Err: io.EOF}, "not due": {Kind: webhook.KindNotDue, Err: io.EOF},
	} {
		if o := p.judge(d, a, now); o.verdict == verdictBury {
			t.Errorf("%s: buried, but no attempt has failed", name)
		}
	}
}

func TestAcceptedIsPending(t *testing.T) {
	p := testPolicy(t, Default().Retry)
	o := p.judge(&delivery{}, webhook.Answer{Status: 202, RetryAfter: -1, Lease: time.Minute}, time.Now())
	if o.verdict != verdictPend || o.lease != time.Minute || o.reach != reachYes {
		t.Errorf("%+v: want it pending for 1m", o)
	}
}

func TestTimesOfTasks(t *testing.T) {
	p := testPolicy(t, Default().Retry)
	o := p.judge(&delivery{}, webhook.Answer{Kind: webhook.KindNotDue, Err: errors.New("early"), Due: time.Hour}, time.Now())
	if late := o.delay - time.Hour; o.verdict != verdictGiveBack || late <= time.Millisecond || late > 10*time.Millisecond || o.attempt || o.reach != reachUnknown {
		t.Errorf("not due: %+v: want it given back for 1h and some ms", o)
	}
	o = p.judge(&delivery{}, webhook.Answer{Kind: webhook.KindExpired, Err: errors.New("late")}, time.Now())
	if o.verdict != verdictBury || o.bury != "expired" || o.attempt {
		t.Errorf("expired: %+v: want it buried", o)
	}
}

// Only what may be the application's fault is worth asking about.
func TestWhatReadinessMayExcuse(t *testing.T) {
	p := testPolicy(t, Retry{MaxAttempts: 2, Min: time.Second, Max: time.Second, Status: map[string]string{"501": "dead_letter"}})
	for name, c := range map[string]struct {
		a        webhook.Answer
		attempts int
		want     bool
	}{
		"200":           {webhook.Answer{Status: 200}, 0, false},
		"404":           {webhook.Answer{Status: 404, RetryAfter: -1}, 0, false},
		"500":           {webhook.Answer{Status: 500, RetryAfter: -1}, 0, true},
		"500 at last":   {webhook.Answer{Status: 500, RetryAfter: -1}, 1, true},
		"501":           {webhook.Answer{Status: 501, RetryAfter: -1}, 0, false},
		"503 throttled": {webhook.Answer{Status: 503, RetryAfter: 1}, 0, false},
		"timeout":       {webhook.Answer{Kind: webhook.KindTimeout, Err: os.ErrDeadlineExceeded, RetryAfter: -1}, 1, true},
		"connection":    {webhook.Answer{Kind: webhook.KindConnection, Err: io.EOF, RetryAfter: -1}, 0, false},
		"unreachable":   {webhook.Answer{Kind: webhook.KindUnreachable, Err: io.EOF, RetryAfter: -1}, 0, false},
		"stopped":       {webhook.Answer{Kind: webhook.KindStopped, Err: errAborted, RetryAfter: -1}, 0, false},
	} {
		o := p.judge(&delivery{Task: tasks.Task{Attempts: c.attempts}}, c.a, time.Now())
		if o.askable() != c.want {
			t.Errorf("%s: %+v: asked: %v", name, o, !c.want)
		}
		if c.want {
			o = p.pardoned(o, time.Now())
			if o.verdict != verdictGiveBack || o.attempt || o.bury != "" || o.kind != kindNotReady || o.delay <= 0 {
				t.Errorf("%s, excused: %+v: want it given back", name, o)
			}
		}
	}
}
