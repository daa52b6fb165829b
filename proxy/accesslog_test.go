package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/proxy"
)

// lines collects what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// take gives what was logged since it was last called.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// requests gives the access log's lines for a path.
func (l *lines) requests(t *testing.T, path string) (out []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if m["message"] == "request" && m["path"] == path {
			out = append(out, m)
		}
	}
	return out
}

// one waits for the only line of a path: the client may see the end of its answer
// before the line is written.
func (l *lines) one(t *testing.T, path string) map[string]any {
	t.Helper()
	eventually(t, "a line for "+path, func() bool { return len(l.requests(t, path)) > 0 })
	all := l.requests(t, path)
	if len(all) != 1 {
		t.Fatalf("%d lines for %s", len(all), path)
	}
	return all[0]
}

func logging(r *rig, access string, sample float64) *lines {
	l := new(lines)
	r.log = zerolog.New(l)
	r.settings = func(s *proxy.Settings) {
		s.Access = access
		must(r.t, s.Sample.UnmarshalText(fmt.Appendf(nil, "%g%%", sample)))
	}
	return l
}

func TestAccessLog(t *testing.T) {
	hold := make(chan struct{})
	r := newRig(t, []proxy.Rule{
		rule("hit", "/hit", ttl(time.Hour)), rule("mine", "/mine/**", required), rule("off", "/off/**", uncached), rule("large", "/large/**", ttl(time.Hour)),
	}, func(w http.ResponseWriter, q *http.Request) {
		io.Copy(io.Discard, q.Body)
		switch {
		case strings.HasPrefix(q.URL.Path, "/off/error"):
			w.WriteHeader(500)
		case strings.HasPrefix(q.URL.Path, "/off/stream"):
			io.WriteString(w, "begin")
			w.(http.Flusher).Flush()
			<-hold
			io.WriteString(w, "end")
			return
		case strings.HasPrefix(q.URL.Path, "/large"):
			io.WriteString(w, strings.Repeat("x", 200_000))
		}
		io.WriteString(w, "ok")
	}, 0)
	log := logging(r, "all", 0)
	p := r.addPod()
	r.setSession("s1", `{"user_id":7}`)
	check := func(path string, want map[string]any, absent ...string) map[string]any {
		t.Helper()
		line := log.one(t, path)
		for key, value := range want {
			if line[key] != value {
				t.Errorf("%s: %s is %v, want %v", path, key, line[key], value)
			}
		}
		for _, key := range absent {
			if line[key] != nil {
				t.Errorf("%s: %s is %v, want none", path, key, line[key])
			}
		}
		if _, ok := line["took_ms"].(float64); !ok || len(fmt.Sprint(line["request_id"])) != 32 {
			t.Errorf("%s: took_ms %v, request_id %v", path, line["took_ms"], line["request_id"])
		}
		return line
	}
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	reply := p.do(t, "GET", "/off/a?token=x", "User-Agent", strings.Repeat("u", 300), "X-Forwarded-For", "1.2.3.4",
		"traceparent", "00-"+trace+"-00f067aa0ba902b7-01", "X-Request-Id", strings.Repeat("i", 32))
	line := check("/off/a", map[string]any{
		"level": "info", "method": "GET", "status": 200.0, "rule": "off", "outcome": "pass", "cache": "bypass", "session": "none", "bytes_out": 2.0,
		"client": "127.0.0.1", "forwarded_for": "1.2.3.4", "trace_id": trace, "request_id": reply.header.Get("X-Request-Id"), "user_agent": strings.Repeat("u", 256),
		"host": p.addr,
	}, "session_hash")
	if ms, ok := line["upstream_ms"].(float64); !ok || ms <= 0 {
		t.Errorf("upstream_ms: %v", line["upstream_ms"])
	}
	p.send(t, "POST", "/off/post", strings.NewReader("12345"))
	check("/off/post", map[string]any{"method": "POST", "bytes_in": 5.0, "cache": "method"}, "trace_id", "forwarded_for")
	p.do(t, "GET", "/off/error")
	check("/off/error", map[string]any{"level": "warn", "status": 500.0})
	p.do(t, "GET", "/mine/a", "X-Session-ID", "s1")
	check("/mine/a", map[string]any{"session": "valid", "outcome": "miss", "cache": "uri-miss"})
	if hash := log.one(t, "/mine/a")["session_hash"]; len(fmt.Sprint(hash)) != 8 {
		t.Errorf("session_hash: %v", hash)
	}
	p.do(t, "GET", "/mine/b")
	check("/mine/b", map[string]any{"session": "absent", "status": 401.0, "outcome": "unauthorized"}, "session_hash", "upstream_ms", "cache")
	p.raw(t, "GET /off//x HTTP/1.1\r\nHost: h\r\n\r\n")
	check("/off//x", map[string]any{"status": 400.0, "outcome": "refused", "rule": "off"}, "cache", "upstream_ms")
	p.do(t, "GET", "/large/a")
	check("/large/a", map[string]any{"bytes_out": 200_002.0, "outcome": "miss"})
	p.do(t, "HEAD", "/large/a")
	p.do(t, "GET", "/hit")
	p.do(t, "GET", "/hit")
	eventually(t, "two lines", func() bool { return len(log.requests(t, "/hit")) == 2 })
	if hit := log.requests(t, "/hit")[1]; hit["cache"] != "hit" || hit["outcome"] != "hit" || hit["upstream_ms"] != nil || hit["bytes_out"] != 2.0 {
		t.Errorf("a hit: %v", hit)
	}

	// The line of a stream is written when that has ended.
	req, err := http.NewRequest("GET", "http://"+p.addr+"/off/stream", nil)
	must(t, err)
	resp, err := transport().RoundTrip(req)
	must(t, err)
	_, err = io.ReadFull(resp.Body, make([]byte, 5))
	must(t, err)
	if n := len(log.requests(t, "/off/stream")); n != 0 {
		t.Error("logged while the body is on its way")
	}
	close(hold)
	_, err = io.ReadAll(resp.Body)
	must(t, err)
	check("/off/stream", map[string]any{"status": 200.0, "bytes_out": 8.0, "rule": "off"})
}

