package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// seen records the last request that the application got.
type seen struct {
	header http.Header
	host   string
}

func (s *seen) record(w http.ResponseWriter, q *http.Request) {
	s.header, s.host = q.Header.Clone(), q.Host
	io.WriteString(w, "ok")
}

func TestHeaderToTheApplication(t *testing.T) {
	var app seen
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.record, 0)
	trusting := r.addPod()
	r.cfg.TrustedProxies = nil
	strict := r.addPod()
	lines := strings.Join([]string{
		"X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "Forwarded: for=1.2.3.4",
		"x_forwarded_for: 6.6.6.6", "X-User-Id: 666", "X_USER_ID: 666", "x-user-id: 667",
		"Connection: keep-alive, X-Secret, X-User-Id, Content-Type", "X-Secret: hop", "Keep-Alive: timeout=5", "TE: trailers", "Proxy-Authorization: Basic eA==",
		"Trailer: X-T", "Upgrade: h2c", "X-Many: a", "X-Many: b", "Cookie: a=1; b=\"2\"", "Cookie: c=3", "Accept-Encoding: br",
		"User-Agent: test", "Via: 1.0 other",
	}, "\r\n")
	send := func(p *pod) {
		t.Helper()
		if got := p.raw(t, "GET /x HTTP/1.1\r\nHost: Shop.Example:81\r\n"+lines+"\r\n\r\n"); got.status != 200 {
			t.Fatalf("%+v", got)
		}
	}
	want := func(name string, values ...string) {
		t.Helper()
		if got := app.header.Values(name); !slices.Equal(got, values) {
			t.Errorf("%s: %q, want %q", name, got, values)
		}
	}
	send(trusting)
	want("X-Forwarded-For", "1.2.3.4, 6.6.6.6, 127.0.0.1")
	want("X-Forwarded-Proto", "https")
	want("X-Forwarded-Host", "shop.example")
	want("Forwarded", `for=1.2.3.4, for=127.0.0.1;host="shop.example:81";proto=http`)
	send(strict)
	want("X-Forwarded-For", "127.0.0.1")
	want("X-Forwarded-Proto", "http")
	want("X-Forwarded-Host", "shop.example:81")
	want("Forwarded", `for=127.0.0.1;host="shop.example:81";proto=http`)
	for _, gone := range []string{"X-User-Id", "X_user_id", "X_forwarded_for", "X-Secret", "Connection", "Keep-Alive", "Te", "Proxy-Authorization", "Trailer", "Upgrade"} {
		want(gone)
	}
	want("X-Many", "a", "b")
	want("Cookie", `a=1; b="2"`, "c=3")
	want("Accept-Encoding", "br")
	want("User-Agent", "test")
	want("Via", "1.0 other", "1.1 pillion")
	if app.host != "shop.example:81" {
		t.Errorf("Host: %q", app.host)
	}
}

func TestResponseHeaderFromTheApplication(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, nil, 0)
	const fixed = "Tue, 01 Jan 2030 00:00:00 GMT"
	responses := map[string]string{
		"/full": "HTTP/1.1 203 Custom\r\nDate: " + fixed + "\r\nContent-Type: text/x-odd; charset=x\r\nSet-Cookie: a=1\r\nSet-Cookie: a=2; Path=/\r\n" +
			"X-Hop: 1\r\nConnection: X-Hop, close\r\nKeep-Alive: timeout=1\r\nServer: app\r\nETag: \"x\"\r\nContent-Length: 2\r\n\r\nok",
		"/bare":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"/empty": "HTTP/1.1 204 No Content\r\nDate: " + fixed + "\r\n\r\n",
		"/old":   "HTTP/1.0 200 OK\r\nDate: " + fixed + "\r\n\r\nto the end",
		"/cut":   "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nonly this",
	}
	r.up.URL = "http://" + canned(t, responses)
	p := r.addPod()
	full := p.do(t, "GET", "/full")
	if full.status != 203 || full.body != "ok" || full.header.Get("Date") != fixed || full.header.Get("Content-Type") != "text/x-odd; charset=x" ||
		full.header.Get("Server") != "app" || full.header.Get("ETag") != `"x"` {
		t.Errorf("%+v", full)
	}
	if got := full.header.Values("Set-Cookie"); !slices.Equal(got, []string{"a=1", "a=2; Path=/"}) {
		t.Errorf("Set-Cookie: %q", got)
	}
	for _, gone := range []string{"X-Hop", "Keep-Alive"} {
		if full.header.Get(gone) != "" {
			t.Errorf("%s was passed on", gone)
		}
	}
	bare := p.do(t, "GET", "/bare")
	if bare.body != "ok" || bare.header.Get("Content-Type") != "" || bare.header.Get("Server") != "" {
		t.Errorf("something was made up: %+v", bare)
	}
	if _, err := http.ParseTime(bare.header.Get("Date")); err != nil {
		t.Errorf("no Date: %v", err)
	}
	if got := p.do(t, "GET", "/empty"); got.status != 204 || got.header.Get("Content-Length") != "" {
		t.Errorf("%+v", got)
	}
	if got := p.do(t, "GET", "/old"); got.body != "to the end" {
		t.Errorf("%+v", got)
	}
	if got := p.raw(t, "GET /old HTTP/1.0\r\n\r\n"); got.body != "to the end" || got.header.Get("Transfer-Encoding") != "" {
		t.Errorf("to HTTP/1.0: %+v", got)
	}
	if got := p.do(t, "GET", "/cut"); got.status != 502 {
		t.Errorf("a short body that was cut: %+v", got)
	}
	if got := p.do(t, "HEAD", "/bare"); got.status != 200 || got.header.Get("Content-Length") != "2" || got.body != "" {
		t.Errorf("HEAD: %+v", got)
	}
}

