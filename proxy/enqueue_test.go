package proxy_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy"
)

// backlog is where the tasks go: a queue "emails", and one that is down.
type backlog struct {
	mu    sync.Mutex
	tasks []proxy.Task
}

func (b *backlog) Check(t proxy.Task) error {
	if t.Queue != "emails" && t.Queue != "down" {
		return fmt.Errorf("there is no queue %q", t.Queue)
	}
	return nil
}

func (b *backlog) Enqueue(_ context.Context, t proxy.Task) (bool, error) {
	if t.Queue == "down" {
		return false, errors.New("redis is down")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tasks = append(b.tasks, t)
	return t.Dedup == "seen", nil
}

func (b *backlog) take() []proxy.Task {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.tasks
	b.tasks = nil
	return out
}

// taskRig is a rig whose application says what the request's query says, in one field
// line for each "do".
func taskRig(t *testing.T, app http.HandlerFunc) (*rig, *backlog) {
	t.Helper()
	b := &backlog{}
	r := newRig(t, []proxy.Rule{rule("open", "/**", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.StaleWhileRevalidate = time.Hour })}, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		if len(q.Trailer) > 0 {
			t.Errorf("the application got the trailer %v", q.Trailer)
		}
		for name, v := range q.Header {
			if strings.EqualFold(strings.ReplaceAll(name, "_", "-"), "pillion-enqueue") {
				t.Errorf("the application got %s %q from a client", name, v)
			}
		}
		for _, do := range q.URL.Query()["do"] {
			w.Header().Add("Pillion-Enqueue", do)
		}
		app(w, q)
	}, 0)
	r.tasks = proxy.NewTaskField("Pillion-Enqueue", b)
	r.addPod()
	return r, b
}

func (r *rig) do(method, path string, do ...string) reply {
	r.t.Helper()
	q := url.Values{"do": do}
	if len(do) > 0 {
		path += "?" + q.Encode()
	}
	got := r.pods[0].do(r.t, method, path, "Pillion-Enqueue", `emails;task="forged"`, "PILLION_enqueue", `emails;task="forged"`)
	if v := got.header.Values("Pillion-Enqueue"); len(v) > 0 {
		r.t.Errorf("%s %s: the client got Pillion-Enqueue %q", method, path, v)
	}
	return got
}

func TestTasksOfResponses(t *testing.T) {
	r, b := taskRig(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/fails" {
			w.WriteHeader(500)
		}
		fmt.Fprint(w, "page")
	})
	binary := ":" + base64.StdEncoding.EncodeToString([]byte("\x00\xff\r\n")) + ":"
	many := slices.Repeat([]string{`emails;task="x"`}, 17)
	for _, c := range []struct {
		name, method, path string
		do                 []string
		status             int
		want               []proxy.Task
	}{
		{"binary", "POST", "/a", []string{"emails;task=" + binary}, 200, []proxy.Task{{Queue: "emails", Payload: "\x00\xff\r\n"}}},
		{"parameters", "PUT", "/a", []string{`"emails"; task="{\"a\":1}"; delay=1.5; dedup="order 7"; dedup_for=60`}, 200,
			[]proxy.Task{{Queue: "emails", Payload: `{"a":1}`, Delay: 1500 * time.Millisecond, Dedup: "order 7", DedupFor: time.Minute}}},
		{"items and lines", "GET", "/b", []string{`emails;task="1", emails;task="2"`, `emails;task="3";dedup="seen"`}, 200,
			[]proxy.Task{{Queue: "emails", Payload: "1"}, {Queue: "emails", Payload: "2"}, {Queue: "emails", Payload: "3", Dedup: "seen"}}},
		{"HEAD", "HEAD", "/c", []string{`emails;task="x"`}, 200, []proxy.Task{{Queue: "emails", Payload: "x"}}},
		{"error of the application", "GET", "/fails", []string{`emails;task="x"`}, 500, []proxy.Task{{Queue: "emails", Payload: "x"}}},
		{"sixteen", "POST", "/d", many[:16], 200, slices.Repeat([]proxy.Task{{Queue: "emails", Payload: "x"}}, 16)},
		{"seventeen", "POST", "/d", many, 502, nil},
		{"malformed", "POST", "/e", []string{`emails;task=`}, 502, nil},
		{"empty", "POST", "/e", []string{` `}, 200, nil},
		{"nothing to do", "POST", "/e", []string{`emails`}, 502, nil},
		{"misspelt", "POST", "/e", []string{`emails;task="x";dely=1`}, 502, nil},
		{"no queue", "POST", "/e", []string{`emails;task="x", none;task="y"`}, 502, nil},
		{"down", "POST", "/e", []string{`down;task="x"`}, 503, nil},
		{"the second fails", "POST", "/e", []string{`emails;task="x", down;task="y", emails;task="z"`}, 503, []proxy.Task{{Queue: "emails", Payload: "x"}}},
	} {
		got := r.do(c.method, c.path, c.do...)
		if got.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, got.status, got.body, c.status)
		}
		if tasks := b.take(); !slices.Equal(tasks, c.want) {
			t.Errorf("%s: tasks %+v, want %+v", c.name, tasks, c.want)
		}
		if c.status > 500 && (strings.Contains(got.body, "page") || got.header.Get("Content-Type") != "application/problem+json") {
			t.Errorf("%s: the client got the application's response: %s", c.name, got.body)
		}
		if (got.header.Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%s: Retry-After %q", c.name, got.header.Get("Retry-After"))
		}
	}
	want := map[string]uint64{"queued": 23, "duplicate": 1, "invalid": 5, "failed": 3}
	if got := r.pods[0].handler.Stats().Tasks; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// TestTasksAndTheCache: what is stored has no tasks; each answer of the application
