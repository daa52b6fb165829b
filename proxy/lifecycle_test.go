package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// lifeRig is a rig whose pods have the lifecycle on. The application does what the
// request's query says.
func lifeRig(t *testing.T, app http.HandlerFunc) *rig {
	t.Helper()
	cfg := sessioncheck.Default()
	cfg.Lifecycle = true
	login := rule("login", "/login/**")
	open := rule("open", "/open/**", ttl(time.Hour))
	r := newRig(t, []proxy.Rule{login, open}, app, 0)
	r.sessionConfig = &cfg
	r.addPod()
	return r
}

func TestLifecycleField(t *testing.T) {
	r := lifeRig(t, func(w http.ResponseWriter, q *http.Request) {
		if v := q.Header.Values("Pillion-Session"); len(v) > 0 {
			t.Errorf("the application got Pillion-Session %q from a client", v)
		}
		if v := q.Header.Values("Pillion_session"); len(v) > 0 {
			t.Errorf("the application got Pillion_Session %q from a client", v)
		}
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("Cdn-Cache-Control", "max-age=3600")
		if do := q.URL.Query().Get("do"); do != "" {
			w.Header().Set("Pillion-Session", do)
		}
		fmt.Fprint(w, "user ", q.Header.Get("X-User-Id"))
	})
	get := func(path, id string) (*http.Response, string) {
		t.Helper()
		path, do, _ := strings.Cut(path, "?do=")
		if do != "" {
			path += "?do=" + url.QueryEscape(do)
		}
		req, err := http.NewRequest("GET", "http://"+r.pods[0].addr+path, nil)
		must(t, err)
		req.Header["Pillion-Session"] = []string{`create;user="1"`}
		req.Header["PILLION_session"] = []string{`create;user="1"`}
		if id != "" {
			req.Header.Set("X-Session-ID", id)
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		if v := resp.Header.Values("Pillion-Session"); len(v) > 0 {
			t.Errorf("%s: the client got Pillion-Session %q", path, v)
		}
		return resp, string(body)
	}
	// Never stored, also where the rule and the response would have it so.
	ids := map[string]bool{}
	for range 3 {
		resp, _ := get(`/open/x?do=create;user="42"`, "")
		id := sessionID(resp)
		if ids[id] = true; resp.StatusCode != 200 || len(id) != 43 {
			t.Fatalf("create: %d, %v", resp.StatusCode, resp.Header)
		}
		if cc := resp.Header.Get("Cache-Control") + resp.Header.Get("Cdn-Cache-Control"); cc != "no-store" {
			t.Errorf("Cache-Control of an answer with a session's cookie is %q", cc)
		}
	}
	if len(ids) != 3 || r.calls.Load() != 3 {
		t.Errorf("%d ids by %d calls of the application, want 3 by 3", len(ids), r.calls.Load())
	}
	for id := range ids {
		if resp, body := get("/private", id); resp.StatusCode != 200 || body != "user 42" {
			t.Errorf("with the new session: %d %s", resp.StatusCode, body)
		}
	}
	for path, want := range map[string]int{
		`/open/y?do=make`:             502, // malformed
		`/open/y?do=update;data="{}"`: 401, // no session to update
		`/open/y?do=destroy`:          200,
		`/open/z`:                     200,
		`/private`:                    401,
		`/open/y?do=create;user="1";data="{\"user_id\":2}"`: 502,
	} {
		if resp, body := get(path, ""); resp.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, body, want)
		}
	}
	r.hasty()
	r.pods = []*pod{r.addPod()} // of which get asks
	r.redis.Kill()
	waitDown(t, r.pods[0])
	if resp, body := get(`/open/w?do=create;user="42"`, ""); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" ||
		resp.Header.Get("Set-Cookie") != "" || strings.Contains(body, "user ") {
		t.Errorf("create without Redis: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if resp, _ := get("/open/z", ""); resp.StatusCode != 200 {
		t.Errorf("a public route without Redis: %d", resp.StatusCode)
	}
}

func waitDown(t *testing.T, p *pod) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); p.conn.Up(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Redis still counts as up")
		}
	}
}

func sessionID(resp *http.Response) string {
	for _, c := range resp.Cookies() {
		if c.Name == "__Host-session_id" {
			return c.Value
		}
	}
	return ""
}

// TestLifecycleFieldElsewhere: in an interim response, and in a trailer, the field says
// nothing, and does not reach the client either.
func TestLifecycleFieldElsewhere(t *testing.T) {
	r := lifeRig(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Pillion-Session", "destroy")
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Pillion-Session")
		w.Header().Set("Trailer", "Pillion-Session, X-Sum")
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("Pillion-Session", `create;user="42"`)
		w.Header().Set("X-Sum", "7")
	})
	conn, err := net.Dial("tcp", r.pods[0].addr)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /login/x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
	must(t, err)
	raw, err := io.ReadAll(bufio.NewReader(conn))
	must(t, err)
	text := strings.ToLower(string(raw))
	if !strings.Contains(text, "103 early hints") || !strings.Contains(text, "x-sum: 7") {
		t.Fatalf("the interim response or the trailer is missing:\n%s", raw)
	}
	if strings.Contains(text, "pillion-session") || strings.Contains(text, "set-cookie") {
		t.Errorf("the field, or what it asked for, reached the client:\n%s", raw)
	}
}