// canned is an application that answers with fixed bytes, and closes.
func canned(t *testing.T, responses map[string]string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				q, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				text := responses[q.URL.Path]
				if q.Method == "HEAD" {
					text, _, _ = strings.Cut(text, "\r\n\r\n")
					text += "\r\n\r\n"
				}
				io.WriteString(c, text)
			}()
		}
	}()
	return ln.Addr().String()
}

func TestUpgrade(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("ws", "/ws"), rule("mine", "/mine", required)}, nil, 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				q, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				if q.Header.Get("Upgrade") != "echo" || q.Header.Get("X-Refuse") != "" {
					fmt.Fprintf(c, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
					return
				}
				fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello\n")
				for {
					line, err := br.ReadString('\n')
					if err != nil {
						io.WriteString(c, "bye\n")
						return
					}
					io.WriteString(c, "echo "+line)
				}
			}()
		}
	}()
	r.up.URL = "http://" + ln.Addr().String()
	p := r.addPod()
	if got := p.raw(t, "GET /mine HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); got.status != 401 {
		t.Errorf("an upgrade without a session: %+v", got)
	}
	if got := p.raw(t, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Refuse: 1\r\n\r\n"); got.status != 426 || got.body != "no" {
		t.Errorf("a refused upgrade: %+v", got)
	}
	if got := p.raw(t, "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\n\r\n"); got.status != 426 {
		t.Errorf("Upgrade that Connection does not name must not be forwarded: %+v", got)
	}
	c, err := net.Dial("tcp", p.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	must(t, err)
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" || !strings.EqualFold(resp.Header.Get("Connection"), "upgrade") {
		t.Fatalf("%v", resp)
	}
	for _, step := range [][2]string{{"", "hello\n"}, {"one\n", "echo one\n"}, {"two\n", "echo two\n"}} {
		io.WriteString(c, step[0])
		if line, err := br.ReadString('\n'); line != step[1] {
			t.Fatalf("got %q %v, want %q", line, err, step[1])
		}
	}
	must(t, c.(*net.TCPConn).CloseWrite()) // the end of one direction leaves the other open
	if line, err := br.ReadString('\n'); line != "bye\n" {
		t.Fatalf("after half-close: %q %v", line, err)
	}
}

func TestPurge(t *testing.T) {
	version := 0
	r := newRig(t, []proxy.Rule{rule("p", "/p/{id}", ttl(time.Minute), func(r *proxy.Rule) { r.Cache.Tags = []string{"p:{id}"} })},
		func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Vary", "Accept-Language")
			fmt.Fprintf(w, "v%d", version)
		}, 2)
	ctx := context.Background()
	mark := 0
	purges := map[string]func(){
		"by tag": func() { must(t, r.pods[0].store.PurgeTag(ctx, "p:1")) },
		"by url": func() {
			found, err := r.pods[0].handler.PurgeURL(ctx, "H", "/p/%31")
			must(t, err)
			if !found {
				t.Error("nothing found to purge")
			}
		},
		"by one write of another program": func() {
			mark++
			must(t, r.other.Do(ctx, r.other.B().Set().Key("pillion:t:p:1").Value(fmt.Sprint(mark)).ExSeconds(777600).Build()).Error())
			eventually(t, "seen by pod A", func() bool {
				return !strings.Contains(r.pods[0].do(t, "GET", "/p/1", "Host", "h", "Cache-Control", "only-if-cached").cacheStatus(), "hit")
			})
		},
	}
	for name, purge := range purges {
		t.Run(name, func(t *testing.T) {
			get := func(p *pod, id, lang string) string {
				return p.do(t, "GET", "/p/"+id, "Host", "h", "Accept-Language", lang).body
			}
			for _, p := range r.pods {
				for _, lang := range []string{"de", "fr"} {
					get(p, "1", lang)
					get(p, "2", lang)
				}
			}
			other := get(r.pods[0], "2", "de")
			version++
			want := fmt.Sprintf("v%d", version)
			purge()
			for _, lang := range []string{"de", "fr"} {
				if got := get(r.pods[0], "1", lang); got != want {
					t.Errorf("pod A, %s: %s right after the purge, want %s", lang, got, want)
				}
				eventually(t, "pod B serves the new version", func() bool { return get(r.pods[1], "1", lang) == want })
			}
			if got := get(r.pods[0], "2", "de"); got != other {
				t.Errorf("another URL changed from %s to %s", other, got)
			}
		})
	}
}

