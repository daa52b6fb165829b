//go:build linux

package ledger

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// serve runs an application that does not go away.
func serve(tb testing.TB, handler fasthttp.RequestHandler) (addr string) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &fasthttp.Server{Handler: handler, Logger: noLog{}, MaxRequestBodySize: 64 << 20, CloseOnShutdown: true}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.ShutdownWithContext(ctx)
		<-done
	})
	return ln.Addr().String()
}

// deadLetters gives the fields of each dead letter of a queue.
func deadLetters(t *testing.T, c rueidis.Client, source, queue string) (out []map[string]string) {
	t.Helper()
	entries, err := redistest.Do(t, c, "XRANGE", prefix+"{"+source+"}:"+queue+":dead", "-", "+").AsXRange()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.FieldValues)
	}
	return out
}

// idle is true when nothing is left of a queue but dead letters, and a stream's key.
func idle(t *testing.T, c rueidis.Client, source, queue string) bool {
	t.Helper()
	base := prefix + "{" + source + "}:" + queue + ":"
	return redistest.Int(t, c, "EXISTS", base+"records", base+"leases", base+"retry") == 0
}

// length counts what waits in a source of any kind.
func length(t *testing.T, c rueidis.Client, kind, key string) int64 {
	t.Helper()
	return redistest.Int(t, c, map[string]string{"list": "LLEN", "delay": "ZCARD", "stream": "XLEN"}[kind], key)
}

// add puts one task into a source.
func add(t *testing.T, c rueidis.Client, kind, key string, n int, payload string) {
	t.Helper()
	switch kind {
	case "list":
		redistest.Do(t, c, "RPUSH", key, payload)
	case "right":
		redistest.Do(t, c, "LPUSH", key, payload)
	case "delay":
		redistest.Do(t, c, "ZADD", key, fmt.Sprint(1.5e9+float64(n)), payload)
	case "stream":
		redistest.Do(t, c, "XADD", key, "*", "task", payload)
	}
}
