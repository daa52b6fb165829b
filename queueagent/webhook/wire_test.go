package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// application is a server that reads each request with net/http, an implementation
// other than ours, and answers with raw bytes.
type application struct {
	url  string
	seen chan *http.Request // its body is read into got
	got  chan []byte
}

// newApplication serves connections until the test ends. An answer of "" closes the
// connection without one.
func newApplication(tb testing.TB, answer func(*http.Request) string) *application {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return newApplicationOn(tb, ln, answer)
}

// newApplicationOn is newApplication on a listener, which it closes.
func newApplicationOn(tb testing.TB, ln net.Listener, answer func(*http.Request) string) *application {
	tb.Helper()
	a := &application{url: "http://" + ln.Addr().String(), seen: make(chan *http.Request, 64), got: make(chan []byte, 64)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			a.serve(c, answer)
		}
	}()
	tb.Cleanup(func() { _ = ln.Close(); <-done })
	return a
}

// serve handles one connection; tests have one at a time.
func (a *application) serve(c net.Conn, answer func(*http.Request) string) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a.seen <- r
		a.got <- body
		out := answer(r)
		if out == "" {
			return
		}
		if _, err := io.WriteString(c, out); err != nil {
			return
		}
	}
}

func fixed(answer string) func(*http.Request) string {
	return func(*http.Request) string { return answer }
}

const ok200 = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

func newSender(tb testing.TB, cfg Config, task Task) *Sender {
	tb.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	e, err := New(cfg, task, "my queue", 10)
	if err != nil {
		tb.Fatal(err)
	}
	s := e.Sender()
	tb.Cleanup(s.Close)
	return s
}

// TestTheWholeRequest compares every header with what the contract says.
func TestTheWholeRequest(t *testing.T) {
	app := newApplication(t, fixed(ok200))
	s := newSender(t, Config{
		URL: app.url + "/tasks/{type}?a=b c", Secret: "one", Secrets: []string{"whsec_dHdv", "three"},
		ContentType: "application/cbor", Headers: map[string]string{"X-Env": "prod", "Authorization": "Bearer x y"},
	}, Task{Type: "class", Body: "args", Traceparent: "trace.traceparent"})
	first := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600))
	payload := `{"class":"a b","args":"body","trace":{"traceparent":"00-` + sampleTrace + `-b7ad6b7169203331-01","tracestate":"k=v"}}`
	lease := &fakeLease{}
	before := time.Now()
	a := s.Send(context.Background(), lease, &Request{ID: "id-1", Payload: payload, Attempt: 3, Reason: "retry", First: first, Token: "owner:1:2"})
	if a.Status != 200 || a.Kind != KindAnswered {
		t.Fatalf("%+v", a)
	}
	r, body := <-app.seen, <-app.got
	if r.Method != "POST" || r.RequestURI != "/tasks/a%20b?a=b%20c" || r.Proto != "HTTP/1.1" || string(body) != "body" || r.Host != strings.TrimPrefix(app.url, "http://") {
		t.Errorf("%s %s %s to %s, body %q", r.Method, r.RequestURI, r.Proto, r.Host, body)
	}
	want := map[string]string{
		"User-Agent": "pillion", "Content-Type": "application/cbor", "X-Env": "prod", "Authorization": "Bearer x y", "Content-Length": "4",
		"Webhook-Id": "id-1", "Idempotency-Key": "id-1", "Ce-Id": "id-1", "Ce-Specversion": "1.0", "Ce-Source": "/pillion/my%20queue",
		"Ce-Type": "a%20b", "Ce-Time": "2026-01-02T02:04:05.678Z", "Pillion-Queue": "my%20queue", "Pillion-Attempt": "3",
		"Pillion-Max-Attempts": "10", "Pillion-Reason": "retry", "Pillion-Lease-Token": "owner:1:2", "Tracestate": "k=v",
		"Pillion-Deadline": lease.end.UTC().Format("2006-01-02T15:04:05.000Z"),
	}
	for name, value := range want {
		if got := r.Header.Values(name); len(got) != 1 || got[0] != value {
			t.Errorf("%s is %q: want %q", name, got, value)
		}
		r.Header.Del(name)
	}
	if lease.end.Before(before.Add(5*time.Second)) || lease.end.After(time.Now().Add(5*time.Second)) {
		t.Errorf("the webhook has time until %s: want 5s from %s", lease.end, before)
	}
	if got := r.Header.Get("Traceparent"); !strings.HasPrefix(got, "00-"+sampleTrace+"-") || !parseTraceparent(got).ok {
		t.Errorf("traceparent %q", got)
	}
	checkSignatures(t, r.Header, body, "one", "two", "three")
	for _, name := range []string{"Traceparent", "Webhook-Timestamp", "Webhook-Signature"} {
		r.Header.Del(name)
	}
	if len(r.Header) != 0 {
		t.Errorf("further headers: %v", r.Header)
	}
}

