package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

func dialPod(t testing.TB, p *pod) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c
}

// Each part of a body with a length reaches the client before the next is sent.
func TestPartsOfALengthDelimitedBodyAreNotHeldBack(t *testing.T) {
	const parts, size = 8, 20 << 10
	next := make(chan struct{})
	for _, length := range []bool{true, false} {
		r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, _ *http.Request) {
			if length {
				w.Header().Set("Content-Length", fmt.Sprint(parts*size))
			}
			for range parts {
				io.WriteString(w, strings.Repeat("x", size))
				w.(http.Flusher).Flush()
				<-next
			}
		}, 1)
		c := dialPod(t, r.pods[0])
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		for i := range parts {
			if _, err := io.ReadFull(resp.Body, make([]byte, size)); err != nil {
				t.Fatalf("length %v, part %d: %v", length, i, err)
			}
			next <- struct{}{}
		}
		if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("length %v: %d %v", length, n, err)
		}
	}
}

func TestHTTP10ClientGetsAnyBody(t *testing.T) {
	const size = 24 << 20
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		for range size >> 10 {
			io.WriteString(w, strings.Repeat("x", 1<<10))
		}
		if q.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
	}, 1)
	read := func(path string) (*http.Response, int64, error) {
		c := dialPod(t, r.pods[0])
		io.WriteString(c, "GET "+path+" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		n, err := io.Copy(io.Discard, resp.Body)
		return resp, n, err
	}
	resp, n, err := read("/")
	if n != size || err != nil || len(resp.TransferEncoding) > 0 || resp.ContentLength != -1 {
		t.Errorf("%d bytes, %v, %+v", n, err, resp)
	}
	if _, n, err = read("/cut"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("cut: %d bytes, %v", n, err)
	}
}

func TestExpectIsAnsweredWhenTheBodyIsWanted(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("in", "/in", required), rule("early", "/early"), rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Expect") != "" {
			t.Error("the application was asked to continue")
		}
		if q.URL.Path == "/early" {
			w.WriteHeader(403)
			return
		}
		b, _ := io.ReadAll(q.Body)
		fmt.Fprintf(w, "%d", len(b))
	}, 1)
	ask := func(path string) (net.Conn, *bufio.Reader, string) {
		c := dialPod(t, r.pods[0])
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n", path)
		br := bufio.NewReader(c)
		line, err := br.ReadString('\n')
		must(t, err)
		return c, br, strings.TrimSpace(line)
	}
	if _, _, line := ask("/in"); line != "HTTP/1.1 401 Unauthorized" {
		t.Errorf("without a session: %q", line)
	}
	c, br, line := ask("/out")
	if line != "HTTP/1.1 100 Continue" {
		t.Fatal(line)
	}
	_, _ = br.ReadString('\n')
	io.WriteString(c, strings.Repeat("x", 100_000))
	resp, err := http.ReadResponse(br, nil)
	must(t, err)
	if b, _ := io.ReadAll(resp.Body); string(b) != "100000" {
		t.Errorf("%s", b)
	}
}

// An interim response must not overtake the answer to the request before.
func TestInterimKeepsItsPlaceInAPipeline(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/2" {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		}
		io.WriteString(w, q.URL.Path)
	}, 1)
	c := dialPod(t, r.pods[0])
	io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(c)
	must(t, err)
	var lines []string
	for l := range strings.SplitSeq(string(b), "\r\n") {
		if strings.HasPrefix(l, "HTTP/1.1 ") {
			lines = append(lines, l[9:12])
		}
		if i := strings.Index(l, "HTTP/1.1 "); i > 0 { // right behind a body
			lines = append(lines, l[:i], l[i+9:i+12])
		}
	}
	if got := strings.Join(lines, " "); got != "200 /1 103 200 /2 200" {
		t.Errorf("%s\n%s", got, b)
	}
}

func TestLimitsOfAConnection(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, echo, 0)
	r.cfg.MaxRequests = 2
	c := dialPod(t, r.addPod())
	io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 3))
	if b, err := io.ReadAll(c); err != nil || strings.Count(string(b), "200 OK") != 2 || strings.Count(string(b), "Connection: close") != 1 {
		t.Errorf("%v\n%s", err, b)
	}
	r.cfg.HeaderTimeout = 500 * time.Millisecond
	p := r.addPod()
	c = dialPod(t, p)
	io.WriteString(c, "GET / HTTP/1.1\r\nHo")
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
		t.Errorf("%v\n%s", err, b)
	}
	c = dialPod(t, p)
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Errorf("an idle connection was told %q, %v", b, err)
	}
	r.cfg.MaxRequests, r.cfg.MaxConnectionAge = 0, time.Nanosecond
	c = dialPod(t, r.addPod())
	io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 3))
	if b, err := io.ReadAll(c); err != nil || strings.Count(string(b), "200 OK") != 1 {
		t.Errorf("%v\n%s", err, b)
	}
}

func TestTrailersBothWays(t *testing.T) {
	var got http.Header
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		got = q.Trailer.Clone()
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "a")
		w.Header().Set(http.TrailerPrefix+"Set-Cookie", "a=b")
	}, 1)
	ask := func(body string) *http.Response {
		c := dialPod(t, r.pods[0])
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Md5\r\nTransfer-Encoding: chunked\r\n\r\n"+body)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		if string(b) != "first" || err != nil {
			t.Fatalf("%q %v", b, err)
		}
		return resp
	}
	resp := ask("3\r\nabc\r\n0\r\nX-Md5: x y\r\nX-User-Id: 1\r\nx_user_id: 1\r\nHost: evil\r\nContent-Length: 3\r\nAuthorization: x\r\nX-Forwarded-For: 1\r\nX-Request-Id: 1\r\n\r\n")
	if len(got) != 1 || got.Get("X-Md5") != "x y" {
		t.Errorf("the application got %v", got)
	}
	if len(resp.Trailer) != 2 || resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Late") != "a" {
		t.Errorf("the client got %v", resp.Trailer)
	}
	ask("0\r\n\r\n")
	if len(got) > 0 {
		t.Errorf("the trailers of the request before: %v", got)
	}
}
