package queueagent

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

func TestJudge(t *testing.T) {
	r := Retry{MaxAttempts: 3, Min: time.Second, Max: time.Minute}
	type want struct {
		v       verdict
		attempt bool
		reach   reach
	}
	retry, ack, bury := want{verdictRetry, true, reachYes}, want{verdictAck, true, reachYes}, want{verdictBury, true, reachYes}
	back, free := want{verdictGiveBack, false, reachYes}, want{verdictGiveBack, false, reachUnknown}
	for name, c := range map[string]struct {
		answer   answer
		attempts int
		want     want
	}{
		"200":               {answer{status: 200, retryAfter: -1}, 0, ack},
		"202":               {answer{status: 202, retryAfter: -1}, 0, ack},
		"204 last attempt":  {answer{status: 204, retryAfter: -1}, 2, ack},
		"101":               {answer{status: 101, retryAfter: -1}, 0, retry},
		"301":               {answer{status: 301, retryAfter: -1}, 0, retry},
		"304":               {answer{status: 304, retryAfter: -1}, 0, retry},
		"400":               {answer{status: 400, retryAfter: -1}, 0, retry},
		"404":               {answer{status: 404, retryAfter: -1}, 1, retry},
		"408":               {answer{status: 408, retryAfter: -1}, 0, retry},
		"410":               {answer{status: 410, retryAfter: -1}, 0, bury},
		"425":               {answer{status: 425, retryAfter: -1}, 0, retry},
		"429":               {answer{status: 429, retryAfter: -1}, 0, retry},
		"429 after":         {answer{status: 429, retryAfter: time.Second}, 2, back},
		"500":               {answer{status: 500, retryAfter: -1}, 0, retry},
		"500 after":         {answer{status: 500, retryAfter: time.Second}, 0, retry},
		"500 last attempt":  {answer{status: 500, retryAfter: -1}, 2, bury},
		"503":               {answer{status: 503, retryAfter: -1}, 0, retry},
		"503 after":         {answer{status: 503, retryAfter: time.Second}, 2, back},
		"rejected":          {answer{status: 422, retryAfter: -1, bury: true}, 0, bury},
		"timeout":           {answer{err: noAnswerError{os.ErrDeadlineExceeded}}, 0, retry},
		"reset":             {answer{err: io.ErrUnexpectedEOF}, 0, retry},
		"reset, last":       {answer{err: io.ErrUnexpectedEOF}, 2, bury},
		"refused":           {answer{err: dialError{errors.New("refused")}}, 2, want{verdictGiveBack, false, reachNo}},
		"shutdown":          {answer{err: errAborted}, 2, free},
		"lease not renewed": {answer{err: errLeaseOver}, 2, free},
		"lease lost":        {answer{err: errLeaseLost}, 0, want{verdictDrop, false, reachUnknown}},
	} {
		d := &delivery{Task: tasks.Task{Attempts: c.attempts}}
		o := judge(d, r, c.answer)
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
		o := judge(&delivery{}, Default().Retry, answer{status: 503, retryAfter: in})
		if o.throttle != want || o.delay != want {
			t.Errorf("Retry-After %s: queue waits %s, task %s: want %s", in, o.throttle, o.delay, want)
		}
	}
}

func TestBreaker(t *testing.T) {
	g := newGate()
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
	g := newGate()
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
