package proxy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/proxy"
)

// twins are two pods, each with a Redis and an application of its own. They are alike but
// for that one of them answers nothing directly.
type twins struct {
	t              *testing.T
	direct, handle *twin
}

type twin struct {
	*pod
	rig     *rig
	log     lines
	queue   backlog
	handled atomic.Int64 // requests that reached Handle
	mu      sync.Mutex
	got     []string // requests that reached the application
}

// newTwins makes them of rules and of an application that scripted describes; change is
// done to the rig of each.
func newTwins(t *testing.T, rules []proxy.Rule, responses map[string]string, change func(*rig)) *twins {
	t.Helper()
	make := func(handleOnly bool) *twin {
		w := new(twin)
		w.rig = newRig(t, rules, nil, 0)
		r := w.rig
		r.up.URL = scripted(t, responses, func(raw string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.got = append(w.got, raw)
		})
		r.log, r.handleOnly = zerolog.New(&w.log), handleOnly
		r.settings = func(s *proxy.Settings) { s.Access = "all" }
		r.tasks = proxy.NewTaskField("Pillion-Enqueue", &w.queue)
		r.serving = func(s *proxy.Server) { s.OnHandle(func() { w.handled.Add(1) }) }
		if change != nil {
			change(r)
		}
		r.setSession("s1", `{"user_id": 7}`)
		w.pod = r.addPod()
		return w
	}
	w := &twins{t: t, direct: make(false), handle: make(true)}
	t.Cleanup(w.compareCounts)
	return w
}

// led is all that a request, or some that are sent together, lead to.
type led struct {
	answers []observed
	asked   []string // of the application
	log     []string
	tasks   []proxy.Task
}

// ask sends the same bytes to both, of n requests, and wants the same to follow. It gives
// what the direct one did.
func (w *twins) ask(t *testing.T, request string, n int) led {
	t.Helper()
	got, want := w.direct.ask(t, request, n), w.handle.ask(t, request, n)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("direct:\n%.2000s\nHandle:\n%.2000s", got, want)
	}
	return got
}

func (s led) String() string {
	s.answers = slices.Clone(s.answers)
	for i := range s.answers {
		s.answers[i].body = fmt.Sprintf("%.40s, %d in all", s.answers[i].body, len(s.answers[i].body))
	}
	return fmt.Sprintf("answers %v\nasked %q\nlog %s\ntasks %v", s.answers, s.asked, s.log, s.tasks)
}

func (w *twin) ask(t *testing.T, request string, n int) (s led) {
	t.Helper()
	s.answers = observe(t, w.pod, request, n)
	// A client may see the end of an answer before its line is written.
	eventually(t, "the lines of the access log", func() bool {
		return strings.Count(w.log.String(), `"message":"request"`) == n
	})
	for line := range strings.Lines(w.log.take()) {
		s.log = append(s.log, comparable(t, line))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, raw := range w.got {
		s.asked = append(s.asked, regexp.MustCompile(`[0-9a-f]{32}`).ReplaceAllString(raw, "random"))
	}
	w.got, s.tasks = nil, w.queue.take()
	return s
}

// comparable is a line of the log without what differs from one run to the next.
func comparable(t *testing.T, line string) string {
	t.Helper()
	var m map[string]any
	must(t, json.Unmarshal([]byte(line), &m))
	for _, key := range []string{"took_ms", "upstream_ms", "request_id", "time"} {
		if _, there := m[key]; there {
			m[key] = "some"
		}
	}
	b, err := json.Marshal(m)
	must(t, err)
	return regexp.MustCompile(`127\.0\.0\.1:\d+`).ReplaceAllString(string(b), "host")
}

func (w *twins) compareCounts() {
	got, want := w.direct.handler.Stats(), w.handle.handler.Stats()
	for _, c := range []*proxy.Counts{&got, &want} {
		c.Buckets, c.Seconds = nil, 0
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("direct counts %+v\nHandle %+v", got, want)
	}
	if s, h := w.direct.session.Stats(), w.handle.session.Stats(); s.ValidMemory+s.ValidRedis != h.ValidMemory+h.ValidRedis {
		w.t.Errorf("sessions: %+v\n%+v", s, h)
	}
}

// directly says that what run asks is answered without Handle.
func (w *twins) directly(t *testing.T, run func()) {
	t.Helper()
	before := w.direct.handled.Load()
	run()
	if n := w.direct.handled.Load() - before; n != 0 {
		t.Errorf("%d requests came to Handle", n)
	}
}

// scripted is an application that answers /x/NAME with the bytes of that name; a "|" in
// them is where it waits a moment. A method may have an answer of its own, "POST-NAME". seen gets each request as it came.
func scripted(t *testing.T, responses map[string]string, seen func(raw string)) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serve := func(nc net.Conn) {
		defer nc.Close()
		var raw bytes.Buffer
		r := bufio.NewReader(io.TeeReader(nc, &raw))
		for {
			q, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, q.Body); err != nil {
				return
			}
			if seen != nil {
				seen(raw.String())
			}
			raw.Reset()
			name := q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]
			response, own := responses[q.Method+"-"+name]
			if !own {
				response = responses[name]
			}
			for i, part := range strings.Split(without(q.Method, response), "|") {
				if i > 0 {
					time.Sleep(5 * time.Millisecond) // the parts arrive apart
				}
				if _, err := io.WriteString(nc, part); err != nil {
					return
				}
			}
			if strings.HasPrefix(name, "cut") || strings.HasPrefix(name, "close") {
				return
			}
		}
	}
	serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(nc)
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return "http://" + ln.Addr().String()
}

// without takes the body away that no answer to HEAD has.
func without(method, response string) string {
	if method != http.MethodHead {
		return response
	}
	last := max(0, strings.LastIndex(response, "HTTP/1."))
	head, _, _ := strings.Cut(response[last:], "\r\n\r\n")
	return response[:last] + head + "\r\n\r\n"
}

// observed is an answer without what differs from one answer to the next.
type observed struct {
	status int
	reason string
	header http.Header
	body   string
	cut    bool
}

// observe sends n requests and reads their answers, with the interim ones.
func observe(t *testing.T, p *pod, request string, n int) (out []observed) {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, request)
	must(t, err)
	method, _, _ := strings.Cut(request, " ")
	r := bufio.NewReader(c)
	for n > 0 {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%.300q: %v", request, err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			b = nil // how much of what was sent outlives a reset is not certain
		}
		out = append(out, observed{resp.StatusCode, resp.Status, settled(resp), string(b), err != nil})
		if resp.StatusCode >= 200 {
			n--
		}
	}
	return out
}

// settled gives the header without what differs from one answer to the next.
func settled(resp *http.Response) http.Header {
	h := resp.Header
	if id := h.Get("X-Request-Id"); len(id) == 32 {
		h.Set("X-Request-Id", "random")
	}
	if at, err := http.ParseTime(h.Get("Date")); err == nil && time.Since(at) < time.Minute {
		h.Set("Date", "now") // and not the application's own, which is older: see dated
	}
	status := strings.Join(h.Values("Cache-Status"), ", ")
	h.Set("Cache-Status", regexp.MustCompile(`ttl=\d+`).ReplaceAllString(status, "ttl=N"))
	if strings.Contains(status, "pillion; hit") && h.Get("Age") != "" { // a second may pass between two answers
		h.Set("Age", "N")
	}
	if resp.Close {
		h.Set("Connection", "close")
	}
	if len(resp.TransferEncoding) > 0 {
		h["Transfer-Encoding"] = slices.Clone(resp.TransferEncoding)
	}
	return h
}
