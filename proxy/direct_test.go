package proxy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// dated is the begin of a response: some minutes old, and fresh for an hour all the same.
func dated(line string) string {
	return "HTTP/1.1 " + line + "\r\nDate: " + time.Now().Add(-5*time.Minute).UTC().Format(http.TimeFormat) + "\r\n"
}

func sized(head, body string) string {
	return fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
}

// oddResponses are those for which an answer of direct could differ from Handle's.
func oddResponses() map[string]string {
	plainHead := dated("200 OK") + "Content-Type: text/plain\r\n"
	long, longer := strings.Repeat("x", 9000), strings.Repeat("y", 200_000)
	m := map[string]string{
		"plain":         sized(plainHead, "hello"),
		"empty":         sized(plainHead, ""),
		"lower":         sized(strings.Replace(dated("200 OK"), "Date", "date", 1)+"content-type: a/b\r\netag: \"x\"\r\n", "hello"),
		"undated":       sized("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\n", "hello"),
		"untyped":       sized("HTTP/1.1 200 OK\r\n", "hello"),
		"two types":     sized(plainHead+"Content-Type: text/html\r\n", "hello"),
		"tagged":        sized(plainHead+"ETag: \"x\"\r\nVary: Accept-Encoding\r\nLast-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\n", "hello"),
		"dated":         sized(plainHead+"Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT\r\n", "hello"),
		"described":     sized(plainHead+"ETag: \"x\"\r\nContent-Encoding: x\r\nContent-Language: en\r\nContent-Location: /a\r\nContent-Digest: a\r\nExpires: Thu, 01 Jan 2015 00:00:00 GMT\r\nCache-Control: max-age=3600\r\n", "hello"),
		"cookies":       sized(plainHead+"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nLink: <a>\r\nLink: <b>\r\n", "hello"),
		"closing":       sized(plainHead+"Connection: close\r\n", "hello"),
		"keeping":       sized(plainHead+"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n", "hello"),
		"nominating":    sized(plainHead+"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nX-End: 2\r\n", "hello"),
		"hops":          sized(plainHead+"Proxy-Connection: a\r\nTE: trailers\r\nUpgrade: x\r\nProxy-Authenticate: y\r\nTrailer: X-T\r\n", "hello"),
		"aged":          sized(plainHead+"Age: 5\r\nCache-Status: front; hit\r\n", "hello"),
		"with an id":    sized(plainHead+"X-Request-Id: the-application's\r\n", "hello"),
		"space":         sized(plainHead+"X-Space : a \t\r\nX-Empty:\r\nX-Colon: a:b: c\r\n", "hello"),
		"not found":     sized(dated("404 Not Found"), "no"),
		"failing":       sized(dated("500 Oh dear")+"Retry-After: 3\r\n", "no"),
		"no reason":     sized(dated("200"), "ok"),
		"204":           dated("204 No Content") + "\r\n",
		"304":           dated("304 Not Modified") + "ETag: \"x\"\r\n\r\n",
		"chunked":       plainHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"close":         plainHead + "\r\nhello",
		"http10":        sized(strings.Replace(dated("200 OK"), "1.1", "1.0", 1), "hello"),
		"long":          sized(plainHead, long),
		"longer":        sized(plainHead, longer),
		"slow":          fmt.Sprintf("%sContent-Length: 10\r\n\r\n|hello|world", plainHead),
		"slow head":     "HTTP/1.1 200 OK\r\nContent-|Length: 5\r\n|\r\nhello",
		"201":           sized(dated("201 Created")+"Location: /hit/x/plain?q\r\nETag: \"x\"\r\n", "hello"),
		"303":           sized(dated("303 See Other")+"Location: /hit/x/plain\r\nContent-Location: http://h/hit/x/lower\r\n", ""),
		"205":           sized(dated("205 Reset Content"), ""),
		"304 of length": dated("304 Not Modified") + "Content-Length: 5\r\nETag: \"x\"\r\n\r\n",
		"grouped":       sized(plainHead+"Cache-Groups: \"g\"\r\n", "hello"),
		"regrouped":     sized(dated("404 Not Found")+"Cache-Group-Invalidation: \"g\", \"h\"\r\n", "hello"),
		"tasks":         sized(plainHead+"Pillion-Enqueue: emails;task=\"a\"\r\n", "hello"),
		"no queue":      sized(plainHead+"Pillion-Enqueue: nowhere;task=\"a\"\r\n", "hello"),
		"mixed":         sized(plainHead, "hello"),
		"POST mixed":    sized(dated("404 Not Found"), "no"),
		"*":             sized(plainHead, "any"),
		"located":       sized(plainHead+"Content-Location: /kept/x/located\r\nCache-Control: max-age=3600\r\n", "hello"),
		"cut 201":       dated("201 Created") + "Location: /hit/x/plain\r\nContent-Length: 10\r\n\r\nhello",
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

// Whatever the application sends, direct gives the client what Handle would give it.
func TestDirectAnswersAsHandleDoes(t *testing.T) {
	responses := oddResponses()
	w := newTwins(t, twinRules(), responses, nil)
	for _, prefix := range []string{"/pass", "/edited", "/dressed", "/hit", "/edited-hit", "/mine"} {
		for name := range responses {
			t.Run(prefix+"/"+name, func(t *testing.T) {
				for range 3 { // the miss, the hit that reads from Redis, and those that follow
					w.ask(t, "GET "+prefix+"/x/"+name+" HTTP/1.1\r\nHost: h\r\nX-Session-ID: s1\r\n\r\n", 1)
				}
			})
		}
	}
	w.directly(t, func() {
		for _, path := range []string{"/pass/x/plain", "/edited/x/plain", "/hit/x/plain", "/edited-hit/x/plain", "/mine/x/plain"} {
			w.ask(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\nX-Session-ID: s1\r\n\r\n", 1)
		}
	})
}

// twinRules are of the kinds for which an answer could differ.
func twinRules() []proxy.Rule {
	edit := func(r *proxy.Rule) {
		r.ResponseHeaders = proxy.HeaderEdit{Remove: []string{"Last-Modified"}, Set: map[string]string{"Content-Type": "c/d", "X-Frame-Options": "DENY"}, Add: map[string]string{"Link": "</c>"}}
	}
	return []proxy.Rule{
		rule("pass", "/pass/x/{id}", uncached), rule("edited", "/edited/x/{id}", uncached, edit),
		rule("dressed", "/dressed/x/{id}", uncached, func(r *proxy.Rule) { r.ResponseHeaders.Remove = []string{"X-Request-Id"} }),
		rule("hit", "/hit/x/{id}", ttl(time.Hour), cookiesToo), rule("edited hit", "/edited-hit/x/{id}", ttl(time.Hour), edit),
		rule("mine", "/mine/x/{id}", ttl(time.Hour), required),
	}
}

// A condition that holds is answered with what Handle would give: 304, or a HEAD's head.
func TestDirectGivesTheSame304(t *testing.T) {
	responses := oddResponses()
	w := newTwins(t, twinRules(), responses, nil)
	conditions := []string{"", "If-None-Match: \"x\"\r\n", "If-None-Match: W/\"x\", \"y\"\r\n", "If-None-Match: \"y\"\r\n", "If-None-Match: *\r\n",
		"If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n",
		"If-None-Match: \"x\"\r\nRange: bytes=0-1\r\n"}
	ask := func(t *testing.T, method, path, condition string) {
		t.Helper()
		w.ask(t, method+" "+path+" HTTP/1.1\r\nHost: h\r\nX-Session-ID: s1\r\n"+condition+"\r\n", 1)
	}
	for _, prefix := range []string{"/hit/x/", "/edited-hit/x/", "/mine/x/"} {
		for name := range responses {
			t.Run(prefix+name, func(t *testing.T) {
				for range 3 {
					ask(t, "GET", prefix+name, "")
				}
				for _, condition := range conditions {
					ask(t, "GET", prefix+name, condition)
					ask(t, "HEAD", prefix+name, condition)
				}
			})
		}
		w.directly(t, func() {
			for _, name := range []string{"plain", "lower", "tagged", "dated", "204", "described"} {
				for _, condition := range conditions[:len(conditions)-1] {
					ask(t, "GET", prefix+name, condition)
					ask(t, "HEAD", prefix+name, condition)
				}
			}
		})
	}
}

func cookiesToo(r *proxy.Rule) { r.Cache.SetCookie = cache.CookieStore }
