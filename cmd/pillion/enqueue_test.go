package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

const enqueueConfig = `
enqueue: true
rules: [{match: {path: /**}, session: none, cache: {ttl: 1h}}]
queues:
  - {name: mail, list: mail, webhook: {url: "%[1]s/tasks/mail"}}
  - {name: orders, list: orders, fifo: true, webhook: {url: "%[1]s/tasks/orders"}}
  - {name: later, delay: later, max_payload: 1KiB, webhook: {url: "%[1]s/tasks/later"}}
`

// inbox is an application that adds a task with each page, and notes what it is sent.
type inbox struct {
	mu    sync.Mutex
	tasks []string // path and body
	pages int
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if queue, ok := strings.CutPrefix(r.URL.Path, "/tasks/"); ok {
		b.tasks = append(b.tasks, queue+" "+string(body))
		return
	}
	b.pages++
	w.Header().Set("Pillion-Enqueue", `mail;task="welcome";delay=0.1`)
	_, _ = fmt.Fprint(w, "page")
}

func (b *inbox) has(tasks ...string) func() bool {
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, want := range tasks {
			if !slices.Contains(b.tasks, want) {
				return false
			}
		}
		return len(b.tasks) == len(tasks)
	}
}

// TestEnqueueOfTheProgram adds tasks in each of the ways, to the program as it is run.
func TestEnqueueOfTheProgram(t *testing.T) {
	redis := redistest.Start(t)
	app := &inbox{}
	srv := httptest.NewServer(app)
	defer srv.Close()
	side := programtest.Start(t, programtest.Build(t), programtest.Options{
		Redis: "redis://" + redis.Addr, Upstream: srv.URL, Config: fmt.Sprintf(enqueueConfig, srv.URL),
		Env: []string{"PILLION_REDIS_TIMEOUT=5s"},
	})
	file := filepath.Join(t.TempDir(), "task")
	if err := os.WriteFile(file, []byte("\x00\xff from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := execute(context.Background(), append([]string{"queue", "enqueue", "--admin", side.Admin}, args...), nil, &out, &out)
		return code, out.String()
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"mail", file}, 0, `{"queued":true}`},
		{[]string{"orders", file, "--dedup", "7", "--dedup-for", "2h"}, 0, `"queued":true`},
		{[]string{"orders", file, "--dedup", "7"}, 0, `"duplicate":true`},
		{[]string{"orders", file, "--delay", "1s"}, 1, "400"},
		{[]string{"later", file, "--at", "2020-01-01T00:00:00Z"}, 0, `"queued":true`},
		{[]string{"none", file}, 1, "404"},
		{[]string{"mail", file + "x"}, 1, "no such file"},
		{[]string{}, 2, "name of a queue"},
		{[]string{"mail", file, file}, 2, "at most one file"},
	} {
		if code, text := command(c.args...); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%v: exit %d, %s; want %d, %s", c.args, code, text, c.code, c.want)
		}
	}
	for body, status := range map[string]int{"over http": 202, strings.Repeat("x", 1025): 413, "": 400} {
		if got := post(t, side, "later", body); got != status {
			t.Errorf("a task of %d bytes: %d, want %d", len(body), got, status)
		}
	}
	big := strings.Repeat("\x00\xff\r\n large\n", 1<<20) // 10 MiB
	if got := post(t, side, "mail", big); got != 202 {
		t.Errorf("a task of 10 MiB: %d", got)
	}
	want := []string{"mail " + big, "mail \x00\xff from a file", "orders \x00\xff from a file", "later \x00\xff from a file", "later over http"}
	programtest.Eventually(t, time.Minute, "the tasks are delivered", app.has(want...))

	page := func() int {
		resp, err := http.Get(side.URL() + "/page")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.Header.Get("Pillion-Enqueue") != "" {
			t.Error("the client got the field")
		}
		return resp.StatusCode
	}
	for range 3 { // the application is asked once
		if status := page(); status != 200 {
			t.Fatalf("page: %d", status)
		}
	}
	programtest.Eventually(t, time.Minute, "the task of the page is delivered", app.has(append(want, "mail welcome")...))
	if app.pages != 1 {
		t.Errorf("the application was asked for the page %d times: want 1", app.pages)
	}

	redis.Kill()
	programtest.Eventually(t, time.Minute, "a task cannot be added", func() bool { return post(t, side, "mail", "x") == 503 })
	resp, err := http.Get(side.URL() + "/another")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a page whose task cannot be queued: %d %v", resp.StatusCode, resp.Header)
	}
}

func post(t *testing.T, side *programtest.Process, queue, body string) int {
	t.Helper()
	resp, err := http.Post("http://"+side.Admin+"/queues/"+queue+"/tasks", "application/octet-stream", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}
