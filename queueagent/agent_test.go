package queueagent

import (
	"crypto/tls"
	"encoding/base64"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// status answers with a status, and once with each of those before it.
func status(codes ...int) func(*fasthttp.RequestCtx) {
	var n atomic.Int64
	return func(ctx *fasthttp.RequestCtx) {
		i := int(n.Add(1)) - 1
		ctx.SetStatusCode(codes[min(i, len(codes)-1)])
		ctx.SetBodyString("answer " + strconv.Itoa(i))
	}
}

func TestDeliveryHeaders(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, status(500, 200))
	cfg := testConfig("tâsks", tasks.List, "l", s.url+"/tasks/{type}")
	cfg.Webhook.Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	a := r.run([]Config{cfg})
	body := `{"type": "e mail\r\nX: y", "data": [1,  2]}`
	body = strings.ReplaceAll(body, "\r\n", `\r\n`)
	r.do("RPUSH", "l", body)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	posts := s.seen()
	if len(posts) != 2 {
		t.Fatalf("%d posts: want 2", len(posts))
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(cfg.Webhook.Secret, "whsec_"))
	for i, p := range posts {
		if err := verify(p, key); err != nil {
			t.Error(err)
		}
		if p.body != body || p.path != "/tasks/e%20mail%0D%0AX%3A%20y" {
			t.Errorf("posted %s to %s", p.body, p.path)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": posts[0].header["webhook-id"],
			"ce-type": "e%20mail%0D%0AX:%20y", "ce-source": "/pillion/t%C3%A2sks", "Idempotency-Key": posts[0].header["webhook-id"],
			"Pillion-Attempt": strconv.Itoa(i + 1), "Pillion-Max-Attempts": "10", "Pillion-Queue": "t%C3%A2sks",
			"Pillion-Reason": []string{"first", "retry"}[i],
		} {
			if p.header[name] != want {
				t.Errorf("post %d: %s is %q: want %q", i+1, name, p.header[name], want)
			}
		}
		if ts, err := strconv.ParseInt(p.header["webhook-timestamp"], 10, 64); err != nil || time.Since(time.Unix(ts, 0)) > time.Minute {
			t.Errorf("webhook-timestamp %q", p.header["webhook-timestamp"])
		}
		if p.header["X"] != "" || p.header["webhook-id"] == "" {
			t.Error("a header was injected, or webhook-id is missing")
		}
	}
	if st := a.Stats()[0]; st.Claimed != 2 || st.Failed != 1 || st.Retries != 1 || st.InFlight != 0 || st.LastError != "status_500" {
		t.Errorf("%+v", st)
	}
	eventually(t, "slots are free", func() bool { return a.Stats()[0].InFlight == 0 })
	r.wantEmpty(a.queues[0].store)
}

func TestEndsOfATask(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload string
		answer  func(*fasthttp.RequestCtx)
		posts   int
		dead    string // reason; empty: delivered
	}{
		{"redirect is not followed", `{"type":"t"}`, func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Location", "/elsewhere")
			ctx.SetStatusCode(302)
		}, 3, "max_attempts"},
		{"gone", `{"type":"t"}`, status(410), 1, "gone"},
		{"rejected", `{"type":"t"}`, func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.Set("Pillion-Result", "dead-letter")
			ctx.SetStatusCode(422)
		}, 1, "rejected"},
		{"attempts", `{"type":"t"}`, status(500), 3, "max_attempts"},
		{"last attempt", `{"type":"t"}`, status(404, 503, 204), 3, ""},
		{"hung", `{"type":"t"}`, func(ctx *fasthttp.RequestCtx) { time.Sleep(500 * time.Millisecond) }, 3, "max_attempts"},
		{"huge answer", `{"type":"t"}`, func(ctx *fasthttp.RequestCtx) { ctx.SetBody(make([]byte, 1<<20)) }, 1, ""},
		{"not JSON", "\x00\xff{", status(200), 0, "bad_payload"},
		{"empty", "", status(200), 0, "bad_payload"},
		{"no type", `{"data":1}`, status(200), 0, "bad_payload"},
		{"type is up", `{"type":".."}`, status(200), 0, "bad_payload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, true)
			s := newSink(t, c.answer)
			cfg := testConfig("q", tasks.List, "l", s.url+"/tasks/{type}")
			cfg.Retry.MaxAttempts = 3
			if c.name == "hung" { // others may take their time on a busy machine
				cfg.Webhook.Timeout = 200 * time.Millisecond
			}
			a := r.run([]Config{cfg})
			r.do("RPUSH", "l", c.payload)
			eventually(t, "the task ends", func() bool { st := a.Stats()[0]; return st.Delivered+st.DeadLettered == 1 && st.InFlight == 0 })
			if n := len(s.seen()); n != c.posts {
				t.Errorf("%d posts: want %d", n, c.posts)
			}
			r.wantEmpty(a.queues[0].store)
			if c.dead != "" {
				r.wantDead(a.queues[0].store, c.dead, c.payload)
			} else if r.int("EXISTS", a.queues[0].store.Keys.Dead) != 0 {
				t.Error("there are dead letters")
			}
		})
	}
}

