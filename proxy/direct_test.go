package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// scripted is an application that answers /x/NAME with the bytes of that name; a "|" in
// them is where it waits a moment.
func scripted(t *testing.T, responses map[string]string) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serve := func(nc net.Conn) {
		defer nc.Close()
		r := bufio.NewReader(nc)
		for {
			q, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			name := q.URL.Path[strings.LastIndexByte(q.URL.Path, '/')+1:]
			for i, part := range strings.Split(responses[name], "|") {
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

// plainHead is a response without Content-Length.
const plainHead = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/plain\r\n"

func sized(head, body string) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

// oddResponses are those for which an answer of direct could differ from Handle's.
func oddResponses() map[string]string {
	long, longer := strings.Repeat("x", 9000), strings.Repeat("y", 200_000)
	m := map[string]string{
		"plain":         sized(plainHead, "hello"),
		"empty":         sized(plainHead, ""),
		"lower":         sized("HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-type: a/b\r\netag: \"x\"\r\n", "hello"),
		"undated":       sized("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n", "hello"),
		"untyped":       sized("HTTP/1.1 200 OK\r\n", "hello"),
		"two types":     sized(plainHead+"Content-Type: text/html\r\n", "hello"),
		"cookies":       sized(plainHead+"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nLink: <a>\r\nLink: <b>\r\n", "hello"),
		"closing":       sized(plainHead+"Connection: close\r\n", "hello"),
		"keeping":       sized(plainHead+"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", "hello"),
		"nominating":    sized(plainHead+"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-End: 2\r\n", "hello"),
		"hops":          sized(plainHead+"Proxy-Connection: a\r\nTE: trailers\r\nUpgrade: x\r\nProxy-Authenticate: y\r\nTrailer: X-T\r\n", "hello"),
		"aged":          sized(plainHead+"Age: 5\r\nCache-Status: front; hit\r\n", "hello"),
		"with an id":    sized(plainHead+"X-Request-Id: the-application's\r\n", "hello"),
		"space":         sized(plainHead+"X-Space : a \t\r\nX-Empty:\r\nX-Colon: a:b: c\r\n", "hello"),
		"not found":     sized("HTTP/1.1 404 Not Found\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "no"),
		"failing":       sized("HTTP/1.1 500 Oh dear\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nRetry-After: 3\r\n", "no"),
		"no reason":     sized("HTTP/1.1 200\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "ok"),
		"204":           "HTTP/1.1 204 No Content\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n",
		"304":           "HTTP/1.1 304 Not Modified\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: \"x\"\r\n\r\n",
		"chunked":       plainHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"close":         plainHead + "\r\nhello",
		"http10":        sized("HTTP/1.0 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "hello"),
		"long":          sized(plainHead, long),
		"longer":        sized(plainHead, longer),
		"slow":          fmt.Sprintf("%sContent-Length: 10\r\n\r\n|hello|world", plainHead),
		"slow head":     "HTTP/1.1 200 OK\r\nContent-|Length: 5\r\n|\r\nhello",
		"cut":           plainHead + "Content-Length: 10\r\n\r\nhello",
		"cut long":      fmt.Sprintf("%sContent-Length: 200000\r\n\r\n%s", plainHead, long),
		"early hints":   "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + sized(plainHead, "hello"),
		"control":       sized(plainHead+"X-Control: a\x01b\r\n", "hello"),
		"bare CR":       sized(plainHead+"X-Control: a\rb\r\n", "hello"),
		"two lengths":   sized(plainHead+"Content-Length: 5\r\n", "hello"),
		"no HTTP":       "SSH-2.0-x\r\n",
		"session field": sized(plainHead+"Pillion-Session: end\r\n", "hello"),
	}
	for name := range m { // a path has no space
		if path := strings.ReplaceAll(name, " ", "-"); path != name {
			m[path] = m[name]
			delete(m, name)
		}
	}
	return m
}

// observed is an answer without what differs from one answer to the next.
type observed struct {
	status int
	reason string
	header http.Header
	body   string
	cut    bool
}

func observe(t *testing.T, p *pod, request string) (out []observed) {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(c, request)
	must(t, err)
	r := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatalf("%q: %v", request, err)
		}
		b, err := io.ReadAll(resp.Body)
		h := resp.Header
		if id := h.Get("X-Request-Id"); len(id) == 32 {
			h.Set("X-Request-Id", "random")
		}
		if d := h.Get("Date"); d != "" && !strings.HasPrefix(d, "Thu, 01 Jan 2026") {
			h.Set("Date", "now")
		}
		status := strings.Join(h.Values("Cache-Status"), ", ")
		h.Set("Cache-Status", regexp.MustCompile(`ttl=\d+`).ReplaceAllString(status, "ttl=N"))
		if strings.Contains(status, "hit") && !strings.HasPrefix(status, "front") {
			h.Set("Age", "N")
		}
		if resp.Close {
			h.Set("Connection", "close")
		}
		out = append(out, observed{resp.StatusCode, resp.Status, h, string(b), err != nil})
		if resp.StatusCode >= 200 {
			return out
		}
	}
}

// Whatever the application sends, direct gives the client what Handle would give it.
func TestDirectAnswersAsHandleDoes(t *testing.T) {
	responses := oddResponses()
	off := func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff }
	edit := func(r *proxy.Rule) {
		r.ResponseHeaders = proxy.HeaderEdit{Remove: []string{"ETag"}, Set: map[string]string{"Content-Type": "c/d", "X-Frame-Options": "DENY"}, Add: map[string]string{"Link": "</c>"}}
	}
	r := newRig(t, []proxy.Rule{
		rule("pass", "/pass/x/{id}", off), rule("edited", "/edited/x/{id}", off, edit),
		rule("dressed", "/dressed/x/{id}", off, func(r *proxy.Rule) { r.ResponseHeaders.Remove = []string{"X-Request-Id"} }),
		rule("hit", "/hit/x/{id}", ttl(time.Hour), cookiesToo), rule("edited hit", "/edited-hit/x/{id}", ttl(time.Hour), edit),
		rule("mine", "/mine/x/{id}", ttl(time.Hour), required),
	}, nil, 0)
	r.quiet, r.up.URL = true, scripted(t, responses)
	r.setSession("s1", `{"user_id": 7}`)
	direct := r.addPod()
	r.handleOnly = true
	handle := r.addPod()
	for _, prefix := range []string{"/pass", "/edited", "/dressed", "/hit", "/edited-hit", "/mine"} {
		for name := range responses {
			t.Run(prefix+"/"+name, func(t *testing.T) {
				request := "GET " + prefix + "/x/" + name + " HTTP/1.1\r\nHost: h\r\nX-Session-ID: s1\r\n\r\n"
				for range 3 { // the miss, the hit that reads from Redis, and those that follow
					want, got := observe(t, handle, request), observe(t, direct, request)
					if strings.Contains(want[len(want)-1].header.Get("Cache-Status"), "fwd=uri-miss") {
						continue // the other pod has a hit then
					}
					if !reflect.DeepEqual(got, want) {
						t.Errorf("direct answers\n%.600s\nand Handle\n%.600s", fmt.Sprint(got), fmt.Sprint(want))
					}
				}
			})
		}
	}
	if n := direct.handler.Stats(); n.Outcomes["hit"] == 0 || n.Outcomes["pass"] == 0 {
		t.Errorf("outcomes: %v", n.Outcomes)
	}
}

func cookiesToo(r *proxy.Rule) { r.Cache.SetCookie = cache.CookieStore }
