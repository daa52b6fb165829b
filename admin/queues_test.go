package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-proxy/pillion/admin"
)

// Of calls that hold payloads only so many are answered at once, and each gives its place
// back, also when it is cut off.
func TestCallsAboutDeadLettersAreBounded(t *testing.T) {
	d := &desk{hold: make(chan struct{}), held: make(chan struct{})}
	base := serveDesk(t, d)
	get := func(path string) int {
		req, _ := http.NewRequest("GET", base+"/queues/tasks/dead"+path, nil)
		req.Header.Set("Authorization", "Bearer t0ken")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	const most = 8
	codes := make(chan int, most)
	for range most {
		go func() { codes <- get("/export?id=hold") }()
		<-d.held
	}
	if code := get("/export"); code != http.StatusServiceUnavailable {
		t.Errorf("one too many: %d", code)
	}
	close(d.hold)
	for range most {
		if code := <-codes; code != http.StatusOK {
			t.Errorf("one that was held: %d", code)
		}
	}
	for range 2 * most {
		get("/export?reason=late") // is cut off
	}
	if code := get("/export"); code != http.StatusOK {
		t.Errorf("afterwards: %d", code)
	}
}

// desk is Queues with one queue, "tasks"; it notes what it is asked.
type desk struct {
	last  string
	fail  error
	swept admin.Swept
	// held is told of each export of the task "hold", which waits for hold.
	hold, held chan struct{}
}

func (d *desk) note(format string, args ...any) error {
	d.last = fmt.Sprintf(format, args...)
	return d.fail
}

func (d *desk) HasQueue(name string) bool { return name == "tasks" }
func (d *desk) Queues(context.Context) []admin.Queue {
	return []admin.Queue{{Name: "tasks", Depth: &admin.QueueDepth{Dead: 7}, Config: admin.QueueConfig{Webhook: "http://h/s3cret"}}}
}

// Now is another time than this machine's.
func (d *desk) Now(context.Context, string) time.Time {
	return time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
}

func (d *desk) Pause(_ context.Context, q string) error  { return d.note("pause %s", q) }
func (d *desk) Resume(_ context.Context, q string) error { return d.note("resume %s", q) }
func (d *desk) Resolve(_ context.Context, r admin.Resolution) error {
	_ = d.note("%s %s %s %s %s %s", r.Action, r.Queue, r.ID, r.Token, r.After, r.Detail)
	if r.Token == "stale" {
		return &admin.TaskProblem{Status: http.StatusConflict, Detail: "the lease has ended"}
	}
	return d.fail
}

func (d *desk) CheckEntry(e string) error {
	if !strings.Contains(e, "-") {
		return fmt.Errorf("%q is no entry", e)
	}
	return nil
}

func show(f admin.DeadFilter) string {
	out := ""
	for _, p := range [][2]string{{"reason", f.Reason}, {"id", f.ID}, {"type", f.Type}, {"contains", f.Contains}, {"after", f.After}, {"before", f.Before}} {
		if p[1] != "" {
			out += " " + p[0] + "=" + p[1]
		}
	}
	if !f.Since.IsZero() {
		out += " since=" + f.Since.Format(time.RFC3339)
	}
	if !f.Until.IsZero() {
		out += " until"
	}
	return out
}

func (d *desk) DeadLetters(_ context.Context, q string, f admin.DeadFilter, newest bool, limit int) ([]admin.DeadLetter, string, error) {
	return []admin.DeadLetter{}, "5-5", d.note("list %s newest=%t limit=%d%s", q, newest, limit, show(f))
}

func (d *desk) DeadLetter(_ context.Context, q, entry string) (admin.DeadLetter, bool, error) {
	return admin.DeadLetter{Entry: entry}, entry == "1-1", d.note("show %s %s", q, entry)
}

func (d *desk) EachDead(_ context.Context, q string, f admin.DeadFilter, visit func(admin.DeadLetter) error) error {
	if f.ID == "hold" {
		d.held <- struct{}{}
		<-d.hold
		return nil
	}
	for i := range 3 {
		if i == 2 && f.Reason == "late" {
			return errors.New("redis went away")
		}
		one := admin.DeadLetter{Entry: fmt.Sprintf("%d-1", i)}
		one.SetPayload("<\xc3", i == 1)
		if err := visit(one); err != nil {
			return err
		}
	}
	return d.note("export %s%s", q, show(f))
}

func (d *desk) ReplayDead(_ context.Context, q string, entries []string, f admin.DeadFilter) (admin.Swept, error) {
	return d.swept, d.note("replay %s %v%s", q, entries, show(f))
}

func (d *desk) DeleteDead(_ context.Context, q string, entries []string, f admin.DeadFilter) (admin.Swept, error) {
	if len(entries) > 0 && entries[0] == "9-9" {
		return admin.Swept{Done: true}, nil
	}
	return d.swept, d.note("delete %s %v%s", q, entries, show(f))
}

func serveDesk(t *testing.T, d *desk) string {
	t.Helper()
	s := admin.New(admin.Config{Token: "t0ken"}, admin.Deps{Metrics: prometheus.NewRegistry(), Queues: d})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Shutdown(context.Background())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String()
}

func TestQueues(t *testing.T) {
	d := &desk{swept: admin.Swept{Changed: 3, Done: true}}
	base := serveDesk(t, d)
	const auth, lease = "Authorization: Bearer t0ken", "Pillion-Lease-Token: tok"
	for _, c := range []struct {
		method, path, body, header string
		status                     int
		want, call                 string
	}{
		{"GET", "/queues", "", "", 200, `"dead":7`, ""},
		{"GET", "/queues", "", auth, 200, "s3cret", ""},
		{"GET", "/queues/tasks", "", "", 200, `"name":"tasks"`, ""},
		{"GET", "/queues/tasks", "", auth, 200, "s3cret", ""},
		{"GET", "/queues/other", "", "", 404, "no queue", ""},
		{"POST", "/queues/tasks/pause", "", auth, 200, `"paused":true`, "pause tasks"},
		{"POST", "/queues/tasks/resume", "", auth, 200, `"paused":false`, "resume tasks"},
		{"POST", "/queues/other/pause", "", auth, 404, "no queue", ""},
		{"POST", "/queues/tasks/pause", "", "", 401, "bearer", ""},
		{"GET", "/queues/tasks/dead", "", "", 401, "bearer", ""},
		{"GET", "/queues/tasks/dead", "", lease, 401, "bearer", ""},
		{"GET", "/queues/tasks/dead", "", auth, 200, `"next":"5-5"`, "list tasks newest=true limit=100"},
		{"GET", "/queues/tasks/dead?order=oldest&limit=5&reason=a&id=b&type=c&contains=d%20e&after=1-1&before=2-2&since=2026-01-02T03:04:05Z&until=1h", "", auth, 200, "",
			"list tasks newest=false limit=5 reason=a id=b type=c contains=d e after=1-1 before=2-2 since=2026-01-02T03:04:05Z until"},
		{"GET", "/queues/tasks/dead?since=24h", "", auth, 200, "", "list tasks newest=true limit=100 since=2029-12-31T12:00:00Z"},
		{"POST", "/queues/tasks/dead/replay", `{"since":"1h"}`, auth, 200, "", "replay tasks [] since=2030-01-01T11:00:00Z"},
		{"GET", "/queues/tasks/dead?limit=0", "", auth, 400, "1 to 1000", ""},
		{"GET", "/queues/tasks/dead?order=up", "", auth, 400, "oldest", ""},
		{"GET", "/queues/tasks/dead?after=1", "", auth, 400, "after", ""},
		{"GET", "/queues/tasks/dead?since=soon", "", auth, 400, "RFC 3339", ""},
		{"GET", "/queues/tasks/dead?reason=a&reason=b", "", auth, 400, "twice", ""},
		{"GET", "/queues/tasks/dead?reason=", "", auth, 400, "without a value", ""},
		{"GET", "/queues/tasks/dead?all=true", "", auth, 400, "does not know", ""},
		{"GET", "/queues/tasks/dead?x=%zz", "", auth, 400, "malformed", ""},
		{"GET", "/queues/tasks/dead/1-1", "", auth, 200, `"entry":"1-1"`, "show tasks 1-1"},
		{"GET", "/queues/tasks/dead/2-1", "", auth, 404, "no dead letter", "show tasks 2-1"},
		{"GET", "/queues/tasks/dead/x", "", auth, 400, "no entry", ""},
		{"GET", "/queues/tasks/dead/export?type=c", "", auth, 200, "{\"entry\":\"2-1\"", "export tasks type=c"},
		{"GET", "/queues/tasks/dead/export", "", "", 401, "bearer", ""},
		{"GET", "/queues/tasks/dead/export?limit=1", "", auth, 400, "does not know", ""},
		{"POST", "/queues/tasks/dead/replay", `{"entries":["1-1","2-1"]}`, auth, 200, `"replayed":3`, "replay tasks [1-1 2-1]"},
		{"POST", "/queues/tasks/dead/replay", `{"all":true,"after":"1-1","before":"2-1"}`, auth, 200, `"done":true`, "replay tasks [] after=1-1 before=2-1"},
		{"POST", "/queues/tasks/dead/replay", `{"reason":"gone"}`, auth, 200, "", "replay tasks [] reason=gone"},
		{"POST", "/queues/tasks/dead/replay", `{}`, auth, 400, "Say which", ""},
		{"POST", "/queues/tasks/dead/replay", ``, auth, 400, "Say which", ""},
		{"POST", "/queues/tasks/dead/replay", `{"all":true,"reason":"gone"}`, auth, 400, "one of", ""},
		{"POST", "/queues/tasks/dead/replay", `{"entries":["1-1"],"all":true}`, auth, 400, "one of", ""},
		{"POST", "/queues/tasks/dead/replay", `{"entries":["x"]}`, auth, 400, "no entry", ""},
		{"POST", "/queues/tasks/dead/replay", `{"resaon":"gone"}`, auth, 400, "resaon", ""},
		{"POST", "/queues/tasks/dead/replay", `{"all":true}{}`, auth, 400, "follows", ""},
		{"POST", "/queues/tasks/dead/replay", `{"reason":"` + strings.Repeat("x", 70_000) + `"}`, auth, 400, "too large", ""},
		{"POST", "/queues/tasks/dead/replay", `{"all":true}`, "", 401, "bearer", ""},
		{"DELETE", "/queues/tasks/dead/1-1", "", auth, 200, `"deleted":3`, "delete tasks [1-1]"},
		{"DELETE", "/queues/tasks/dead/9-9", "", auth, 404, "no dead letter", ""},
		{"DELETE", "/queues/tasks/dead", "", auth, 400, "Say which", ""},
		{"DELETE", "/queues/tasks/dead?all=yes", "", auth, 400, "all=true", ""},
		{"DELETE", "/queues/tasks/dead?all=true", "", auth, 200, "", "delete tasks []"},
		{"DELETE", "/queues/tasks/dead?all=true&type=x", "", auth, 400, "one of", ""},
		{"DELETE", "/queues/tasks/dead?type=x", "", auth, 200, "", "delete tasks [] type=x"},
		{"DELETE", "/queues/tasks/dead?all=true", "", "", 401, "bearer", ""},
		{"POST", "/queues/tasks/tasks/id-1/ack", "", "", 401, "Lease-Token", ""},
		{"POST", "/queues/tasks/tasks/id-1/ack", "", lease, 200, `"done":true`, "ack tasks id-1 tok 0s "},
		{"POST", "/queues/tasks/tasks/id-1/ack", "", auth, 200, `"done":true`, "ack tasks id-1  0s "},
		{"POST", "/queues/tasks/tasks/id-1/ack", "", "Pillion-Lease-Token: stale", 409, "ended", "ack tasks id-1 stale 0s "},
		{"POST", "/queues/tasks/tasks/id-1/extend", `{"after":"90s"}`, lease, 200, "", "extend tasks id-1 tok 1m30s "},
		{"POST", "/queues/tasks/tasks/id-1/extend", ``, lease, 400, "needs", ""},
		{"POST", "/queues/tasks/tasks/id-1/extend", `{"after":"-1s"}`, lease, 400, "720h", ""},
		{"POST", "/queues/tasks/tasks/id-1/extend", `{"after":"721h"}`, lease, 400, "720h", ""},
		{"POST", "/queues/tasks/tasks/id-1/retry", `{"after":"5m"}`, lease, 200, "", "retry tasks id-1 tok 5m0s "},
		{"POST", "/queues/tasks/tasks/id-1/release", ``, lease, 200, "", "release tasks id-1 tok 0s "},
		{"POST", "/queues/tasks/tasks/id-1/release", `{"detail":"x"}`, lease, 400, "no", ""},
		{"POST", "/queues/tasks/tasks/id-1/dead-letter", `{"detail":"bad"}`, lease, 200, "", "dead-letter tasks id-1 tok 0s bad"},
		{"POST", "/queues/tasks/tasks/id-1/bury", ``, lease, 400, "dead-letter", ""},
		{"POST", "/queues/tasks/tasks/a%7Cb/ack", ``, lease, 400, "webhook-id", ""},
		{"POST", "/queues/tasks/tasks/" + strings.Repeat("x", 300) + "/ack", ``, lease, 400, "webhook-id", ""},
		{"POST", "/queues/tasks/tasks/id-1/ack", `[]`, lease, 400, "body", ""},
		{"POST", "/queues/other/tasks/id-1/ack", "", lease, 404, "no queue", ""},
	} {
		d.last = ""
		name, value, _ := strings.Cut(c.header, ": ")
		var header []string
		if name != "" {
			header = []string{name, value}
		}
		status, body := call(t, c.method, base+c.path, c.body, header...)
		if c.header == "" && strings.Contains(body, "s3cret") {
			t.Errorf("%s shows a webhook's path to anybody: %s", c.path, body)
		}
		if status != c.status || !strings.Contains(body, c.want) || d.last != c.call {
			t.Errorf("%s %s %.60s: %d %s, call %q: want %d with %q, call %q", c.method, c.path, c.body, status, body, d.last, c.status, c.want, c.call)
		}
	}
}

func TestQueuesWhileRedisIsDown(t *testing.T) {
	d := &desk{fail: errors.New("redis gave no answer")}
	base := serveDesk(t, d)
	for _, c := range [][2]string{
		{"POST", "/queues/tasks/pause"}, {"GET", "/queues/tasks/dead"}, {"GET", "/queues/tasks/dead/1-1"},
		{"DELETE", "/queues/tasks/dead?all=true"}, {"POST", "/queues/tasks/tasks/x/ack"},
	} {
		if status, body := call(t, c[0], base+c[1], "", "Authorization", "Bearer t0ken"); status != 503 || !strings.Contains(body, "no answer") {
			t.Errorf("%s %s: %d %s", c[0], c[1], status, body)
		}
	}
	d.fail = nil
	d.swept = admin.Swept{Changed: 2, After: "4-4", Before: "9-9"}
	if _, body := call(t, "DELETE", base+"/queues/tasks/dead?all=true", "", "Authorization", "Bearer t0ken"); body != `{"after":"4-4","before":"9-9","deleted":2,"done":false}`+"\n" {
		t.Errorf("a part: %s", body)
	}
}

// An export that cannot be ended is cut, not closed as if it were whole.
func TestExportThatBreaks(t *testing.T) {
	base := serveDesk(t, &desk{})
	req, _ := http.NewRequest("GET", base+"/queues/tasks/dead/export?reason=late", nil)
	req.Header.Set("Authorization", "Bearer t0ken")
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		defer resp.Body.Close()
		buf := make([]byte, 1<<16)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if err.Error() == "EOF" {
			t.Error("it looks whole")
		}
	}
}

func TestSetPayload(t *testing.T) {
	for _, c := range []struct {
		in        string
		truncated bool
		text, raw string
	}{
		{"", false, "", ""}, {"é", false, "é", ""}, {"aé\xc3", true, "aé", ""}, {"aé\xc3", false, "", "aé\xc3"},
		{"\xf0\x9f\x98", true, "", "\xf0\x9f\x98"}, {"a\xf0\x9f\x98", true, "a", ""}, {"\xffabcdef", true, "", "\xffabcdef"},
	} {
		var d admin.DeadLetter
		d.SetPayload(c.in, c.truncated)
		text := ""
		if d.Payload != nil {
			text = *d.Payload
		}
		if text != c.text || string(d.PayloadBase64) != c.raw || d.Truncated != c.truncated {
			t.Errorf("%q: %q, %q", c.in, text, d.PayloadBase64)
		}
	}
}
