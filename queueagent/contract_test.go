package queueagent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// An envelope as Celery's producers write it: its own type, body and time.
func TestEnvelopesOfOthers(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	cfg := testConfig("q", tasks.List, "l", s.url+"/{type}")
	cfg.Task = Task{Type: "headers.task", Body: "body", Encoding: "base64", Due: "headers.eta", Expires: "headers.expires"}
	a := r.run([]Config{cfg})
	const payload = `{"body":"W1sxXSx7fV0=","headers":{"task":"app.add","eta":%q,"expires":%s}}`
	due := time.Now().Add(300 * time.Millisecond)
	r.do("RPUSH", "l", fmt.Sprintf(payload, due.UTC().Format("2006-01-02T15:04:05.999999"), "null"), fmt.Sprintf(payload, "", "1"), `{"headers":{"task":"x"}}`)
	eventually(t, "delivered", func() bool { st := a.Stats()[0]; return st.Delivered == 1 && st.DeadLettered == 2 && st.InFlight == 0 })
	posts := s.seen()
	if len(posts) != 1 || posts[0].path != "/app.add" || posts[0].body != "[[1],{}]" {
		t.Fatalf("%+v: want one delivery", posts)
	}
	// Less the rounding of the clock of Redis, which has milliseconds.
	if early := due.Sub(posts[0].at); early > 0 {
		t.Errorf("delivered %s too early", early)
	}
	if p := posts[0].header; p["Pillion-Attempt"] != "1" || p["Pillion-Reason"] != "first" || p["ce-time"] == "" {
		t.Errorf("attempt %s, %s, first seen %q: want 1, first", p["Pillion-Attempt"], p["Pillion-Reason"], p["ce-time"])
	}
	dead := r.dead(a.queues[0].store)
	if dead["expired"] == "" || !strings.Contains(dead["bad_payload"], `"body", which task.body`) {
		t.Errorf("dead letters %q: want one expired and one bad_payload that names its field", dead)
	}
	if st := a.Stats()[0]; st.Failed != 0 {
		t.Errorf("%+v: want no failed attempt", st)
	}
	r.wantEmpty(a.queues[0].store)
}

// A record that somebody else wrote must not hold up the queue.
func TestARecordThatCannotBeRead(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	cfg := testConfig("q", tasks.List, "l", s.url)
	const whole = "not what pillion writes\x00\xff"
	keys := tasks.NewKeys("t:", "q", "l", "")
	r.do("HSET", keys.Records, "x", whole, "y", "f 0 0 1700000000000\nlate")
	r.do("ZADD", keys.Retry, "1", "x", "2", "y")
	r.do("RPUSH", "l", "fresh")
	a := r.run([]Config{cfg})
	eventually(t, "all are gone", func() bool { st := a.Stats()[0]; return st.Delivered == 2 && st.DeadLettered == 1 && st.InFlight == 0 })
	entries, err := r.do("XRANGE", keys.Dead, "-", "+").AsXRange()
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	if f := entries[0].FieldValues; f["payload"] != whole || f["reason"] != "damaged" || f["id"] != "x" || f["attempts"] != "0" || f["detail"] == "" {
		t.Errorf("the dead letter is %q", f)
	}
	r.wantEmpty(a.queues[0].store)
}

// dead gives the details of the dead letters, by reason.
func (r *rig) dead(s *tasks.Store) map[string]string {
	r.tb.Helper()
	entries, err := r.do("XRANGE", s.Keys.Dead, "-", "+").AsXRange()
	if err != nil {
		r.tb.Fatal(err)
	}
	out := make(map[string]string)
	for _, e := range entries {
		out[e.FieldValues["reason"]] = e.FieldValues["detail"]
	}
	return out
}

// 202 with a lease: the task stays out of the way, and without an acknowledgement it
// comes again when the lease is over.
func TestPendingTaskComesAgain(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	s.answer = func(ctx *fasthttp.RequestCtx) {
		if len(s.seen()) == 1 {
			ctx.Response.Header.Set("Pillion-Lease", "1s")
			ctx.SetStatusCode(202)
		}
	}
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url)})
	r.do("RPUSH", "l", "1")
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	posts := s.seen()
	if len(posts) != 2 || posts[0].header["webhook-id"] != posts[1].header["webhook-id"] {
		t.Fatalf("%d posts: want 2 of one task", len(posts))
	}
	if gap := posts[1].at.Sub(posts[0].at); gap < 900*time.Millisecond {
		t.Errorf("it came again after %s: want 1s", gap)
	}
	if st := a.Stats()[0]; st.Failed != 1 || st.LastError != kindUnacknowledged {
		t.Errorf("%+v: want one failed attempt", st)
	}
}

// lines collects log lines.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestLogOfAFailedAttempt(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(500)
		ctx.SetBodyString("\x1b[31m" + strings.Repeat("x", 1000))
	})
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Retry.MaxAttempts = 2
	out := &lines{}
	a, err := New([]Config{cfg}, r.redis, "t:", "agent-1", zerolog.New(out))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(context.Background()) }()
	r.do("RPUSH", "l", "1")
	eventually(t, "the task ends", func() bool { return a.Stats()[0].DeadLettered == 1 })
	if err := a.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	<-ended
	id := s.seen()[0].header["webhook-id"]
	for _, line := range strings.Split(strings.TrimSpace(out.all()), "\n") {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		excerpt, _ := got["excerpt"].(string)
		if got["id"] != id || got["kind"] != "status_500" || got["status"] != 500.0 || got["queue"] != "q" || got["duration_ms"].(float64) <= 0 ||
			!strings.HasPrefix(excerpt, `\x1b[31mxxx`) || len(excerpt) > 300 {
			t.Errorf("logged %s", line)
		}
		switch got["attempt"] {
		case 1.0:
			if _, err := time.Parse(time.RFC3339, got["next"].(string)); err != nil {
				t.Error(err)
			}
		case 2.0:
			if got["reason"] != "max_attempts" {
				t.Errorf("logged %s", line)
			}
		default:
			t.Errorf("logged %s", line)
		}
	}
	if n := strings.Count(out.all(), "\n"); n != 2 {
		t.Errorf("%d lines: want one for each attempt", n)
	}
}