// A fill that began before a purge must not store what it brings.
func TestFillDoesNotSurviveAPurge(t *testing.T) {
	for _, by := range []string{"tag", "url"} {
		t.Run(by, func(t *testing.T) {
			arrived, release := make(chan struct{}, 4), make(chan struct{})
			r := newRig(t, []proxy.Rule{rule("p", "/p/{id}", ttl(time.Minute), func(r *proxy.Rule) { r.Cache.Tags = []string{"p:{id}"} })},
				func(w http.ResponseWriter, q *http.Request) {
					arrived <- struct{}{}
					<-release
					io.WriteString(w, q.Header.Get("X-Version"))
				}, 1)
			p := r.pods[0]
			done := make(chan string)
			go func() { done <- p.do(t, "GET", "/p/1", "Host", "h", "X-Version", "old").body }()
			<-arrived
			if by == "tag" {
				must(t, p.store.PurgeTag(context.Background(), "p:1"))
			} else {
				_, err := p.handler.PurgeURL(context.Background(), "h", "/p/1")
				must(t, err)
			}
			// One that comes after the purge, and finds the old fill still flying.
			after := make(chan string)
			go func() { after <- p.do(t, "GET", "/p/1", "Host", "h", "X-Version", "new").body }()
			close(release)
			if got := <-done; got != "old" {
				t.Errorf("the fill's own answer: %q", got)
			}
			if got := <-after; got != "new" {
				t.Errorf("a request after the purge got %q", got)
			}
			if got := p.do(t, "GET", "/p/1", "Host", "h", "X-Version", "new").body; got != "new" {
				t.Errorf("stored: %q", got)
			}
		})
	}
}

// A pod that died while it was filling must not keep others from the key for long.
func TestLeaseOfADeadPod(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, echo, 1)
	key, ok := cache.AppendKey(nil, &cache.KeyParts{Scope: cache.ScopePublic, Host: []byte("h"), Path: []byte("/x")})
	if !ok {
		t.Fatal("no key")
	}
	lease := cache.LeaseName("pillion:", cache.HashKey(key))
	must(t, r.other.Do(context.Background(), r.other.B().Set().Key(lease).Value("dead").PxMilliseconds(300).Build()).Error())
	got := r.pods[0].do(t, "GET", "/x", "Host", "h")
	if got.status != 200 || !strings.Contains(got.cacheStatus(), "stored") {
		t.Fatalf("%+v", got)
	}
	if n := r.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestConditionalRequests(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, varied, 1)
	for _, state := range []string{"miss", "hit"} {
		got := r.pods[0].do(t, "GET", "/x", "If-None-Match", `W/"v1"`)
		if got.status != 304 || got.body != "" || got.header.Get("ETag") != `"v1"` || got.header.Get("Content-Type") != "" || got.header.Get("Content-Length") != "" {
			t.Errorf("%s: %+v", state, got)
		}
		if got := r.pods[0].do(t, "GET", "/x", "If-None-Match", `"v2"`); got.status != 200 || got.body == "" {
			t.Errorf("%s: %+v", state, got)
		}
	}
	if n := r.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// Redis gone: public routes go on, coalesced as before; nothing is stored.
func TestWithoutRedis(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, echo, 0)
	r.hasty()
	p := r.addPod()
	p.do(t, "GET", "/x")
	r.redis.Kill()
	eventually(t, "down", func() bool { return !p.conn.Up() })
	got := p.do(t, "GET", "/x")
	if got.status != 200 || !strings.Contains(got.cacheStatus(), "redis-down") {
		t.Errorf("%+v", got)
	}
	must(t, r.redis.Restart())
	eventually(t, "caching again", func() bool { return strings.Contains(p.do(t, "GET", "/x").cacheStatus(), "; hit") })
}
