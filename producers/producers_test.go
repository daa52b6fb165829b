package producers

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

const patience = time.Minute

// delivery is one webhook call.
type delivery struct {
	path, queue, body, trace string
	at                       time.Time
}

// sink is the application that tasks are delivered to.
type sink struct {
	mu   sync.Mutex
	seen []delivery
}

func (s *sink) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, delivery{r.URL.Path, r.Header.Get("Pillion-Queue"), string(body), r.Header.Get("traceparent"), time.Now()})
}

func (s *sink) all() []delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// rig is the program between a Redis and a sink.
type rig struct {
	*testing.T
	sink
	url   string // of the Redis
	redis rueidis.Client
}

// newRig starts the program with queues whose webhooks begin with APP.
func newRig(t *testing.T, queues string) *rig {
	t.Helper()
	srv := redistest.Start(t)
	r := &rig{T: t, url: "redis://" + srv.Addr, redis: redistest.Client(t, srv)}
	app := httptest.NewServer(&r.sink)
	t.Cleanup(app.Close)
	programtest.Start(t, programtest.Build(t), programtest.Options{
		Redis: r.url, Upstream: app.URL, Config: strings.ReplaceAll(queues, "APP", app.URL), Env: []string{"PILLION_REDIS_TIMEOUT=5s"},
	})
	return r
}

