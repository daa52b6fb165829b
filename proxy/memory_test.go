//go:build !race

// The race detector changes what allocations cost.

package proxy_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// What memory counts is what the heap grows by: else cache.memory would bound only a
// number. Small bodies are the hard case, since most of their cost is not their own.
func TestMemoryCountsWhatItCosts(t *testing.T) {
	for _, size := range []int{100, 1100, 9000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			body := strings.Repeat("x", size)
			r := newRig(t, []proxy.Rule{rule("all", "/{id}", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.Tags = []string{"p"} })}, func(w http.ResponseWriter, _ *http.Request) {
				for _, name := range []string{"ETag", "Last-Modified", "X-Request-Id", "Content-Security-Policy", "Vary"} {
					w.Header().Set(name, fmt.Sprintf(`"value of %s"`, name))
				}
				w.Header().Set("Vary", "Accept-Encoding")
				fmt.Fprint(w, body)
			}, 1)
			p := r.pods[0]
			fill := func(from, to int) {
				for i := from; i < to; i++ {
					path := fmt.Sprintf("/%d", i)
					p.do(t, "GET", path, "Accept-Encoding", "gzip")
					eventually(t, "a hit", func() bool { // read, decoded and prepared
						return strings.Contains(p.do(t, "GET", path, "Accept-Encoding", "gzip").cacheStatus(), "; hit")
					})
				}
			}
			fill(0, 100) // pools and connections, which stay
			const n, attempts = 1000, 8
			for attempt := range attempts { // what other tests left behind may go meanwhile
				from := 100 + attempt*n
				p.conn.ForgetAll() // there is room for three
				heap, counted := heapAlloc(), p.conn.Stats().Bytes
				fill(from, from+n)
				grown, cost := heapAlloc()-heap, p.conn.Stats().Bytes-counted
				t.Logf("each costs %d bytes and is counted as %d", grown/n, cost/n)
				if p.conn.Stats().Items < 2*n*9/10 {
					t.Fatalf("%d items in memory: entries and indexes should be %d", p.conn.Stats().Items, 2*n)
				}
				if grown <= cost*21/20 && grown >= cost*4/5 {
					return
				}
			}
			t.Error("the heap grew by another number of bytes than is counted")
		})
	}
}

// heapAlloc gives what lives, after what pools had kept has gone.
func heapAlloc() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