func TestAccessLogOfAnUntrustedPeer(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, echo, 0)
	log := logging(r, "all", 0)
	r.cfg.TrustedProxies = nil
	r.addPod().do(t, "GET", "/a", "X-Forwarded-For", "1.2.3.4")
	if line := log.one(t, "/a"); line["forwarded_for"] != nil || line["client"] != "127.0.0.1" {
		t.Errorf("%v", line)
	}
}

func TestAccessLogModes(t *testing.T) {
	const n = 400
	for _, tc := range []struct {
		access      string
		sample      float64
		low, high   int // lines for requests without an error
		withAnError int
	}{
		{"off", 100, 0, 0, 0}, {"errors", 100, 0, 0, 1}, {"all", 0, n, n, 1}, {"sampled", 0, 0, 0, 1}, {"sampled", 100, n, n, 1},
		{"sampled", 50, n/2 - 100, n/2 + 100, 1}, // ten standard deviations
	} {
		t.Run(fmt.Sprintf("%s %g", tc.access, tc.sample), func(t *testing.T) {
			r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Hour))}, func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path == "/error" {
					w.WriteHeader(503)
				}
			}, 0)
			log := logging(r, tc.access, tc.sample)
			p := r.addPod()
			tr := keepAlive(t)
			for range n {
				if _, err := p.ask(tr, "GET", "/ok"); err != nil {
					t.Fatal(err)
				}
			}
			p.do(t, "GET", "/error")
			eventually(t, "the error's line", func() bool { return len(log.requests(t, "/error")) == tc.withAnError })
			// A line is written after its answer, so the last may come after that of the error.
			eventually(t, "the lines", func() bool { return len(log.requests(t, "/ok")) >= tc.low })
			if got := len(log.requests(t, "/ok")); got > tc.high {
				t.Errorf("%d lines for %d requests", got, n)
			}
		})
	}
}

