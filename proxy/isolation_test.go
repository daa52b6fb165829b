package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

const (
	isolationConns = 64
	isolationUsers = 500
)

// TestNoUserSeesAnothersResponse sends 64 connections × 10,000 requests of 500 users
// to two pods while clients leave in the middle, sessions come and go, entries expire
// and are purged, and Redis stands still now and then. Every response must be its own
// user's.
func TestNoUserSeesAnothersResponse(t *testing.T) {
	perConn := 10_000
	if testing.Short() {
		perConn = 500
	}
	if v := os.Getenv("ISOLATION_REQUESTS"); v != "" {
		perConn, _ = strconv.Atoi(v)
	}
	app := startEcho(t)
	r := newRig(t, []proxy.Rule{
		rule("profile", "/profile/{n}", required, ttl(5*time.Second), func(r *proxy.Rule) { r.Cache.Tags = []string{"user:{session.user_id}"} }),
		rule("open", "/open/{n}", ttl(5*time.Second), func(r *proxy.Rule) { r.Session.Mode = sessioncheck.ModeOptional }),
		rule("post", "/post", required, func(r *proxy.Rule) { r.Match.Methods = []string{"POST"} }),
	}, nil, 0)
	r.up.URL = "http://" + app
	r.hasty()
	r.redisTimeout = 100 * time.Millisecond // some of the pauses are longer
	pods := []*pod{r.addPod(), r.addPod()}
	for u := range isolationUsers {
		r.setSession(fmt.Sprint("s", u), fmt.Sprintf(`{"user_id":"u%d"}`, u))
	}

	stop := make(chan struct{})
	var chaos sync.WaitGroup
	chaos.Go(func() { r.disturb(stop) })
	var tally tally
	var clients sync.WaitGroup
	for i := range isolationConns {
		clients.Go(func() {
			c := &user{t: t, addr: pods[i%len(pods)].addr, rnd: rand.New(rand.NewPCG(uint64(i), 7)), tally: &tally}
			for range perConn {
				if !c.once() {
					return
				}
			}
			c.drop()
		})
	}
	clients.Wait()
	close(stop)
	chaos.Wait()
	t.Logf("%d requests: %d own responses, %d of them from the cache, %d 401, %d 503, %d left early",
		isolationConns*perConn, tally.own.Load(), tally.hits.Load(), tally.absent.Load(), tally.unknown.Load(), tally.left.Load())
	if tally.own.Load() < int64(isolationConns*perConn)/2 || tally.hits.Load() == 0 || tally.left.Load() == 0 {
		t.Error("too few of the requests were answered for the test to mean anything")
	}
}

type tally struct{ own, hits, absent, unknown, left atomic.Int64 }

// disturb stops Redis for moments, and deletes, recreates and purges.
func (r *rig) disturb(stop chan struct{}) {
	ctx := context.Background()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		u := rand.IntN(isolationUsers)
		switch {
		case n%100 == 0:
			if r.redis.Pause() == nil {
				time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond) // the disturbance itself
				_ = r.redis.Resume()
			}
		case n%3 == 0:
			r.other.Do(ctx, r.other.B().Del().Key(fmt.Sprint("session:s", u)).Build())
			r.other.Do(ctx, r.other.B().Set().Key(fmt.Sprint("session:s", u)).Value(fmt.Sprintf(`{"user_id":"u%d"}`, u)).ExSeconds(3600).Build())
		default:
			r.other.Do(ctx, r.other.B().Set().Key(fmt.Sprintf("pillion:t:user:u%d", u)).Value(fmt.Sprint(n)).ExSeconds(3600).Build())
		}
	}
}

// user is one connection that speaks for many users in turn, as a connection of an
// ingress does.
type user struct {
	t      *testing.T
	addr   string
	rnd    *rand.Rand
	tally  *tally
	conn   net.Conn
	br     *bufio.Reader
	buf    []byte
	serial int
}