// adds its own once.
func TestTasksAndTheCache(t *testing.T) {
	fresh := make(chan bool, 1) // the application was asked to validate
	r, b := taskRig(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Etag", `"1"`)
		if q.Header.Get("If-None-Match") != "" {
			w.WriteHeader(304)
			fresh <- true
			return
		}
		fmt.Fprint(w, "page")
	})
	const do = `emails;task="x"`
	for i := range 3 {
		if got := r.do("GET", "/page", do); got.status != 200 || got.body != "page" || (i > 0) != strings.Contains(got.cacheStatus(), "hit") {
			t.Fatalf("%d %s, %s", got.status, got.body, got.cacheStatus())
		}
	}
	if n := len(b.take()); n != 1 || r.calls.Load() != 1 {
		t.Errorf("%d tasks of %d calls of the application, want 1 of 1", n, r.calls.Load())
	}
	keys, err := r.other.Do(context.Background(), r.other.B().Keys().Pattern("*").Build()).AsStrSlice()
	must(t, err)
	for _, key := range keys {
		text, _ := r.other.Do(context.Background(), r.other.B().Get().Key(key).Build()).ToString()
		if strings.Contains(strings.ToLower(text), "pillion-enqueue") {
			t.Errorf("%s has the field", key)
		}
	}
	// A refresh in the background, which the application answers with 304.
	_, err = r.pods[0].handler.PurgeMatching(context.Background(), "/page", true, true)
	must(t, err)
	if got := r.do("GET", "/page", do); got.body != "page" {
		t.Errorf("%d %s", got.status, got.body)
	}
	<-fresh
	eventually(t, "the refresh adds its task", func() bool { return len(b.take()) == 1 })
}

// TestTasksFailAndTheCache: the application has changed what it has, though its answer
// did not reach the client.
func TestTasksFailAndTheCache(t *testing.T) {
	r, _ := taskRig(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Method == "PUT" {
			w.Header().Set("Pillion-Enqueue", `down;task="x"`)
		}
		fmt.Fprint(w, "page")
	})
	r.do("GET", "/page")
	if got := r.do("GET", "/page"); !strings.Contains(got.cacheStatus(), "hit") {
		t.Fatalf("not stored: %s", got.cacheStatus())
	}
	if got := r.do("PUT", "/page"); got.status != 503 {
		t.Errorf("%d, want 503", got.status)
	}
	if got := r.do("GET", "/page"); strings.Contains(got.cacheStatus(), "hit") {
		t.Error("a response from before the change is still served")
	}
}

// TestTasksFailInTheBackground: a refresh whose task cannot be queued brings nothing, and
// the stale entry stays.
func TestTasksFailInTheBackground(t *testing.T) {
	var broken atomic.Bool
	r, _ := taskRig(t, func(w http.ResponseWriter, q *http.Request) {
		if broken.Load() {
			w.Header().Set("Pillion-Enqueue", `down;task="x"`)
			fmt.Fprint(w, "new page")
			return
		}
		fmt.Fprint(w, "page")
	})
	r.do("GET", "/page")
	_, err := r.pods[0].handler.PurgeMatching(context.Background(), "/page", true, true)
	must(t, err)
	broken.Store(true)
	for n := range uint64(2) {
		eventually(t, "the refresh fails", func() bool {
			// Asked for each time: a request while a refresh is ending begins none.
			if got := r.do("GET", "/page"); got.status != 200 || got.body != "page" {
				t.Fatalf("%d %s: want the stale page", got.status, got.body)
			}
			return r.pods[0].handler.Stats().Tasks["failed"] > n
		})
	}
}