// TestNoSecretIsLogged puts a marker wherever a secret can be.
func TestNoSecretIsLogged(t *testing.T) {
	const secret = "hunter2"
	r := newRig(t, []proxy.Rule{
		rule("mine", "/mine", required, ttl(time.Hour), func(r *proxy.Rule) {
			r.RequestHeaders.Set = map[string]string{"X-Token": "{session.token}", "Authorization": "Bearer hunter2"}
			r.ResponseHeaders.Add = map[string]string{"X-Secret": "hunter2"}
		}),
		rule("all", "/**", uncached),
	}, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Set-Cookie", "session_id="+secret)
		w.Header().Set("Location", "/?token="+secret)
		if q.URL.Path == "/down" {
			panic(http.ErrAbortHandler)
		}
		if q.URL.Path == "/error" {
			w.WriteHeader(500)
		}
		io.WriteString(w, secret)
	}, 0)
	log := logging(r, "all", 0)
	p := r.addPod()
	r.setSession(secret, `{"user_id":"`+secret+`","token":"`+secret+`"}`)
	header := []string{
		"X-Session-ID", secret, "Cookie", "session_id=" + secret + "; other=" + secret, "Authorization", "Bearer " + secret, "Referer", "http://h/?token=" + secret,
		"X-Api-Key", secret, "traceparent", secret, "Proxy-Authorization", "Basic " + secret, "X-Request-Id", "not an id: " + secret,
	}
	paths := []string{"/mine", "/all", "/error", "/down"}
	for _, path := range paths {
		p.do(t, "GET", path+"?token="+secret, header...)
		p.send(t, "POST", path+"?token="+secret, strings.NewReader(secret), header...)
	}
	p.raw(t, "GET /all?token=hunter2 HTTP/1.1\r\nHost: h\r\nX-A: hunter2\x01\r\nCookie: session_id=hunter2\r\n\r\n")
	p.raw(t, "GET /all?token=hunter2 HTTP/1.1\r\nHost: hunter2@h\r\nCookie: session_id=hunter2\r\n\r\n")
	for _, path := range paths {
		eventually(t, "the lines of "+path, func() bool { return len(log.requests(t, path)) >= 2 })
	}
	if text := log.String(); strings.Contains(text, secret) {
		t.Errorf("a secret is logged:\n%s", text)
	}
}

func TestRequestID(t *testing.T) {
	var app lastRequest
	r := newRig(t, []proxy.Rule{rule("hit", "/hit", ttl(time.Hour)), rule("mine", "/mine", required), rule("all", "/**", uncached)}, app.ServeHTTP, 0)
	trusting := r.addPod()
	r.cfg.TrustedProxies = nil
	strict := r.addPod()
	r.cfg.RequestID = ""
	off := r.addPod()
	made := func(id string) bool {
		return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
	}
	long := strings.Repeat("a", 128)
	for _, tc := range []struct {
		lines, kept string
	}{
		{"X-Request-Id: abc.DEF_1:/+=@-\r\n", "abc.DEF_1:/+=@-"},
		{"x-request-id: " + long + "\r\n", long},
		{"X-Request-Id: " + long + "a\r\n", ""},
		{"X-Request-Id:\r\n", ""},
		{"X-Request-Id: a b\r\n", ""},
		{"X-Request-Id: a\"b\r\n", ""},
		{"X-Request-Id: a\r\nX-Request-Id: a\r\n", ""},
		{"X_Request_Id: a\r\n", ""},
		{"X-Request-Id: a\r\nConnection: X-Request-Id\r\n", ""},
		{"", ""},
	} {
		for p, kept := range map[*pod]string{trusting: tc.kept, strict: ""} {
			reply := p.raw(t, "GET /a HTTP/1.1\r\nHost: h\r\n"+tc.lines+"\r\n")
			id := reply.header.Values("X-Request-Id")
			if len(id) != 1 || kept != "" && id[0] != kept || kept == "" && !made(id[0]) {
				t.Errorf("%q: id %q, want %q", tc.lines, id, kept)
			}
			if _, _, header := app.last(); !slices.Equal(header.Values("X-Request-Id"), id) || header["X_request_id"] != nil {
				t.Errorf("%q: the application got %q, the client %q", tc.lines, header, id)
			}
		}
	}
	// Every answer has one of its own.
	seen := map[string]bool{}
	for _, request := range []string{
		"GET /hit HTTP/1.1\r\nHost: h\r\n\r\n", "GET /hit HTTP/1.1\r\nHost: h\r\n\r\n", "GET /hit HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /mine HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a//b HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET /\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		id := trusting.raw(t, request).header.Get("X-Request-Id")
		if !made(id) || seen[id] {
			t.Errorf("%q: id %q", request, id)
		}
		seen[id] = true
	}
	reply := off.raw(t, "GET /a HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n\r\n")
	if _, _, header := app.last(); reply.header.Get("X-Request-Id") != "" || header.Get("X-Request-Id") != "mine" {
		t.Errorf("without ids: the client got %v, the application %v", reply.header, header)
	}
}

func TestTraceparentIsPassedOn(t *testing.T) {
	var app lastRequest
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Hour))}, app.ServeHTTP, 1)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	r.pods[0].do(t, "GET", "/a", "traceparent", trace, "tracestate", "a=b")
	if _, _, header := app.last(); header.Get("Traceparent") != trace || header.Get("Tracestate") != "a=b" {
		t.Errorf("%v", header)
	}
	r.pods[0].do(t, "GET", "/b")
	if _, _, header := app.last(); header.Get("Traceparent") != "" {
		t.Errorf("one was made: %v", header)
	}
}