func (c *user) drop() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// once sends one request and checks its response; false ends the connection's work.
func (c *user) once() bool {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			c.t.Error(err)
			return false
		}
		c.conn, c.br = conn, bufio.NewReader(conn)
	}
	u, n := c.rnd.IntN(isolationUsers), c.rnd.IntN(3)
	c.serial++
	who, want := fmt.Sprintf("X-Session-ID: s%d\r\n", u), fmt.Sprintf("user=u%d;", u)
	var req, path string
	switch k := c.rnd.IntN(10); {
	case k == 0:
		path = "/post"
		body := fmt.Sprintf("%d-%d", u, c.serial)
		want += " body=" + body + ";"
		req = fmt.Sprintf("POST /post HTTP/1.1\r\nHost: h\r\n%sContent-Length: %d\r\n\r\n%s", who, len(body), body)
	case k == 1:
		path = fmt.Sprintf("/open/%d", n)
		req = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\nX-User-Id: u%d\r\n\r\n", path, u)
		want = "user=;"
	case k < 4:
		path = fmt.Sprintf("/open/%d", n)
		req = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\nCookie: session_id=s%d\r\n\r\n", path, u)
	default:
		path = fmt.Sprintf("/profile/%d", n)
		req = fmt.Sprintf("GET %s HTTP/1.1\r\nHost: h\r\n%s\r\n", path, who)
	}
	want += " path=" + path
	if _, err := io.WriteString(c.conn, req); err != nil {
		c.t.Error(err)
		return false
	}
	if c.rnd.IntN(50) == 0 { // leaves without waiting for the answer
		c.tally.left.Add(1)
		c.drop()
		return true
	}
	return c.check(want, path == fmt.Sprintf("/open/%d", n))
}

func (c *user) check(want string, optional bool) bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	status, hit, closing, body, err := c.read()
	if err != nil {
		c.t.Errorf("reading a response: %v", err)
		return false
	}
	if closing {
		defer c.drop()
	}
	switch status {
	case 200:
		got := string(body)
		// On an optional route a session that is not known now counts as none.
		if visitor := "user=;" + want[bytes.IndexByte([]byte(want), ';')+1:]; got != want && !(optional && got == visitor) {
			c.t.Errorf("got %q, want %q", got, want)
			return false
		}
		c.tally.own.Add(1)
		if hit {
			c.tally.hits.Add(1)
		}
	case 401:
		c.tally.absent.Add(1)
	case 503:
		c.tally.unknown.Add(1)
	default:
		c.t.Errorf("status %d: %s", status, body)
		return false
	}
	return true
}

// read is a small HTTP/1.1 client: net/http's would be most of the test's cost.
func (c *user) read() (status int, hit, closing bool, body []byte, err error) {
	length := -1
	for first := true; ; first = false {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return 0, false, false, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			if len(line) < 12 {
				return 0, false, false, nil, fmt.Errorf("status line %q", line)
			}
			status, _ = strconv.Atoi(string(line[9:12]))
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(bytes.ToLower(name)) {
		case "content-length":
			length, _ = strconv.Atoi(string(value))
		case "cache-status":
			hit = bytes.Contains(value, []byte("; hit"))
		case "connection":
			closing = string(value) == "close"
		}
	}
	if length < 0 {
		return 0, false, false, nil, fmt.Errorf("no Content-Length")
	}
	if cap(c.buf) < length {
		c.buf = make([]byte, length*2)
	}
	body = c.buf[:length]
	_, err = io.ReadFull(c.br, body)
	return status, hit, closing, body, err
}

// startEcho is an application that says who asks for what.
func startEcho(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	srv := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		fmt.Fprintf(ctx, "user=%s;", ctx.Request.Header.Peek("X-User-Id"))
		if ctx.IsPost() {
			fmt.Fprintf(ctx, " body=%s;", ctx.PostBody())
		}
		fmt.Fprintf(ctx, " path=%s", ctx.Path())
	}}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Shutdown() })
	return ln.Addr().String()
}