// Without a type in the URL any bytes are a task.
func TestAnyPayload(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	a := r.run([]Config{testConfig("q", tasks.List, "l", s.url+"/x")})
	want := []string{"\x00\xff\r\n", "", `{"type":5}`, strings.Repeat("big", 3<<20)}
	r.do(append([]string{"RPUSH", "l"}, want...)...)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 4 })
	got := make(map[string]bool)
	for _, p := range s.seen() {
		got[p.body] = true
		if p.header["ce-type"] != "pillion.task" {
			t.Errorf("ce-type %q", p.header["ce-type"])
		}
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("%.20q was not delivered as it is", w)
		}
	}
}

func TestARetryAfterStopsTheQueue(t *testing.T) {
	r := newRig(t, true)
	var n atomic.Int64
	s := newSink(t, func(ctx *fasthttp.RequestCtx) {
		if n.Add(1) == 1 {
			ctx.Response.Header.Set("Retry-After", "1")
			ctx.SetStatusCode(429)
		}
	})
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Concurrency = 1
	a := r.run([]Config{cfg})
	r.do("RPUSH", "l", "1", "2", "3")
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 3 })
	posts := s.seen()
	for _, p := range posts[1:] {
		if gap := p.at.Sub(posts[0].at); gap < 900*time.Millisecond {
			t.Errorf("a task came %s after the answer: want 1s", gap)
		}
		if p.header["Pillion-Attempt"] != "1" {
			t.Error("the refusal counts as an attempt")
		}
	}
	if st := a.Stats()[0]; st.Throttled != 1 || st.Failed != 0 {
		t.Errorf("%+v", st)
	}
}

func TestBreakerConsumesNoAttempt(t *testing.T) {
	r := newRig(t, true)
	addr := apptest.FreeAddr(t) // refused as long as nobody listens
	cfg := testConfig("q", tasks.List, "l", "http://"+addr)
	cfg.Retry.MaxAttempts = 1
	for i := range 50 {
		r.do("RPUSH", "l", strconv.Itoa(i))
	}
	a := r.run([]Config{cfg})
	eventually(t, "breaker opens, and probes", func() bool { return a.Stats()[0].BreakerOpen && a.Stats()[0].Claimed >= 18 })
	if st := a.Stats()[0]; st.Claimed > 16+8 || st.LastError != "unreachable" {
		t.Errorf("%+v: want one task at a time once it is open", st)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	s.serve(t, ln)
	eventually(t, "delivered", func() bool { return a.Stats()[0].Delivered == 50 })
	for _, p := range s.seen() {
		if p.header["Pillion-Attempt"] != "1" || p.header["Pillion-Reason"] != "first" {
			t.Fatalf("attempt %s, %s: want 1, first", p.header["Pillion-Attempt"], p.header["Pillion-Reason"])
		}
	}
	if st := a.Stats()[0]; st.Failed != 0 || st.BreakerOpen || len(s.seen()) != 50 {
		t.Errorf("%+v, %d posts", st, len(s.seen()))
	}
}

// A connection that ends in the middle of an answer may mean that the task was the
// reason: it counts. One that the server closed while idle must not even be noticed.
func TestConnectionsThatEnd(t *testing.T) {
	r := newRig(t, true)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	answers := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", // cut in the body
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",      // then closed while idle
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	}
	go func() {
		for _, answer := range answers {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte(answer))
			_ = c.Close()
		}
	}()
	a := r.run([]Config{testConfig("q", tasks.List, "l", "http://"+ln.Addr().String())})
	r.do("RPUSH", "l", "1")
	eventually(t, "first delivered", func() bool { return a.Stats()[0].Delivered == 1 })
	if st := a.Stats()[0]; st.Failed != 1 || st.LastError != "connection" {
		t.Errorf("%+v: want one failed attempt", st)
	}
	r.do("RPUSH", "l", "2")
	eventually(t, "second delivered", func() bool { return a.Stats()[0].Delivered == 2 })
	if st := a.Stats()[0]; st.Failed != 1 {
		t.Errorf("%+v: a connection closed while idle cost an attempt", st)
	}
}

// A server whose certificate is not trusted is not the application.
func TestUntrustedCertificate(t *testing.T) {
	r := newRig(t, true)
	cert, key, err := fasthttp.GenerateTestCertificate("localhost")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{}
	s.serve(t, tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}}))
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	a := r.run([]Config{testConfig("untrusted", tasks.List, "m", "https://localhost:"+port+"/")})
	r.do("RPUSH", "m", "1")
	eventually(t, "an unknown certificate is refused", func() bool { return a.Stats()[0].BreakerOpen })
	if n := len(s.seen()); n != 0 {
		t.Errorf("%d posts: want none", n)
	}
}
