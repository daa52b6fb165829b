package origin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttputil"
)

// startLean gives a connection to it.
func startLean(t *testing.T, keys, size int) net.Conn {
	t.Helper()
	l, err := NewLean(keys, size)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	_ = free.Close()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Serve(ctx, addr) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			t.Cleanup(func() { _ = nc.Close() })
			_ = nc.SetDeadline(time.Now().Add(time.Minute))
			return nc
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
}

// It answers as Handler does, whole requests, several at once, and ones in pieces.
func TestLeanAnswersAsTheHandlerDoes(t *testing.T) {
	nc := startLean(t, 2, 1024)
	ln := fasthttputil.NewInmemoryListener()
	srv := &fasthttp.Server{Handler: New(2, []int{1024}).Handle, NoDefaultServerHeader: true}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Shutdown() })
	other, err := ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	get := "GET " + Path(Uncached, 1024, 1) + " HTTP/1.1\r\nHost: a\r\n\r\n"
	post := "POST " + Path(Secure, 1024, 0) + " HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
	for name, requests := range map[string][]string{
		"get": {get}, "stored": {strings.Replace(get, "/"+Uncached+"/", "/"+Public+"/", 1)}, "post": {post}, "two at once": {get + post}, "in pieces": {get[:9], get[9:] + post[:len(post)-2], post[len(post)-2:]},
	} {
		whole := strings.Join(requests, "")
		n := strings.Count(whole, "HTTP/1.1")
		for _, r := range requests {
			if _, err := io.WriteString(nc, r); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond) // a piece should come alone; nothing depends on it
		}
		if _, err := io.WriteString(other, whole); err != nil {
			t.Fatal(err)
		}
		if got, want := answers(t, nc, n), answers(t, other, n); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	if _, err := io.WriteString(nc, "GET /count HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got := answers(t, nc, 1); !strings.HasSuffix(got, "7\n") {
		t.Errorf("count: %s", got)
	}
}

// answers reads n of them, and gives what matters of each.
func answers(t *testing.T, nc net.Conn, n int) string {
	t.Helper()
	var out bytes.Buffer
	br := bufio.NewReader(nc)
	for range n {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		at, err := http.ParseTime(res.Header.Get("Date"))
		if res.Header.Get("Date") != "" && (err != nil || time.Since(at).Abs() > time.Hour) {
			t.Errorf("date %v, %v", at, err)
		}
		fmt.Fprintln(&out, res.Status, res.Header.Get("Content-Type"), res.ContentLength, res.Header.Get("Cache-Control"), res.Header.Get("ETag"), string(body))
	}
	return out.String()
}

func TestLeanRefusesWhatItCannotRead(t *testing.T) {
	nc := startLean(t, 1, 1024)
	if _, err := io.WriteString(nc, "POST /pass/1024/0 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := nc.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes: want the end", n)
	}
	for _, size := range []int{1, LeanMost + 1} {
		if _, err := NewLean(1, size); err == nil {
			t.Errorf("size %d was taken", size)
		}
	}
}
