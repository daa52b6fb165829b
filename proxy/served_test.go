//go:build !race

package proxy_test

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/proxy"
)

// served are requests as they come over a connection.
func served() map[string]string {
	m := map[string]string{
		"pass":      "GET /pass HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
		"pass mine": "GET /pass-mine HTTP/1.1\r\nHost: h\r\n" + browser + "X-Session-ID: s1\r\n\r\n",
		"pass head": "HEAD /pass HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
		"large hit": "GET /large HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
	}
	all := hits()
	for _, name := range []string{"public", "vary", "session", "cookie", "edited", "conditional", "edited 304", "head"} {
		m[name] = all[name]
	}
	const kib = "Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n"
	m["pass post"] = "POST /pass HTTP/1.1\r\nHost: h\r\n" + browser + kib + strings.Repeat("x", 1024)
	m["pass post mine"] = "POST /pass-mine HTTP/1.1\r\nHost: h\r\n" + browser + "Sec-Fetch-Site: same-origin\r\nCookie: session_id=s1\r\n" + kib + strings.Repeat("x", 1024)
	m["pass post 404"] = "POST /pass-not HTTP/1.1\r\nHost: h\r\n" + browser + kib + strings.Repeat("x", 1024)
	m["hit"] = all["public"] // as "make profile" and "make hotpath" call it
	return m
}

// servedRig is hotRig with an application that allocates nothing, for what is passed on.
func servedRig(tb testing.TB) *pod {
	const response = "HTTP/1.1 200 OK\r\nServer: app\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\nContent-Length: "
	const missing = "HTTP/1.1 404 Not Found\r\nServer: app\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n"
	not, empty := []byte(missing+strings.Repeat("x", 1024)), []byte(response+"1024\r\n\r\n")
	small, large := []byte(response+"1024\r\n\r\n"+strings.Repeat("x", 1024)), []byte(response+"20000\r\n\r\n"+strings.Repeat("x", 20_000))
	app := apptest.Start(tb, apptest.Each(func(c *apptest.Conn) error {
		p := make([]byte, 4096)
		for {
			n, err := c.Conn.Read(p)
			if err != nil {
				return err
			}
			answer := small
			switch {
			case bytes.HasPrefix(p[:n], []byte("GET /large")):
				answer = large
			case bytes.HasPrefix(p[:n], []byte("HEAD")):
				answer = empty
			case bytes.HasPrefix(p[:n], []byte("POST /pass-not")):
				answer = not
			}
			if _, err := c.Conn.Write(answer); err != nil {
				return err
			}
		}
	}))
	off := func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff }
	r := newRig(tb, []proxy.Rule{
		rule("public", "/public/{id}", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.Tags = []string{"p:{id}"} }),
		rule("others", "/{id}", ttl(time.Hour)),
		rule("edited", "/edited/{id}", ttl(time.Hour), func(r *proxy.Rule) {
			r.ResponseHeaders.Set = map[string]string{"X-Frame-Options": "DENY"}
		}),
	}, nil, 0)
	r.rules = append([]proxy.Rule{rule("pass", "/pass", off), rule("pass not", "/pass-not", off), rule("pass mine", "/pass-mine", off, required, func(r *proxy.Rule) { r.CSRF.Mode = "on" }), rule("mine", "/mine", required, ttl(time.Hour))}, r.rules...)
	r.up.URL = app.URL()
	r.setSession("s1", `{"user_id": 7}`)
	p := r.addPod()
	p.do(tb, "GET", "/public/1", "Host", "h") // a HEAD stores nothing
	return p
}

// exchange asks once more on a connection of its own, and checks what comes.
func exchange(tb testing.TB, p *pod, name, request string) (again func()) {
	tb.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(tb, err)
	tb.Cleanup(func() { _ = c.Close() })
	must(tb, c.SetDeadline(time.Now().Add(5*time.Minute)))
	send, buf := []byte(request), make([]byte, 64<<10)
	sizes := []int{1024, 20_000}
	if strings.HasPrefix(request, "HEAD") || strings.Contains(request, "If-None-Match") {
		sizes = []int{0}
	}
	ask := func() []byte {
		if _, err := c.Write(send); err != nil {
			tb.Fatal(err)
		}
		for n := 0; ; {
			m, err := c.Read(buf[n:])
			if n += m; err != nil {
				tb.Fatal(err)
			}
			if end := bytes.Index(buf[:n], []byte("\r\n\r\n")); end >= 0 && slices.Contains(sizes, n-end-len("\r\n\r\n")) {
				return buf[:n]
			}
		}
	}
	what := []byte("; hit")
	switch {
	case strings.HasPrefix(name, "pass post"):
		what = []byte("; fwd=method")
	case strings.HasPrefix(name, "pass"):
		what = []byte("; fwd=bypass")
	}
	eventually(tb, name+" as it is measured", func() bool { return bytes.Contains(ask(), what) })
	return func() {
		if !bytes.Contains(ask(), what) {
			tb.Fatalf("not %s: %.300s", what, buf)
		}
	}
}

// invalidating are the requests that write to Redis, with what that may allocate.
func invalidating() map[string]float64 {
	return map[string]float64{"pass post": 35, "pass post mine": 65}
}

// The whole way of a request, from socket to socket.
func TestServedRequestsDoNotAllocate(t *testing.T) {
	p := servedRig(t)
	for name, request := range served() {
		t.Run(name, func(t *testing.T) {
			again := exchange(t, p, name, request)
			for range 100 {
				again()
			}
			// What the process does beside, such as heartbeats, comes to less than one.
			if n := testing.AllocsPerRun(2000, again); n > invalidating()[name] {
				t.Errorf("%v allocations, want %v at most", n, invalidating()[name])
			}
		})
	}
}

func BenchmarkServed(b *testing.B) {
	p := servedRig(b)
	for name, request := range served() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			again := exchange(b, p, name, request)
			b.ReportAllocs()
			for b.Loop() {
				again()
			}
		})
	}
}
