package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// site is an application behind two pods whose Redis is more than one server.
type site struct {
	*testing.T
	app     siteApp
	config  string
	pods    []*process
	redis   rueidis.Client    // as another program has one
	sources map[string]string // key of the source by queue
}

// siteApp logs in and out, counts what it serves, and takes tasks.
type siteApp struct {
	mu     sync.Mutex
	pages  map[string]int    // how often each was asked for
	tasks  map[string]int    // deliveries by queue and payload
	answer map[string]int    // status by payload; else 200
	tells  map[string]string // Pillion-Session by path
}

func (a *siteApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	defer a.mu.Unlock()
	if queue, ok := strings.CutPrefix(r.URL.Path, "/tasks/"); ok {
		a.tasks[queue+" "+string(body)]++
		if status := a.answer[string(body)]; status != 0 {
			w.WriteHeader(status)
		}
		return
	}
	if line := a.tells[r.URL.Path]; line != "" {
		w.Header().Set("Pillion-Session", line)
	}
	a.pages[r.URL.Path]++
	_, _ = fmt.Fprintf(w, "%s %d for %s", r.URL.Path, a.pages[r.URL.Path], r.Header.Get("X-User-Id"))
}

// answers sets what the application says to a task from now on.
func (a *siteApp) answers(payload string, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer[payload] = status
}

// delivered is how often a task was.
func (a *siteApp) delivered(queue, payload string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tasks[queue+" "+payload]
}

const siteConfig = `
redis: { %s }
session:
  lifecycle: true
  sources: [ { cookie: sid } ]
  max_per_user: 2
rules:
  - { match: { path: "/log/**" }, session: none, cache: off }
  - { match: { path: "/item/{id}" }, session: none, cache: { ttl: 1h, tags: ["item:{id}"] } }
  - { match: { path: /mine }, session: required, cache: { ttl: 1h, scope: user } }
  - { match: { path: "/in/**" }, session: required, cache: off }
queues:
  - { name: list, list: "%[2]s", webhook: { url: "%[5]s/tasks/list" }, retry: { min: 10ms, max: 50ms } }
  - { name: delay, delay: "%[3]s", webhook: { url: "%[5]s/tasks/delay" }, retry: { min: 10ms, max: 50ms } }
  - { name: stream, stream: "%[4]s", field: task, webhook: { url: "%[5]s/tasks/stream" }, retry: { min: 10ms, max: 50ms } }
`

// newSite starts the application and the pods. redis is that part of the configuration.
func newSite(t *testing.T, redis string, client rueidis.Client, sources map[string]string) *site {
	t.Helper()
	s := &site{T: t, redis: client, sources: sources, app: siteApp{
		pages: map[string]int{}, tasks: map[string]int{}, answer: map[string]int{},
		tells: map[string]string{"/log/in": `create; user="42"`, "/in/rotate": "rotate", "/in/out": "destroy-all"},
	}}
	srv := httptest.NewServer(&s.app)
	t.Cleanup(srv.Close)
	s.config = writeConfig(t, fmt.Sprintf(siteConfig, redis, sources["list"], sources["delay"], sources["stream"], srv.URL))
	for i := range 2 {
		s.pods = append(s.pods, startProcess(t, s.config, "", srv.URL, fmt.Sprintf("POD_UID=pod-%d", i), "PILLION_REDIS_MAX_STALENESS=3s"))
	}
	return s
}