// TestTasksElsewhere: in an interim response, in a trailer and in a 101 the field says
// nothing, and does not reach the client either. A stream has it in its header.
func TestTasksElsewhere(t *testing.T) {
	r, b := taskRig(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Upgrade") != "" {
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nPillion-Enqueue: emails;task=\"x\"\r\n\r\n")
			_ = rw.Flush()
			_ = conn.Close()
			return
		}
		w.Header().Set("Pillion-Enqueue", `emails;task="early"`)
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Pillion-Enqueue", `emails;task="stream"`)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set(http.TrailerPrefix+"Pillion-Enqueue", `emails;task="late"`)
		w.Header().Set("X-Sum", "7")
	})
	exchange := func(request string) string {
		conn, err := net.Dial("tcp", r.pods[0].addr)
		must(t, err)
		defer conn.Close()
		must(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		_, err = io.WriteString(conn, request)
		must(t, err)
		raw, err := io.ReadAll(bufio.NewReader(conn))
		must(t, err)
		return strings.ToLower(string(raw))
	}
	text := exchange("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	if !strings.Contains(text, "103 early hints") || !strings.Contains(text, "x-sum: 7") || strings.Contains(text, "pillion-enqueue") {
		t.Errorf("the interim response or the trailer is missing, or the field is there:\n%s", text)
	}
	if got := b.take(); len(got) != 1 || got[0].Payload != "stream" {
		t.Errorf("tasks %+v", got)
	}
	text = exchange("GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if !strings.Contains(text, "101 switching") || strings.Contains(text, "pillion-enqueue") {
		t.Errorf("%s", text)
	}
	if got := b.take(); len(got) != 0 {
		t.Errorf("a 101 added %+v", got)
	}
	// A client's trailer does not reach the application as the field.
	exchange("POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nPillion-Enqueue: emails;task=\"x\"\r\n\r\n")
}

// TestTasksOfEntriesFromBefore: an entry that was stored while the field meant nothing
// neither adds tasks nor shows them.
func TestTasksOfEntriesFromBefore(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("open", "/**", ttl(time.Hour))}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Pillion-Enqueue", `emails;task="x"`)
		fmt.Fprint(w, "page")
	}, 1)
	if got := r.pods[0].do(t, "GET", "/x", "Host", "a.example"); got.header.Get("Pillion-Enqueue") == "" {
		t.Fatal("with enqueue off the field is one like others")
	}
	b := &backlog{}
	r.tasks = proxy.NewTaskField("Pillion-Enqueue", b)
	p := r.addPod()
	for range 2 {
		if got := p.do(t, "GET", "/x", "Host", "a.example"); got.body != "page" || got.header.Get("Pillion-Enqueue") != "" || !strings.Contains(got.cacheStatus(), "hit") {
			t.Errorf("%d %v", got.status, got.header)
		}
	}
	if got := b.take(); len(got) != 0 {
		t.Errorf("a hit added %+v", got)
	}
}

// TestTasksOfAHandler: an application in this process has the field too.
func TestTasksOfAHandler(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("open", "/**")}, nil, 0)
	b := &backlog{}
	r.tasks = proxy.NewTaskField("Pillion-Enqueue", b)
	r.next = func(ctx *fasthttp.RequestCtx) {
		if len(ctx.Request.Header.Peek("Pillion-Enqueue")) > 0 {
			t.Error("the handler got the field from a client")
		}
		ctx.Response.Header.Set("Pillion-Enqueue", `emails;task="x"`)
		ctx.SetBodyString("done")
	}
	p := r.addPod()
	got := p.do(t, "POST", "/x", "Pillion-Enqueue", `emails;task="forged"`)
	if got.status != 200 || got.body != "done" || got.header.Get("Pillion-Enqueue") != "" {
		t.Errorf("%d %s %v", got.status, got.body, got.header)
	}
	if tasks := b.take(); len(tasks) != 1 || tasks[0].Payload != "x" {
		t.Errorf("tasks %+v", tasks)
	}
}
