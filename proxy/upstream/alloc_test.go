//go:build !race

package upstream

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// TestSmallExchangesDoNotAllocate counts the allocations of the whole process;
// the application's side of the exchange has none.
func TestSmallExchangesDoNotAllocate(t *testing.T) {
	for name, response := range map[string]string{
		"length":   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
		"chunks":   chunkedResponse("5\r\nhello\r\n0\r\n\r\n"),
		"trailers": chunkedResponse("5\r\nhello\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a\r\n\r\n"),
		"304":      "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
	} {
		for _, payload := range []string{"", "a small body"} {
			raw := apptest.Start(t, apptest.Each(serveFixed(response)))
			c := newClient(t, testConfig(raw.URL()))
			h, r, p := new(fasthttp.ResponseHeader), &Request{Head: reqHead("GET", "/"), Replayable: true}, make([]byte, 64)
			sr := strings.NewReader(payload)
			if payload != "" {
				r.Head, r.Body, r.BodySize = reqHead("PUT", "/"), sr, int64(len(payload))
			}
			n := testing.AllocsPerRun(500, func() {
				sr.Reset(payload)
				exchangeOnce(t, c, r, h, p)
			})
			t.Logf("%s, request body %d bytes: %v allocations", name, len(payload), n)
			if n != 0 {
				t.Errorf("%s, request body %d bytes: %v allocations, want 0", name, len(payload), n)
			}
		}
	}
}

func exchangeOnce(tb testing.TB, c *Client, r *Request, h *fasthttp.ResponseHeader, p []byte) {
	body, err := c.Do(context.Background(), r, h)
	if err != nil {
		tb.Fatal(err)
	}
	for err == nil {
		_, err = body.Read(p)
	}
	if err != io.EOF {
		tb.Fatal(err)
	}
	_ = body.Close()
}

// serveFixed answers each read with the response, without looking at it.
func serveFixed(response string) apptest.Step {
	b, p := []byte(response), make([]byte, 4096)
	return func(c *apptest.Conn) error {
		for {
			if _, err := c.Conn.Read(p); err != nil {
				return err
			}
			if _, err := c.Conn.Write(b); err != nil {
				return err
			}
		}
	}
}

func BenchmarkSmallGet(b *testing.B) {
	response := "HTTP/1.1 200 OK\r\nServer: app\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
	b.Run("upstream", func(b *testing.B) {
		raw := apptest.Start(b, func(int) []apptest.Step { return []apptest.Step{serveFixed(response)} })
		c := newClient(b, testConfig(raw.URL()))
		h, r, p := new(fasthttp.ResponseHeader), &Request{Head: reqHead("GET", "/"), Replayable: true}, make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			exchangeOnce(b, c, r, h, p)
		}
	})
	b.Run("upstream, cancellable", func(b *testing.B) {
		raw := apptest.Start(b, func(int) []apptest.Step { return []apptest.Step{serveFixed(response)} })
		c := newClient(b, testConfig(raw.URL()))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		h, r, p := new(fasthttp.ResponseHeader), &Request{Head: reqHead("GET", "/"), Replayable: true}, make([]byte, 64)
		b.ReportAllocs()
		for b.Loop() {
			body, err := c.Do(ctx, r, h)
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = body.Read(p)
			}
		}
	})
	b.Run("fasthttp.HostClient", func(b *testing.B) {
		raw := apptest.Start(b, func(int) []apptest.Step { return []apptest.Step{serveFixed(response)} })
		c := &fasthttp.HostClient{Addr: raw.Addr(), ReadTimeout: patience, WriteTimeout: patience}
		b.Cleanup(c.CloseIdleConnections)
		var req fasthttp.Request
		var resp fasthttp.Response
		req.SetRequestURI(raw.URL() + "/")
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Do(&req, &resp); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParallelGet(b *testing.B) {
	response := "HTTP/1.1 200 OK\r\nServer: app\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
	b.Run("upstream", func(b *testing.B) {
		raw := apptest.Start(b, func(int) []apptest.Step { return []apptest.Step{serveFixed(response)} })
		cfg := testConfig(raw.URL())
		cfg.MaxConnections = 64
		c := newClient(b, cfg)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			h, r, p := new(fasthttp.ResponseHeader), &Request{Head: reqHead("GET", "/"), Replayable: true}, make([]byte, 64)
			for pb.Next() {
				exchangeOnce(b, c, r, h, p)
			}
		})
	})
	b.Run("fasthttp.HostClient", func(b *testing.B) {
		raw := apptest.Start(b, func(int) []apptest.Step { return []apptest.Step{serveFixed(response)} })
		c := &fasthttp.HostClient{Addr: raw.Addr(), ReadTimeout: patience, WriteTimeout: patience}
		b.Cleanup(c.CloseIdleConnections)
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			var req fasthttp.Request
			var resp fasthttp.Response
			req.SetRequestURI(raw.URL() + "/")
			for pb.Next() {
				if err := c.Do(&req, &resp); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