// ask sends a request with a session, or none, and gives status, body, Cache-Status and
// the id of a session that is set.
func (s *site) ask(pod int, method, path, sid string) (status int, body, cache, id string) {
	s.Helper()
	req, err := http.NewRequest(method, "http://"+s.pods[pod].addr+path, nil)
	must(s.T, err)
	req.Host = "shop.example" // one name, or each pod would have entries of its own
	if sid != "" {
		req.Header.Set("Cookie", "__Host-sid="+sid)
	}
	resp, err := http.DefaultClient.Do(req)
	must(s.T, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(s.T, err)
	for _, c := range resp.Cookies() {
		if c.Name == "__Host-sid" {
			id = c.Value
		}
	}
	return resp.StatusCode, string(text), resp.Header.Get("Cache-Status"), id
}

// isHit asks a pod for a page.
func (s *site) isHit(pod int, path, sid string) bool {
	s.Helper()
	status, _, cache, _ := s.ask(pod, "GET", path, sid)
	return status == 200 && strings.Contains(cache, "; hit")
}

// warm has both pods serve a page from memory.
func (s *site) warm(path string) {
	s.Helper()
	for pod := range s.pods {
		eventually(s.T, fmt.Sprintf("pod %d has %s", pod, path), func() bool { return s.isHit(pod, path, "") })
	}
}

// gone waits until no pod serves what the application said before.
func (s *site) gone(path string, was int) {
	s.Helper()
	for pod := range s.pods {
		eventually(s.T, fmt.Sprintf("pod %d serves no old %s", pod, path), func() bool {
			status, body, _, _ := s.ask(pod, "GET", path, "")
			var n int
			_, err := fmt.Sscanf(body, path+" %d", &n)
			return status == 200 && err == nil && n > was
		})
	}
}

// version is how often a page was made.
func (s *site) version(path string) int {
	s.app.mu.Lock()
	defer s.app.mu.Unlock()
	return s.app.pages[path]
}

// login gives the id of a new session, which both pods accept.
func (s *site) login() string {
	s.Helper()
	var id string
	eventually(s.T, "the log-in", func() bool {
		var status int
		status, _, _, id = s.ask(0, "POST", "/log/in", "")
		return status == 200 && id != ""
	})
	s.accepted(id, true)
	return id
}

// accepted waits until all pods accept a session, or refuse it.
func (s *site) accepted(id string, want bool) {
	s.Helper()
	for pod := range s.pods {
		eventually(s.T, fmt.Sprintf("pod %d accepts the session: %v", pod, want), func() bool {
			status, _, _, _ := s.ask(pod, "GET", "/mine", id)
			return status == 200 && want || status == 401 && !want
		})
	}
}

// task is the command by which a producer adds a task.
func (s *site) task(queue, payload string) rueidis.Completed {
	key := s.sources[queue]
	switch queue {
	case "list":
		return s.redis.B().Rpush().Key(key).Element(payload).Build()
	case "delay":
		return s.redis.B().Zadd().Key(key).ScoreMember().ScoreMember(1.5e9, payload).Build()
	}
	return s.redis.B().Xadd().Key(key).Id("*").FieldValue().FieldValue("task", payload).Build()
}

// push adds a task as a producer does that asks for it to be with so many replicas too.
func (s *site) push(queue, payload string, replicas int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.redis.Dedicated(func(c rueidis.DedicatedClient) error {
		replies := c.DoMulti(ctx, s.task(queue, payload), c.B().Wait().Numreplicas(replicas).Timeout(1000).Build())
		if err := replies[0].Error(); err != nil {
			return err
		}
		if n, err := replies[1].AsInt64(); err != nil || n < replicas {
			return fmt.Errorf("%d replicas have it: %w", n, err)
		}
		return nil
	})
}

// survives: while tasks come in, a master ends and another takes over. No task is lost
// that a replica had, nor a session; what is changed after it is seen by both pods.
func (s *site) survives(failOver func()) {
	kept := s.login()
	s.warm("/item/9")
	stop, added := make(chan struct{}), make(map[string][]string)
	var replicas atomic.Int64 // there may be none afterwards
	replicas.Store(1)
	var mu sync.Mutex
	var producers sync.WaitGroup
	for queue := range s.sources {
		producers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				payload := fmt.Sprintf("%s-%d", s.Name(), i)
				if s.push(queue, payload, replicas.Load()) == nil {
					mu.Lock()
					added[queue] = append(added[queue], payload)
					mu.Unlock()
				}
			}
		})
	}
	more := func() {
		s.Helper()
		mu.Lock()
		had := make(map[string]int)
		for queue := range s.sources {
			had[queue] = len(added[queue])
		}
		mu.Unlock()
		for queue := range s.sources {
			eventually(s.T, "tasks are added to "+queue, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(added[queue]) >= had[queue]+20
			})
		}
	}
	more()
	failOver()
	replicas.Store(0)
	more()
	close(stop)
	producers.Wait()
	for queue, payloads := range added {
		for _, payload := range payloads {
			eventually(s.T, queue+" delivers "+payload, func() bool { return s.app.delivered(queue, payload) > 0 })
		}
	}
	s.afterFailover(kept)
}