// checkSignatures is the receiver's side of Standard Webhooks: one signature for each
// key, in their order.
func checkSignatures(t *testing.T, h http.Header, body []byte, keys ...string) {
	t.Helper()
	got := strings.Split(h.Get("Webhook-Signature"), " ")
	if len(got) != len(keys) {
		t.Fatalf("webhook-signature %q: want %d signatures", got, len(keys))
	}
	for i, key := range keys {
		mac := hmac.New(sha256.New, []byte(key))
		_, _ = io.WriteString(mac, "id-1."+h.Get("Webhook-Timestamp")+".")
		mac.Write(body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); got[i] != want {
			t.Errorf("signature %d is %s: want %s", i, got[i], want)
		}
	}
}

// What is not configured, or not there, is not sent.
func TestTheLeastRequest(t *testing.T) {
	app := newApplication(t, fixed(ok200))
	s := newSender(t, Config{URL: app.url}, Task{})
	if a := send(s, "id\r\nX: y"); a.Status != 200 {
		t.Fatalf("%+v", a)
	}
	r := <-app.seen
	for name, want := range map[string]string{
		"Webhook-Id": "id%0D%0AX:%20y", "Ce-Type": "pillion.task", "Content-Type": "application/json",
		"X": "", "Webhook-Signature": "", "Ce-Time": "", "Pillion-Lease-Token": "", "Tracestate": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q: want %q", name, got, want)
		}
	}
	if got := r.Header.Get("Traceparent"); !regexp.MustCompile("^00-[0-9a-f]{32}-[0-9a-f]{16}-01$").MatchString(got) {
		t.Errorf("traceparent %q", got)
	}
}

// Bodies around the size up to which they go out with the head, one after the other on
// one connection; what one leaves in the buffers must not show in the next.
func TestBodiesOfAllSizes(t *testing.T) {
	app := newApplication(t, fixed(ok200))
	s := newSender(t, Config{URL: app.url}, Task{})
	for _, n := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, 1 << 20, 5} {
		payload := strings.Repeat("p", n)
		if a := s.Send(context.Background(), &fakeLease{}, &Request{ID: "1", Payload: payload, Attempt: 1, Reason: "first"}); a.Status != 200 {
			t.Fatalf("%d bytes: %+v", n, a)
		}
		<-app.seen
		if got := <-app.got; !bytes.Equal(got, []byte(payload)) {
			t.Errorf("%d bytes arrive for %d", len(got), n)
		}
		if cap(s.head) > maxKept {
			t.Errorf("after %d bytes, %d are kept", n, cap(s.head))
		}
	}
}

