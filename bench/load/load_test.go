package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// script is a server that answers every request with some text, written in pieces.
func script(t *testing.T, answer func(n int64, r *http.Request) []string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var asked atomic.Int64
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				in := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					for _, piece := range answer(asked.Add(1), r) {
						if _, err := io.WriteString(c, piece); err != nil {
							return
						}
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

func request(path, body string) Request {
	return Request{
		Raw:    fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path),
		Status: 200, Length: int64(len(body)), Marker: []byte(body[:4]), Tail: []byte(body[len(body)-4:]),
	}
}

func answerOf(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\ndate: x\r\ncontent-length: %d\r\nX-A: b\r\n\r\n%s", len(body), body)
}

func TestClosedLoop(t *testing.T) {
	large := "head" + strings.Repeat("x", 3<<20) + "tail"
	for name, pieces := range map[string]func(string) []string{
		"at once":        func(s string) []string { return []string{s} },
		"byte by byte":   func(s string) []string { return strings.Split(s[:200], "") },
		"cut in the end": func(s string) []string { return []string{s[:len(s)-2], s[len(s)-2:]} },
		"head, then all": func(s string) []string { i := strings.Index(s, "\r\n\r\n"); return []string{s[:i+2], s[i+2:]} },
	} {
		t.Run(name, func(t *testing.T) {
			body := large
			if name == "byte by byte" {
				body = large[:200-len(answerOf(large[:110]))+110]
			}
			addr := script(t, func(int64, *http.Request) []string { return pieces(answerOf(body)) })
			out, err := Run(Plan{Addr: addr, For: 50 * time.Millisecond, Least: 3, Groups: []Group{{Connections: 3, Requests: []Request{request("/", body)}}}})
			if err != nil {
				t.Fatal(err)
			}
			if out.Requests < 3 || out.Latency.Count() != out.Requests || out.Bytes < out.Requests*int64(len(body)) {
				t.Errorf("%d requests, %d latencies, %d bytes", out.Requests, out.Latency.Count(), out.Bytes)
			}
		})
	}
}

func TestWrongAnswersFail(t *testing.T) {
	body := "head middle tail"
	for want, answer := range map[string]string{
		"status 503":          strings.Replace(answerOf(body), "200 OK", "503 Oh", 1),
		"begins with":         answerOf("HEAD middle tail"),
		"ends with":           answerOf("head middle TAIL"),
		"Content-Length 17":   answerOf(body + "x"),
		"Content-Length -1":   strings.Replace(answerOf(body), "content-length", "content-ength", 1),
		"is no length":        strings.Replace(answerOf(body), "content-length: ", "content-length: -", 1),
		"after the body":      answerOf(body) + "x",
		"an answer begins":    "SSH-2.0-x\r\n\r\n",
		"longer than":         "HTTP/1.1 200 OK\r\nx: " + strings.Repeat("x", maxHead+1),
		"without a request":   "",
		"an answer has the s": "HTTP/1.1 2x0 OK\r\n\r\n",
	} {
		t.Run(want, func(t *testing.T) {
			// The first answer is good, so that the wrong one comes in the midst.
			addr := script(t, func(n int64, _ *http.Request) []string {
				if n == 1 {
					return []string{answerOf(body)}
				}
				return []string{answer}
			})
			p := Plan{Addr: addr, For: time.Minute, Groups: []Group{{Connections: 1, Requests: []Request{request("/", body)}}}}
			if answer == "" {
				p.Rate = 1 // the next request is a second away
				addr = script(t, func(int64, *http.Request) []string { return []string{answerOf(body), "x"} })
				p.Addr = addr
				want = "" // it may come in the same read
			}
			if _, err := Run(p); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

func TestClosedConnectionFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1024))
			_ = c.Close()
		}
	}()
	_, err = Run(Plan{Addr: ln.Addr().String(), For: time.Minute, Groups: []Group{{Connections: 1, Requests: []Request{request("/", "bodybody")}}}})
	if err == nil || !strings.Contains(err.Error(), "closed a connection") {
		t.Errorf("%v", err)
	}
}

// TestOpenLoop has a server that stalls once: the requests that could not be sent
// meanwhile must count as late.
func TestOpenLoop(t *testing.T) {
	const stall, rate = 300 * time.Millisecond, 500
	addr := script(t, func(n int64, _ *http.Request) []string {
		if n == 20 {
			time.Sleep(stall)
		}
		return []string{answerOf("bodybody")}
	})
	out, err := Run(Plan{Addr: addr, For: time.Second, Rate: rate, Groups: []Group{{Connections: 1, Requests: []Request{request("/", "bodybody")}}}})
	if err != nil {
		t.Fatal(err)
	}
	// A closed loop would have seen one late answer; here a third of all are late.
	if p90 := out.Latency.Percentile(90); p90 < stall/3 {
		t.Errorf("p90 is %v: the stall of %v is not in it", p90, stall)
	}
	if out.Requests > rate+1 {
		t.Errorf("%d requests in a second, want %d at most", out.Requests, rate)
	}
}

func TestFillAndGroups(t *testing.T) {
	var mu sync.Mutex
	paths := make(map[string]int)
	addr := script(t, func(_ int64, r *http.Request) []string {
		mu.Lock()
		defer mu.Unlock()
		paths[r.URL.Path]++
		return []string{answerOf("bodybody")}
	})
	fill := make([]Request, 500)
	for i := range fill {
		fill[i] = request(fmt.Sprintf("/fill/%d", i), "bodybody")
	}
	out, err := Run(Plan{Addr: addr, For: 50 * time.Millisecond, Least: 10, Fill: fill, Groups: []Group{
		{Connections: 2, Requests: []Request{request("/a", "bodybody"), request("/b", "bodybody")}, Order: []int32{1}},
		{Connections: 2, Requests: []Request{request("/background", "bodybody")}, Background: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range fill {
		if n := paths[fmt.Sprintf("/fill/%d", i)]; n != 1 {
			t.Fatalf("request %d of the fill was sent %d times", i, n)
		}
	}
	if paths["/a"] != 0 || paths["/b"] == 0 || paths["/background"] == 0 {
		t.Errorf("%d %d %d", paths["/a"], paths["/b"], paths["/background"])
	}
	if out.Requests > int64(paths["/b"]) {
		t.Errorf("%d requests were counted, of %d: the background must not be", out.Requests, paths["/b"])
	}
}

func TestBadPlans(t *testing.T) {
	good := Group{Connections: 1, Requests: []Request{{}}}
	for name, p := range map[string]Plan{
		"no group":      {For: 1},
		"no time":       {Groups: []Group{good}},
		"no connection": {For: 1, Groups: []Group{{Requests: good.Requests}}},
		"no request":    {For: 1, Groups: []Group{{Connections: 1}}},
		"a name":        {For: 1, Groups: []Group{good}, Addr: "localhost:80"},
		"no listener":   {For: 1, Groups: []Group{good}, Addr: "127.0.0.1:1"},
	} {
		if _, err := Run(p); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n"))
	f.Add([]byte("HTTP/1.0 304 \r\ncontent-length:0\r\n"))
	f.Fuzz(func(t *testing.T, head []byte) {
		status, length, err := parseHead(head)
		if err != nil {
			return
		}
		if status < 0 || status > 999 || length < -1 {
			t.Errorf("%q: %d %d", head, status, length)
		}
		if length >= 0 && !bytes.Contains(bytes.ToLower(head), []byte("content-length:")) {
			t.Errorf("%q: length %d from nowhere", head, length)
		}
	})
}