// afterFailover: all is as before.
func (s *site) afterFailover(kept string) {
	s.accepted(kept, true)
	eventually(s.T, "the session is deleted", func() bool {
		return s.redis.Do(context.Background(), s.redis.B().Del().Key("session:"+kept).Build()).Error() == nil
	})
	s.accepted(kept, false)
	s.accepted(s.login(), true)
	for _, purge := range [][]string{{"--tag", "item:9"}, {"--url", "http://shop.example/item/9"}, {"--prefix", "/item/9"}} {
		s.warm("/item/9")
		was := s.version("/item/9")
		s.command(0, append([]string{"purge"}, purge...)...)
		s.gone("/item/9", was)
	}
	s.idle()
	s.fsck(0, "nothing wrong")
}

// idle waits until no queue has a task in hand.
func (s *site) idle() {
	s.Helper()
	for queue := range s.sources {
		eventually(s.T, queue+" has nothing in hand", func() bool {
			n, err := s.redis.Do(context.Background(), s.redis.B().Hlen().Key(s.key(queue, "records")).Build()).AsInt64()
			return err == nil && n == 0
		})
	}
}

// pushAll adds a task to each queue.
func (s *site) pushAll(payload string) {
	s.Helper()
	for queue := range s.sources {
		must(s.T, s.push(queue, payload, 0))
	}
}

// deliveredAll waits until the task of each queue was delivered at least so often.
func (s *site) deliveredAll(payload string, times int) {
	s.Helper()
	for queue := range s.sources {
		eventually(s.T, queue+" delivers "+payload, func() bool { return s.app.delivered(queue, payload) >= times })
	}
}

// command runs a subcommand against the first pod, and fails unless it ends with a code.
func (s *site) command(code int, args ...string) string {
	s.Helper()
	got, stdout, stderr := run(append(args, "--admin", s.pods[0].admin)...)
	if got != code {
		s.Fatalf("%v: exit %d, want %d\n%s%s", args, got, code, stdout, stderr)
	}
	return stdout
}

// fsck checks the queues.
func (s *site) fsck(code int, want string, args ...string) {
	s.Helper()
	got, out, errs := run(append([]string{"queue", "fsck", "--config", s.config}, args...)...)
	if got != code || !strings.Contains(out+errs, want) {
		s.Errorf("fsck %v: exit %d, want %d with %q\n%s%s", args, got, code, want, out, errs)
	}
}

// dead is how many dead letters a queue has.
func (s *site) dead(queue string) int64 {
	s.Helper()
	return redistest.Int(s.T, s.redis, "XLEN", s.key(queue, "dead"))
}

// key is one that pillion has for a queue.
func (s *site) key(queue, name string) string {
	return "pillion:{" + s.sources[queue] + "}:" + queue + ":" + name
}

// post adds a task through the admin listener of the second pod.
func (s *site) post(queue, query, payload string) int {
	s.Helper()
	resp, err := http.Post("http://"+s.pods[1].admin+"/queues/"+queue+"/tasks"+query, "application/octet-stream", strings.NewReader(payload))
	must(s.T, err)
	defer resp.Body.Close()
	return resp.StatusCode
}
