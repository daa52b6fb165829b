package admin_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-proxy/pillion/admin"
)

// tasks is an Enqueuer with a queue "q" of tasks up to 1 MiB.
type tasks struct {
	mu   sync.Mutex
	last admin.NewTask
	hold chan struct{} // nil, or closed when calls may go on
}

func (q *tasks) MaxPayload(queue string) (int64, bool) { return 1 << 20, queue == "q" }

// Now is an hour ahead of this machine.
func (q *tasks) Now(context.Context, string) time.Time { return time.Now().Add(time.Hour) }

func (q *tasks) Enqueue(_ context.Context, _ string, t admin.NewTask) (bool, error) {
	if q.hold != nil {
		<-q.hold
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = t
	switch t.Payload {
	case "down":
		return false, &admin.TaskProblem{Status: 503, Detail: "redis is down"}
	case "bad":
		return false, &admin.TaskProblem{Status: 400, Detail: "the task is bad"}
	case "broken":
		return false, errors.New("what was that")
	}
	return t.Dedup == "seen", nil
}

func serveTasks(t *testing.T, q *tasks, token string) string {
	t.Helper()
	s := admin.New(admin.Config{Token: token}, admin.Deps{Metrics: prometheus.NewRegistry(), Enqueuer: q})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Shutdown(context.Background()); <-done })
	return "http://" + ln.Addr().String()
}

func TestEnqueue(t *testing.T) {
	q := &tasks{}
	base := serveTasks(t, q, "t0ken")
	soon := time.Now().Add(2 * time.Hour) // in one hour, by the clock of the queues
	big := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name, path, body, key string
		status                int
		want                  string
		task                  *admin.NewTask // Delay: within 5s
	}{
		{"plain", "/queues/q/tasks", "\x00\xff\r\n", "", 202, `{"queued":true}`, &admin.NewTask{Payload: "\x00\xff\r\n"}},
		{"as large as may be", "/queues/q/tasks", big, "", 202, "queued", &admin.NewTask{Payload: big}},
		{"too large", "/queues/q/tasks", big + "x", "", 413, "max_payload", nil},
		{"no queue", "/queues/none/tasks", "x", "", 404, `no queue`, nil},
		{"all options", "/queues/q/tasks?delay=30s&dedup=a%2Fb&dedup_for=2h", "x", "", 202, "true", &admin.NewTask{Payload: "x", Delay: 30 * time.Second, Dedup: "a/b", DedupFor: 2 * time.Hour}},
		{"a time", "/queues/q/tasks?at=" + soon.UTC().Format(time.RFC3339), "x", "", 202, "true", &admin.NewTask{Payload: "x", Delay: time.Hour}},
		{"a Unix time", fmt.Sprintf("/queues/q/tasks?at=%d.5", soon.Unix()), "x", "", 202, "true", &admin.NewTask{Payload: "x", Delay: time.Hour}},
		{"a time that is over", "/queues/q/tasks?at=2020-01-01T00:00:00+02:00", "x", "", 202, "true", &admin.NewTask{Payload: "x"}},
		{"duplicate", "/queues/q/tasks?dedup=seen", "x", "", 200, `"duplicate":true,"queued":false`, &admin.NewTask{Payload: "x", Dedup: "seen"}},
		{"idempotency key", "/queues/q/tasks", "x", "seen", 200, `"duplicate":true`, &admin.NewTask{Payload: "x", Dedup: "seen"}},
		{"quoted", "/queues/q/tasks", "x", `"a\"b"`, 202, "true", &admin.NewTask{Payload: "x", Dedup: `a"b`}},
		{"the same key twice", "/queues/q/tasks?dedup=k", "x", `k`, 202, "true", &admin.NewTask{Payload: "x", Dedup: "k"}},
		{"two keys", "/queues/q/tasks?dedup=k", "x", `l`, 400, "two keys", nil},
		{"no key", "/queues/q/tasks", "x", `""`, 400, "empty", nil},
		{"delay and time", "/queues/q/tasks?delay=1s&at=1", "x", "", 400, "give one", nil},
		{"no duration", "/queues/q/tasks?delay=30", "x", "", 400, `delay \"30\"`, nil},
		{"negative", "/queues/q/tasks?delay=-1s", "x", "", 400, "30s", nil},
		{"no time", "/queues/q/tasks?at=tomorrow", "x", "", 400, "RFC 3339", nil},
		{"no number", "/queues/q/tasks?at=NaN", "x", "", 400, "RFC 3339", nil},
		{"no lifetime", "/queues/q/tasks?dedup=a&dedup_for=0s", "x", "", 400, "dedup_for", nil},
		{"misspelt", "/queues/q/tasks?dely=1s", "x", "", 400, "dely", nil},
		{"twice", "/queues/q/tasks?delay=1s&delay=2s", "x", "", 400, "twice", nil},
		{"no value", "/queues/q/tasks?dedup=", "x", "", 400, "without a value", nil},
		{"malformed query", "/queues/q/tasks?dedup=%zz", "x", "", 400, "percent-encode", nil},
		{"refused", "/queues/q/tasks", "bad", "", 400, "the task is bad", nil},
		{"Redis is down", "/queues/q/tasks", "down", "", 503, "redis is down", nil},
		{"not known", "/queues/q/tasks", "broken", "", 503, "not known", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.key != "" {
				header = append(header, "Idempotency-Key", c.key)
			}
			if status, body := call(t, "POST", base+c.path, c.body, header...); status != 401 {
				t.Errorf("without the token: %d %s", status, body)
			}
			q.last = admin.NewTask{}
			status, body := call(t, "POST", base+c.path, c.body, append(header, "Authorization", "Bearer t0ken")...)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Fatalf("%d %s, want %d with %s", status, body, c.status, c.want)
			}
			if c.task == nil {
				return
			}
			got := q.last
			if off := got.Delay - c.task.Delay; off.Abs() > 5*time.Second {
				t.Errorf("delay %s, want %s", got.Delay, c.task.Delay)
			}
			if got.Delay = c.task.Delay; got != *c.task {
				t.Errorf("%.60q %q %s, want %.60q %q %s", got.Payload, got.Dedup, got.DedupFor, c.task.Payload, c.task.Dedup, c.task.DedupFor)
			}
		})
	}
	// A chunked body is bounded too.
	req, _ := http.NewRequest("POST", base+"/queues/q/tasks", io.MultiReader(strings.NewReader(big), strings.NewReader("x")))
	req.Header.Set("Authorization", "Bearer t0ken")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("a chunked body of more than max_payload: %d", resp.StatusCode)
	}
}

// The calls that hold a task in memory are bounded; one too many is told to wait.
func TestEnqueuesAtOnce(t *testing.T) {
	q := &tasks{hold: make(chan struct{})}
	base := serveTasks(t, q, "")
	statuses := make(chan int, 17)
	for range 17 {
		go func() {
			resp, err := http.Post(base+"/queues/q/tasks", "text/plain", strings.NewReader("x"))
			if err != nil {
				statuses <- 0
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode == 503 && resp.Header.Get("Retry-After") == "" {
				resp.StatusCode = 0
			}
			statuses <- resp.StatusCode
		}()
	}
	if first := <-statuses; first != 503 {
		t.Errorf("the first answer is %d, want 503", first)
	}
	close(q.hold)
	for range 16 {
		if status := <-statuses; status != 202 {
			t.Errorf("%d, want 202", status)
		}
	}
}
