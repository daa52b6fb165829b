package web

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/bench/load"
	"github.com/pillion-proxy/pillion/bench/origin"
	"github.com/pillion-proxy/pillion/bench/rig"
	"github.com/valyala/fasthttp"
)

// TestRequests parses what each scenario sends.
func TestRequests(t *testing.T) {
	known := map[string]bool{"pillion": true, "fasthttp": true, "epoll": true, "nginx": true, "haproxy": true, "varnish": true, "caddy": true, "nginx-lua-redis": true}
	names := make(map[string]bool)
	for _, s := range Scenarios() {
		if names[s.Name] || s.About == "" || s.measure == nil || len(s.peers) == 0 || s.peers[0] != "pillion" {
			t.Errorf("%s: %+v", s.Name, s)
		}
		names[s.Name] = true
		for _, p := range s.peers {
			if !known[p] {
				t.Errorf("%s: no peer is called %s", s.Name, p)
			}
		}
		s.keys = min(s.keys, 100)
		p := s.plan(&Bench{Rig: new(rig.Rig), Connections: 3, For: time.Second})
		for _, r := range append(p.Fill, p.Groups[0].Requests...) {
			check(t, s, r)
		}
		for _, i := range p.Groups[0].Order {
			if i < 0 || int(i) >= len(p.Groups[0].Requests) {
				t.Fatalf("%s: request %d of %d", s.Name, i, len(p.Groups[0].Requests))
			}
		}
	}
}

func check(t *testing.T, s Scenario, r load.Request) {
	t.Helper()
	in := bufio.NewReader(bytes.NewReader(r.Raw))
	req, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("%s: %v\n%s", s.Name, err, r.Raw)
	}
	n, _ := io.Copy(io.Discard, req.Body)
	if rest, _ := io.ReadAll(in); len(rest) > 0 || n != req.ContentLength {
		t.Errorf("%s: %d bytes of a body of %d, and %d more", s.Name, n, req.ContentLength, len(rest))
	}
	if s.sessions > 0 != (req.Header.Get("X-Session-ID") != "") {
		t.Errorf("%s: %v", s.Name, req.Header)
	}
}

// TestOrigin holds what the application answers against what the client expects.
func TestOrigin(t *testing.T) {
	h := origin.New(2, []int{1 << 10})
	for _, s := range Scenarios() {
		if s.size > 1<<21 || s.kind == origin.Slow {
			continue
		}
		s.keys = min(s.keys, 3) // one more than were prepared
		for _, r := range s.requests() {
			var ctx fasthttp.RequestCtx
			if err := ctx.Request.Read(bufio.NewReader(bytes.NewReader(r.Raw))); err != nil {
				t.Fatal(err)
			}
			h.Handle(&ctx)
			body := ctx.Response.Body()
			if ctx.Response.StatusCode() != r.Status || int64(len(body)) != r.Length || !bytes.HasPrefix(body, r.Marker) || !bytes.HasSuffix(body, r.Tail) {
				t.Fatalf("%s: %s\n%d, %d bytes, want %d, %d", s.Name, r.Raw, ctx.Response.StatusCode(), len(body), r.Status, r.Length)
			}
			stored := strings.Contains(string(ctx.Response.Header.Peek("Cache-Control")), "max-age")
			if s.stored && !stored {
				t.Fatalf("%s: the answer may not be stored", s.Name)
			}
		}
	}
}

func TestZipf(t *testing.T) {
	order := zipf(1000)
	seen := make(map[int32]int)
	for _, i := range order {
		seen[i]++
	}
	if seen[0] < 10*seen[100] || len(seen) < 900 {
		t.Errorf("%d of the first, %d of the 100th, %d different", seen[0], seen[100], len(seen))
	}
	if again := zipf(1000); again[12345] != order[12345] {
		t.Error("the sequence is not the same in each run")
	}
}

func TestBlocks(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := blocks(dir); n < 5000 {
		t.Errorf("%d bytes", n)
	}
	if n := blocks(filepath.Join(dir, "absent")); n != 0 {
		t.Errorf("%d bytes of nothing", n)
	}
}

// TestOwnBytes takes an application whose answers' fields are known.
func TestOwnBytes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	status := 200
	app := &fasthttp.Server{NoDefaultServerHeader: true, NoDefaultDate: true, Handler: func(ctx *fasthttp.RequestCtx) {
		ctx.SetStatusCode(status)
		ctx.Response.Header.SetContentType("text/x")
		ctx.Response.Header.Set("X-A", "b")
	}}
	served := make(chan error, 1)
	go func() { served <- app.Serve(l) }()
	defer func() {
		if err := errors.Join(app.Shutdown(), <-served); err != nil {
			t.Error(err)
		}
	}()
	s := Scenario{kind: origin.Public, size: 100, keys: 11}
	fields := len("Content-Type: text/x\r\nContent-Length: 0\r\nX-A: b\r\n")
	paths := len("bench.test/obj/100/9") + len("bench.test/obj/100/10")
	own, err := s.own(l.Addr().String(), 9)
	if want := 100 + float64(fields) + float64(paths)/2; err != nil || own != want {
		t.Fatalf("%v bytes, %v; want %v", own, err, want)
	}
	var m measured
	if err := m.perObject(l.Addr().String(), s, 9, 2*500); err != nil {
		t.Fatal(err)
	}
	if beyond := m.get("memory beyond the object's own bytes"); beyond != 500-own {
		t.Errorf("%v bytes beyond its own", beyond)
	}
	if beyond := m.get("memory beyond the body"); beyond != 400 {
		t.Errorf("%v bytes beyond its body", beyond)
	}
	status = 404
	if _, err := s.own(l.Addr().String(), 9); err == nil {
		t.Error("an answer that is not stored has bytes of its own")
	}
}

func TestMaxConnections(t *testing.T) {
	for files, want := range map[int]int{20000: 7800, 1 << 20: 20000} {
		if got := maxConnections(files); got != want {
			t.Errorf("%d files: %d, want %d", files, got, want)
		}
	}
}