// produce runs a producer to its end.
func (r *rig) produce(program string, args ...string) {
	r.Helper()
	cmd := exec.Command(program, append(args, r.url)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// await waits for that many deliveries, and gives what they are by path and body.
func (r *rig) await(n int) map[string]delivery {
	r.Helper()
	programtest.Eventually(r.T, patience, fmt.Sprintf("%d tasks are delivered", n), func() bool { return len(r.all()) >= n })
	by := make(map[string]delivery)
	for _, d := range r.all() {
		by[d.path+" "+d.body] = d
	}
	if len(r.all()) != n || len(by) != n {
		r.Errorf("%d deliveries of %d tasks: want %d of each", len(r.all()), len(by), n)
	}
	return by
}

func (r *rig) do(args ...string) rueidis.RedisResult {
	r.Helper()
	return redistest.Do(r.T, r.redis, args...)
}

func (r *rig) int(args ...string) int64 {
	r.Helper()
	return redistest.Int(r.T, r.redis, args...)
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed: run .ci/install-deps", what)
	}
	t.Skipf("NOT TESTED: %s is not installed: run .ci/install-deps", what)
}

// python gives an interpreter that has the modules.
func python(t *testing.T, modules, packages string) string {
	t.Helper()
	for _, py := range []string{os.Getenv("PYTHON"), "python3", "/usr/bin/python3"} {
		if py != "" && exec.Command(py, "-c", "import "+modules).Run() == nil {
			return py
		}
	}
	missing(t, modules+" for Python (package "+packages+")")
	return ""
}

const celeryQueues = `
queues:
  - name: celery
    list: celery
    pop: right
    task: {type: headers.task, body: body, encoding: base64, due: headers.eta, expires: headers.expires, traceparent: headers.traceparent}
    webhook: {url: "APP/tasks/{type}"}
  - name: celery-3
    list: "celery\x06\x163"
    pop: right
    task: {type: headers.task, body: body, encoding: base64, due: headers.eta, expires: headers.expires}
    webhook: {url: "APP/tasks/{type}"}
  - name: celery-9
    list: "celery\x06\x169"
    pop: right
    task: {type: headers.task, body: body, encoding: base64, due: headers.eta, expires: headers.expires}
    webhook: {url: "APP/tasks/{type}"}
`

const celeryDead = "pillion:{celery}:celery:dead"

// TestCelery: what the client of Celery sends reaches the application by its name, with
// its arguments; not early, and not once it has expired.
func TestCelery(t *testing.T) {
	py := python(t, "celery, redis", "python3-celery python3-redis")
	r := newRig(t, celeryQueues)
	began := time.Now()
	r.produce(py, filepath.Join("celery", "producer.py"))
	got := map[string]delivery{}
	for _, d := range r.await(25) {
		var message []json.RawMessage
		if err := json.Unmarshal([]byte(d.body), &message); err != nil || len(message) != 3 {
			t.Fatalf("%s: %v: want [args, kwargs, options]", d.body, err)
		}
		got[d.path+" "+string(message[0])+" "+string(message[1])] = d
	}
	for i := range 20 {
		if _, ok := got[fmt.Sprintf(`/tasks/shop.tasks.add [%d, %d] {"note": "f\u00fcr %d"}`, i, i+1, i)]; !ok {
			t.Errorf("task %d is missing: %v", i, got)
		}
	}
	if d := got[`/tasks/other.thing ["by name"] {}`]; !strings.HasPrefix(d.trace, "00-0af7651916cd43dd8448eb211c80319c-") {
		t.Errorf("by name: %+v", d)
	}
	for args, after := range map[string]time.Duration{"[100, 0]": time.Second, "[101, 0]": 1500 * time.Millisecond} {
		// The client took its time from the clock after began.
		if d, ok := got["/tasks/shop.tasks.add "+args+" {}"]; !ok || d.at.Before(began.Add(after)) {
			t.Errorf("%s came %s after the start: want %s at least", args, d.at.Sub(began), after)
		}
	}
	for args, queue := range map[string]string{"[103, 0]": "celery-3", "[104, 0]": "celery-9"} {
		if d := got["/tasks/shop.tasks.add "+args+" {}"]; d.queue != queue {
			t.Errorf("%s came from %q: want %s", args, d.queue, queue)
		}
	}
	programtest.Eventually(t, patience, "what has expired is a dead letter", func() bool { return r.int("XLEN", celeryDead) == 1 })
	dead, err := r.do("XRANGE", celeryDead, "-", "+").AsXRange()
	if err != nil || len(dead) != 1 || dead[0].FieldValues["reason"] != "expired" || !strings.Contains(dead[0].FieldValues["payload"], "(102, 0)") {
		t.Errorf("dead letters %+v, %v", dead, err)
	}
	// Celery's own keys are as they were.
	bindings, err := r.do("SMEMBERS", "_kombu.binding.celery").AsStrSlice()
	if err != nil || len(bindings) != 1 || !strings.HasPrefix(bindings[0], "celery\x06\x16") {
		t.Errorf("_kombu.binding.celery is %q, %v", bindings, err)
	}
}

const sidekiqQueues = `
queues:
  - {name: sidekiq, list: "queue:default", pop: right, task: {type: class, body: args}, webhook: {url: "APP/tasks/{type}"}}
  - {name: sidekiq-low, list: "queue:low", pop: right, task: {type: class, body: args}, webhook: {url: "APP/tasks/{type}"}}
  - {name: sidekiq-schedule, delay: schedule, task: {type: class, body: args}, webhook: {url: "APP/tasks/{type}"}}
`

// TestSidekiq: likewise for the client of Sidekiq.
func TestSidekiq(t *testing.T) {
	ruby, err := exec.LookPath("ruby")
	if err != nil || exec.Command(ruby, "-e", `require "sidekiq"`).Run() != nil {
		missing(t, "Sidekiq for Ruby (package ruby-sidekiq)")
	}
	r := newRig(t, sidekiqQueues)
	began := time.Now()
	r.produce(ruby, filepath.Join("sidekiq", "producer.rb"))
	got := r.await(23)
	want := []string{`/tasks/HardWorker ["pushed"]`, `/tasks/Billing::Invoice ["later"]`, `/tasks/Billing::Invoice ["low"]`}
	for i := range 10 {
		want = append(want, fmt.Sprintf(`/tasks/Billing::Invoice [%d,"für %d",{"a":null}]`, i, i), fmt.Sprintf(`/tasks/HardWorker ["bulk",%d]`, i))
	}
	for _, w := range want {
		if _, ok := got[w]; !ok {
			t.Errorf("%s is missing: %v", w, got)
		}
	}
	later := got[`/tasks/Billing::Invoice ["later"]`]
	if after := later.at.Sub(began); after < 1250*time.Millisecond || later.queue != "sidekiq-schedule" {
		t.Errorf("the job that was to wait for 1.25s came after %s, from %q", after, later.queue)
	}
	if d := got[`/tasks/Billing::Invoice ["low"]`]; d.queue != "sidekiq-low" {
		t.Errorf("the job for low came from %q", d.queue)
	}
	names, err := r.do("SMEMBERS", "queues").AsStrSlice()
	if err != nil || len(names) != 2 {
		t.Errorf("Sidekiq's set of queues is %q, %v", names, err)
	}
}

const plainQueues = `
queues:
  - {name: tasks, list: "app:tasks", webhook: {url: "APP/tasks/{type}"}}
  - {name: later, delay: "app:later", webhook: {url: "APP/tasks/{type}"}}
  - {name: events, stream: "app:events", group: billing, webhook: {url: "APP/events"}}
  - {name: payloads, stream: "app:payloads", field: payload, delete: true, webhook: {url: "APP/payloads"}}
`

// TestRedisPy: an application that writes lists, sorted sets and streams itself.
func TestRedisPy(t *testing.T) {
	py := python(t, "redis", "python3-redis")
	r := newRig(t, plainQueues)
	began := time.Now()
	r.produce(py, filepath.Join("redispy", "producer.py"))
	got := r.await(46)
	for i := range 20 {
		for _, w := range []string{
			fmt.Sprintf(`/tasks/email {"type": "email", "data": {"n": %d}}`, i), fmt.Sprintf(`/events {"kind":"signup","n":"%d"}`, i),
		} {
			if _, ok := got[w]; !ok {
				t.Errorf("%s is missing", w)
			}
		}
	}
	for i := range 5 {
		d, ok := got[fmt.Sprintf(`/tasks/reminder {"type": "reminder", "data": {"n": %d}}`, i)]
		if after := d.at.Sub(began); !ok || after < time.Second {
			t.Errorf("reminder %d came after %s: want 1s at least", i, after)
		}
	}
	if _, ok := got["/payloads \x00\xff raw bytes"]; !ok {
		t.Errorf("the raw bytes are missing: %v", got)
	}
	programtest.Eventually(t, patience, "nothing of the group is pending", func() bool {
		pending, err := r.do("XPENDING", "app:events", "billing").ToArray()
		if err != nil || len(pending) == 0 {
			return false
		}
		n, err := pending[0].AsInt64()
		return err == nil && n == 0
	})
	if kept, left := r.int("XLEN", "app:events"), r.int("XLEN", "app:payloads"); kept != 20 || left != 0 {
		t.Errorf("the streams have %d and %d entries: want 20, and 0 where they are deleted", kept, left)
	}
}
