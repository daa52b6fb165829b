package queueagent

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

func TestJudge(t *testing.T) {
	r := Retry{MaxAttempts: 3, Min: time.Second, Max: time.Minute}
	p, err := newPolicy(r)
	if err != nil {
		t.Fatal(err)
	}
	type want struct {
		v       verdict
		attempt bool
		reach   reach
	}
	retry, ack, bury := want{verdictRetry, true, reachYes}, want{verdictAck, true, reachYes}, want{verdictBury, true, reachYes}
	back, free := want{verdictGiveBack, false, reachYes}, want{verdictGiveBack, false, reachUnknown}
	for name, c := range map[string]struct {
		answer   webhook.Answer
		attempts int
		want     want
	}{
		"200":               {webhook.Answer{Status: 200, RetryAfter: -1}, 0, ack},
		"202":               {webhook.Answer{Status: 202, RetryAfter: -1}, 0, ack},
		"204 last attempt":  {webhook.Answer{Status: 204, RetryAfter: -1}, 2, ack},
		"101":               {webhook.Answer{Status: 101, RetryAfter: -1}, 0, retry},
		"301":               {webhook.Answer{Status: 301, RetryAfter: -1}, 0, retry},
		"304":               {webhook.Answer{Status: 304, RetryAfter: -1}, 0, retry},
		"400":               {webhook.Answer{Status: 400, RetryAfter: -1}, 0, retry},
		"404":               {webhook.Answer{Status: 404, RetryAfter: -1}, 1, retry},
		"408":               {webhook.Answer{Status: 408, RetryAfter: -1}, 0, retry},
		"410":               {webhook.Answer{Status: 410, RetryAfter: -1}, 0, bury},
		"425":               {webhook.Answer{Status: 425, RetryAfter: -1}, 0, retry},
		"429":               {webhook.Answer{Status: 429, RetryAfter: -1}, 0, retry},
		"429 after":         {webhook.Answer{Status: 429, RetryAfter: time.Second}, 2, back},
		"500":               {webhook.Answer{Status: 500, RetryAfter: -1}, 0, retry},
		"500 after":         {webhook.Answer{Status: 500, RetryAfter: time.Second}, 0, retry},
		"500 last attempt":  {webhook.Answer{Status: 500, RetryAfter: -1}, 2, bury},
		"503":               {webhook.Answer{Status: 503, RetryAfter: -1}, 0, retry},
		"503 after":         {webhook.Answer{Status: 503, RetryAfter: time.Second}, 2, back},
		"rejected":          {webhook.Answer{Status: 422, RetryAfter: -1, Result: webhook.ResultDeadLetter}, 0, bury},
		"timeout":           {webhook.Answer{Kind: webhook.KindTimeout, Err: os.ErrDeadlineExceeded}, 0, retry},
		"reset":             {webhook.Answer{Kind: webhook.KindConnection, Err: io.ErrUnexpectedEOF}, 0, retry},
		"reset, last":       {webhook.Answer{Kind: webhook.KindConnection, Err: io.ErrUnexpectedEOF}, 2, bury},
		"refused":           {webhook.Answer{Kind: webhook.KindUnreachable, Err: errors.New("refused")}, 2, want{verdictGiveBack, false, reachNo}},
		"shutdown":          {webhook.Answer{Kind: webhook.KindStopped, Err: errAborted}, 2, free},
		"lease not renewed": {webhook.Answer{Kind: webhook.KindStopped, Err: errLeaseOver}, 2, free},
		"bad payload":       {webhook.Answer{Kind: webhook.KindBadPayload, Err: errors.New("no type")}, 0, want{verdictBury, false, reachUnknown}},
		"lease lost":        {webhook.Answer{Kind: webhook.KindStopped, Err: errLeaseLost}, 0, want{verdictDrop, false, reachUnknown}},
	} {
		d := &delivery{Task: tasks.Task{Attempts: c.attempts}}
		o := p.judge(d, c.answer, time.Now())
		if got := (want{o.verdict, o.attempt, o.reach}); got != c.want {
			t.Errorf("%s: %+v: want %+v", name, got, c.want)
		}
		if o.d != d || o.verdict != verdictAck && o.kind == "" || o.verdict == verdictBury && o.bury == "" {
			t.Errorf("%s: incomplete: %+v", name, o)
		}
		if o.verdict == verdictRetry && (o.delay < r.Min || o.delay > r.Max) {
			t.Errorf("%s: tried again in %s", name, o.delay)
		}
	}
}

func TestThrottleIsBounded(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{0: minThrottle, time.Minute: time.Minute, time.Hour: maxThrottle} {
		p, err := newPolicy(Default().Retry)
		if err != nil {
			t.Fatal(err)
		}
		o := p.judge(&delivery{}, webhook.Answer{Status: 503, RetryAfter: in}, time.Now())
		if o.throttle != want || o.delay != want {
			t.Errorf("Retry-After %s: queue waits %s, task %s: want %s", in, o.throttle, o.delay, want)
		}
	}
}

func TestBreaker(t *testing.T) {
	g := newGate(false)
	now := time.Unix(1000, 0)
	n, first, _ := g.permit(now)
	if n != tasks.MaxBatch {
		t.Fatalf("closed: permits %d", n)
	}
	if !g.report(first, reachNo, now) || !g.isOpen() {
		t.Fatal("a refused connection does not open it")
	}
	for range 16 { // others of the same time
		if g.report(first, reachNo, now) || g.interval != breakerMin {
			t.Fatalf("an old report changes the interval to %s", g.interval)
		}
	}
	if g.report(first, reachYes, now); !g.isOpen() {
		t.Fatal("an old answer closes it")
	}
	for _, want := range []time.Duration{200, 400, 800, 1600, 3200, 5000, 5000} {
		_, _, at := g.permit(now)
		if d := at.Sub(now); d < g.interval*8/10 || d > g.interval {
			t.Errorf("probe in %s: want just below %s", d, g.interval)
		}
		now = at
		n, gen, _ := g.permit(now)
		if n != 1 {
			t.Fatalf("probe permits %d", n)
		}
		if n, _, at := g.permit(now); n != 0 || !at.IsZero() {
			t.Errorf("a second probe: %d, %s", n, at)
		}
		if g.report(gen, reachNo, now); g.interval != want*time.Millisecond {
			t.Errorf("interval %s: want %dms", g.interval, want)
		}
	}
	now = now.Add(breakerMax)
	_, gen, _ := g.permit(now)
	g.unused(gen)
	n, gen, _ = g.permit(now)
	if n != 1 {
		t.Error("a probe without a task is not given back")
	}
	if !g.report(gen, reachYes, now) || g.isOpen() {
		t.Error("an answer does not close it")
	}
	if n, _, _ := g.permit(now); n != tasks.MaxBatch {
		t.Errorf("closed again: permits %d", n)
	}
}

func TestThrottleClosesTheGate(t *testing.T) {
	g := newGate(false)
	now := time.Unix(1000, 0)
	g.throttle(now.Add(time.Minute))
	g.throttle(now.Add(time.Second)) // a shorter one does not cut it
	if n, _, at := g.permit(now); n != 0 || at != now.Add(time.Minute) {
		t.Errorf("permits %d until %s", n, at)
	}
	if n, _, _ := g.permit(now.Add(time.Minute)); n == 0 {
		t.Error("closed for ever")
	}
}
