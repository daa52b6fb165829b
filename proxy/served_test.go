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
		"large hit": "GET /large HTTP/1.1\r\nHost: h\r\n" + browser + "\r\n",
	}
	all := hits()
	for _, name := range []string{"public", "vary", "session", "cookie", "edited", "conditional", "edited 304", "head"} {
		m[name] = all[name]
	}
	m["hit"] = all["public"] // as "make profile" and "make hotpath" call it
	return m
}

// servedRig is hotRig with an application that allocates nothing, for what is passed on.
func servedRig(tb testing.TB) *pod {
	const response = "HTTP/1.1 200 OK\r\nServer: app\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\nContent-Length: "
	small, large := []byte(response+"1024\r\n\r\n"+strings.Repeat("x", 1024)), []byte(response+"20000\r\n\r\n"+strings.Repeat("x", 20_000))
	app := apptest.Start(tb, apptest.Each(func(c *apptest.Conn) error {
		p := make([]byte, 4096)
		for {
			n, err := c.Conn.Read(p)
			if err != nil {
				return err
			}
			answer := small
			if bytes.HasPrefix(p[:n], []byte("GET /large")) {
				answer = large
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
	r.rules = append([]proxy.Rule{rule("pass", "/pass", off), rule("pass mine", "/pass-mine", off, required), rule("mine", "/mine", required, ttl(time.Hour))}, r.rules...)
	r.up.URL = app.URL()
	r.setSession("s1", `{"user_id": 7}`)
	return r.addPod()
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
	if strings.HasPrefix(name, "pass") {
		what = []byte("; fwd=bypass")
	}
	eventually(tb, name+" as it is measured", func() bool { return bytes.Contains(ask(), what) })
	return func() {
		if !bytes.Contains(ask(), what) {
			tb.Fatalf("not %s: %.300s", what, buf)
		}
	}
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
			if n := testing.AllocsPerRun(2000, again); n != 0 {
				t.Errorf("%v allocations", n)
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