// A payload of which no request can be made touches no connection.
func TestNothingIsSent(t *testing.T) {
	s := newSender(t, Config{URL: "http://127.0.0.1:1/{type}"}, Task{Due: "at"})
	for payload, want := range map[string]Kind{
		`{"at":0}`: KindBadPayload, `{"type":"..","at":0}`: KindBadPayload, `{"type":"t","at":99999999999}`: KindNotDue,
		`{"type":"t"}`: KindUnreachable,
	} {
		a := s.Send(context.Background(), &fakeLease{}, &Request{ID: "1", Payload: payload})
		if a.Kind != want || a.Err == nil {
			t.Errorf("%s: %+v: want %s", payload, a, want)
		}
	}
	a := s.Send(context.Background(), &fakeLease{}, &Request{Payload: `{}`})
	if a.Err == nil || !strings.Contains(a.Err.Error(), "task.type") {
		t.Errorf("without a type: %v: want the setting named", a.Err)
	}
}

func TestAnswers(t *testing.T) {
	with := func(status, header string) string {
		return "HTTP/1.1 " + status + "\r\n" + header + "Content-Length: 2\r\n\r\nno"
	}
	const none = time.Duration(-1)
	for name, c := range map[string]struct {
		answer string
		want   Answer
	}{
		"200":              {with("200 OK", ""), Answer{Status: 200, RetryAfter: none}},
		"500":              {with("500 X", ""), Answer{Status: 500, RetryAfter: none, Excerpt: "no"}},
		"after":            {with("503 X", "retry-after: 7\r\n"), Answer{Status: 503, RetryAfter: 7 * time.Second, Excerpt: "no"}},
		"ack":              {with("500 X", "Pillion-Result: ack\r\n"), Answer{Status: 500, RetryAfter: none, Result: ResultAck, Excerpt: "no"}},
		"retry":            {with("200 X", "PILLION-RESULT: retry\r\n"), Answer{Status: 200, RetryAfter: none, Result: ResultRetry, Excerpt: "no"}},
		"dead letter":      {with("422 X", "Pillion-Result: dead-letter\r\n"), Answer{Status: 422, RetryAfter: none, Result: ResultDeadLetter, Excerpt: "no"}},
		"upper case":       {with("200 X", "Pillion-Result: Dead-Letter\r\n"), Answer{Status: 200, RetryAfter: none, Result: ResultDeadLetter, Excerpt: "no"}},
		"no result":        {with("200 X", "Pillion-Result: \r\n"), Answer{Status: 200, RetryAfter: none}},
		"long after":       {with("503 X", "retry-after: 99999999999999999999\r\n"), Answer{Status: 503, RetryAfter: (1<<31 - 1) * time.Second, Excerpt: "no"}},
		"long header":      {with("200 X", "X: "+strings.Repeat("x", 60<<10)+"\r\n"), Answer{Status: 200, RetryAfter: none}},
		"long interim":     {"HTTP/1.1 103 X\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n" + with("500 X", "X: "+strings.Repeat("x", 20<<10)+"\r\n"), Answer{Status: 500, RetryAfter: none, Excerpt: "no"}},
		"202":              {with("202 X", ""), Answer{Status: 202, RetryAfter: none}},
		"lease in seconds": {with("202 X", "Pillion-Lease: 90\r\n"), Answer{Status: 202, RetryAfter: none, Lease: 90 * time.Second}},
		"lease":            {with("202 X", "Pillion-Lease: 5m\r\n"), Answer{Status: 202, RetryAfter: none, Lease: 5 * time.Minute}},
		"short lease":      {with("202 X", "Pillion-Lease: -1\r\n"), Answer{Status: 202, RetryAfter: none, Lease: time.Second}},
		"long lease":       {with("202 X", "Pillion-Lease: 9999999999999\r\n"), Answer{Status: 202, RetryAfter: none, Lease: 24 * time.Hour}},
		"lease of a 200":   {with("200 X", "Pillion-Lease: 5m\r\n"), Answer{Status: 200, RetryAfter: none}},
		"lease and ack":    {with("202 X", "Pillion-Lease: 5m\r\nPillion-Result: ack\r\n"), Answer{Status: 202, RetryAfter: none, Result: ResultAck}},
		"interim":          {"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok200, Answer{Status: 200, RetryAfter: none}},
		"chunked":          {"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", Answer{Status: 500, RetryAfter: none, Excerpt: "ab"}},
		"control bytes":    {"HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\na\x1b[\n\xff", Answer{Status: 500, RetryAfter: none, Excerpt: `a\x1b[\n\xff`}},
	} {
		app := newApplication(t, fixed(c.answer))
		s := newSender(t, Config{URL: app.url}, Task{})
		if got := send(s, "1"); got != c.want {
			t.Errorf("%s: %+v: want %+v", name, got, c.want)
		}
		s.Close()
	}
	for name, c := range map[string]struct {
		answer string
		kind   Kind
	}{
		"bad lease": {with("202 X", "Pillion-Lease: soon\r\n"), KindBadResponse},
		"result":    {with("200 X", "Pillion-Result: dead_letter\r\n"), KindBadResponse},
		"header":    {with("200 X", "X: "+strings.Repeat("x", 70<<10)+"\r\n"), KindBadResponse},
		"not HTTP":  {"220 smtp.example.com\r\n\r\n", KindBadResponse},
		"nothing":   {"", KindConnection},
	} {
		app := newApplication(t, fixed(c.answer))
		s := newSender(t, Config{URL: app.url}, Task{})
		got := send(s, "1")
		if got.Kind != c.kind || got.Err == nil || got.RetryAfter >= 0 {
			t.Errorf("%s: %+v: want %s", name, got, c.kind)
		}
		if got.Kind == KindConnection && !strings.Contains(got.Err.Error(), "connection ended") {
			t.Errorf("%s: %v: want to be told what has ended", name, got.Err)
		}
		s.Close()
	}
}

func TestAcceptedLease(t *testing.T) {
	app := newApplication(t, func(r *http.Request) string {
		if r.Header.Get("Webhook-Id") == "own" {
			return "HTTP/1.1 202 X\r\nPillion-Lease: 3s\r\nContent-Length: 0\r\n\r\n"
		}
		return "HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n"
	})
	s := newSender(t, Config{URL: app.url, AcceptedLease: time.Minute}, Task{})
	if a := send(s, "1"); a.Lease != time.Minute {
		t.Errorf("202: %+v: want a lease of 1m", a)
	}
	if a := send(s, "own"); a.Lease != 3*time.Second {
		t.Errorf("202 with a lease of its own: %+v: want 3s", a)
	}
}

// A kept connection on which the server answers nothing is tried once more, on a new
// one; a new connection is not.
func TestAStaleConnectionIsReplaced(t *testing.T) {
	var n atomic.Int64
	app := newApplication(t, func(*http.Request) string {
		if i := n.Add(1); i == 2 || i == 4 {
			return ""
		}
		return ok200
	})
	s := newSender(t, Config{URL: app.url}, Task{})
	for i, want := range []int64{1, 3} { // requests that the application has seen
		if a := send(s, "1"); a.Status != 200 || n.Load() != want {
			t.Fatalf("delivery %d: %+v after %d requests: want 200 after %d", i, a, n.Load(), want)
		}
	}
	s.Close()
	if a := send(s, "1"); a.Kind != KindConnection || n.Load() != 4 {
		t.Errorf("a new connection that ends: %+v after %d requests: want a failure after 4", a, n.Load())
	}
}

func TestReady(t *testing.T) {
	var status atomic.Value
	app := newApplication(t, func(*http.Request) string {
		return "HTTP/1.1 " + status.Load().(string) + "\r\nContent-Length: 0\r\n\r\n"
	})
	for ready, uri := range map[string]string{"/readyz?x=1": "/readyz?x=1", app.url + "/up": "/up"} {
		e, err := New(Config{URL: app.url + "/tasks/{type}", Timeout: time.Second, Ready: ready}, Task{}, "q", 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, answer := range []string{"200 OK", "204 X", "302 X", "503 X", "103 X\r\n\r\nHTTP/1.1 200 OK", "200 OK\r\nX: " + strings.Repeat("x", 60<<10)} {
			status.Store(answer)
			err := e.Ready(context.Background())
			if good := answer[0] == '2' || answer[0] == '1'; good != (err == nil) {
				t.Errorf("%s answers %s: %v", ready, answer, err)
			}
			if r := <-app.seen; r.Method != "GET" || r.RequestURI != uri || !r.Close {
				t.Errorf("asked by %s %s, close %v: want GET %s once", r.Method, r.RequestURI, r.Close, uri)
			}
			<-app.got
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	e, _ := New(Config{URL: app.url, Timeout: time.Second, Ready: "/"}, Task{}, "q", 1)
	if err := e.Ready(ctx); err == nil {
		t.Error("a question that was cancelled says ready")
	}
}

func TestNewRefuses(t *testing.T) {
	good := Config{URL: "http://h/", Timeout: time.Second}
	for want, change := range map[string]func(*Config){
		"webhook.url":             func(c *Config) { c.URL = "" },
		"webhook.timeout":         func(c *Config) { c.Timeout = 0 },
		"webhook.secret begins":   func(c *Config) { c.Secret = "whsec_SECRET?" },
		"webhook.secrets[1] beg":  func(c *Config) { c.Secret, c.Secrets = "a", []string{"SECRET", "whsec_SECRET?"} },
		"webhook.secrets[0] is e": func(c *Config) { c.Secrets = []string{""} },
		"keep at most 8":          func(c *Config) { c.Secret, c.Secrets = "a", make([]string, 8) },
		"webhook.content_type":    func(c *Config) { c.ContentType = "json" },
		"webhook.accepted_lease":  func(c *Config) { c.AcceptedLease = time.Millisecond },
		"webhook.ready \"x\"":     func(c *Config) { c.Ready = "x" },
		"one URL or path":         func(c *Config) { c.Ready = "/{type}" },
		"webhook.tls is set":      func(c *Config) { c.TLS.ServerName = "h" },
		"webhook.tls.ca: ":        func(c *Config) { c.Ready, c.TLS.CA = "https://h/", "absent.pem" },
		"webhook.tls.cert and":    func(c *Config) { c.URL, c.TLS.Key = "https://h/", "absent.key" },
		"webhook.tls.min_version": func(c *Config) { c.URL, c.TLS.MinVersion = "https://h/", "1.1" },
		"the same header":         func(c *Config) { c.Headers = map[string]string{"X-A": "SECRET", "x-a": "SECRET"} },
		"keep at most 32": func(c *Config) {
			c.Headers = make(map[string]string)
			for i := range 33 {
				c.Headers["X-"+strings.Repeat("a", i)] = "SECRET"
			}
		},
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg, Task{}, "q", 1); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v: want an error with %q, and no secret", err, want)
		}
	}
}

func TestHeaderProblems(t *testing.T) {
	for name, value := range map[string]string{
		"Host": "x", "content-length": "1", "Content-Type": "x/y", "Transfer-Encoding": "chunked", "Connection": "close", "TE": "x",
		"Webhook-ID": "x", "webhook-signature": "x", "CE-Type": "x", "Pillion-Anything": "x", "Idempotency-Key": "x", "Traceparent": "x",
		"Upgrade": "x", "Expect": "100-continue", "": "x", "X Y": "x", "X:": "x", "Ü": "x", "X-A": "a\r\nB: c", "X-B": "a\x00", "X-C": "a\tb",
		"X-D": " a", "X-E": "a ", "X-F": strings.Repeat("x", 4097), strings.Repeat("X", 129): "x",
	} {
		if HeaderProblem(name, value) == "" {
			t.Errorf("%q: %.20q is taken", name, value)
		}
	}
	for name, value := range map[string]string{"Authorization": "Basic eDp5", "ce-subject": "x", "X-A": "", "Content-Encoding": "gzip"} {
		if wrong := HeaderProblem(name, value); wrong != "" {
			t.Errorf("%q: %q %s", name, value, wrong)
		}
	}
}