// TestLifecycleWithStale: the application answers a validation with 304, or fails, and
// says at the same time that the session has ended.
func TestLifecycleWithStale(t *testing.T) {
	for _, status := range []int{304, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			first := true
			r := lifeRig(t, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Cache-Control", "public, max-age=0, stale-if-error=3600")
				w.Header().Set("Etag", `"1"`)
				if !first {
					w.Header().Set("Pillion-Session", "destroy")
					w.WriteHeader(status)
					return
				}
				first = false
				fmt.Fprint(w, "page")
			})
			_, err := r.other.Do(context.Background(), r.other.B().Set().Key("session:s1").Value(`{"user_id":1}`).Build()).ToMessage()
			must(t, err)
			var resp *http.Response
			for range 2 {
				req, err := http.NewRequest("GET", "http://"+r.pods[0].addr+"/login/page", nil)
				must(t, err)
				req.Header.Set("X-Session-ID", "s1")
				resp, err = http.DefaultClient.Do(req)
				must(t, err)
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != 200 || string(body) != "page" {
					t.Fatalf("%d %s", resp.StatusCode, body)
				}
			}
			if c := resp.Header.Get("Set-Cookie"); !strings.Contains(c, "Max-Age=0") {
				t.Errorf("Set-Cookie is %q, Cache-Status %q", c, resp.Header.Get("Cache-Status"))
			}
			if n, err := r.other.Do(context.Background(), r.other.B().Exists().Key("session:s1").Build()).AsInt64(); err != nil || n != 0 {
				t.Errorf("the session is still there: %d, %v", n, err)
			}
		})
	}
}

// TestAnswerOutlivesItsSession: the response by which a session ends is passed on to its
// end, while another one that depends on that session is cut.
func TestAnswerOutlivesItsSession(t *testing.T) {
	release := make(chan struct{})
	r := lifeRig(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if q.URL.Path == "/last" {
			w.Header().Set("Pillion-Session", "destroy")
		}
		_, _ = io.WriteString(w, "one")
		w.(http.Flusher).Flush()
		select {
		case <-release:
			_, _ = io.WriteString(w, "two")
		case <-q.Context().Done():
		}
	})
	_, err := r.other.Do(context.Background(), r.other.B().Set().Key("session:s1").Value(`{"user_id":1}`).Build()).ToMessage()
	must(t, err)
	open := func(path string) *http.Response {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+r.pods[0].addr+path, nil)
		must(t, err)
		req.Header.Set("X-Session-ID", "s1")
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
		return resp
	}
	other := open("/events")
	defer other.Body.Close()
	last := open("/last")
	defer last.Body.Close()
	if text, err := io.ReadAll(other.Body); err == nil {
		t.Errorf("a stream of the session that has ended was not cut: %q", text)
	}
	close(release)
	if text, err := io.ReadAll(last.Body); err != nil || string(text) != "onetwo" {
		t.Errorf("the answer that ended the session: %q, %v", text, err)
	}
}

// TestLifecycleOfAHandler: an application in this process has the lifecycle too.
func TestLifecycleOfAHandler(t *testing.T) {
	cfg := sessioncheck.Default()
	cfg.Lifecycle = true
	r := newRig(t, []proxy.Rule{rule("login", "/login")}, nil, 0)
	r.sessionConfig = &cfg
	r.next = func(ctx *fasthttp.RequestCtx) {
		if len(ctx.Request.Header.Peek("Pillion-Session")) > 0 {
			t.Error("the handler got the field from a client")
		}
		if string(ctx.Path()) == "/login" {
			ctx.Response.Header.Set("Pillion-Session", `create; user="42"`)
		}
		ctx.SetBodyString("user " + string(ctx.Request.Header.Peek("X-User-Id")))
	}
	p := r.addPod()
	ask := func(path, id string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest("GET", "http://"+p.addr+path, nil)
		must(t, err)
		req.Header.Set("Pillion-Session", "destroy")
		if id != "" {
			req.AddCookie(&http.Cookie{Name: "__Host-session_id", Value: id})
		}
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		return resp, string(body)
	}
	resp, _ := ask("/login", "")
	id := sessionID(resp)
	if resp.StatusCode != 200 || id == "" || resp.Header.Get("Pillion-Session") != "" {
		t.Fatalf("create: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, body := ask("/x", id); resp.StatusCode != 200 || body != "user 42" {
		t.Errorf("with the new session: %d %s", resp.StatusCode, body)
	}
}
