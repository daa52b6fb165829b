package proxy_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/proxy"
)

// A rule without a cache has its unsafe requests wait for Redis no more than its GETs, and
// still removes what pods with other rules have stored.
func TestUnsafeRequestsOfARuleWithoutACacheDoNotWaitForRedis(t *testing.T) {
	headers := func(r *proxy.Rule) { r.Match.Headers = map[string]string{"X-Kind": "a"} }
	for _, tc := range []struct {
		name  string
		rules []proxy.Rule
		waits bool
	}{
		{"off", []proxy.Rule{rule("all", "/**", uncached)}, false},
		{"off beside another path", []proxy.Rule{rule("other", "/other/**", ttl(time.Hour)), rule("all", "/**", uncached)}, false},
		{"off for the POST alone", []proxy.Rule{rule("post", "/**", uncached, methods("POST")), rule("all", "/**", ttl(time.Hour))}, true},
		{"off for some headers", []proxy.Rule{rule("some", "/**", ttl(time.Hour), headers), rule("all", "/**", uncached)}, true},
		{"off but for HEAD", []proxy.Rule{rule("some", "/**", ttl(time.Hour), methods("HEAD")), rule("all", "/**", uncached)}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var v atomic.Int64
			r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Hour))}, versioned(&v), 1)
			r.redisTimeout = time.Minute
			var link *redistest.Proxy
			r.via = func(addr string) string { link = redistest.StartProxy(t, addr); return link.Addr }
			r.rules = tc.rules
			off := r.addPod()
			eventually(t, "up", off.conn.Up)
			hit := func() bool {
				return strings.Contains(r.pods[0].do(t, "GET", "/x").cacheStatus(), "; hit")
			}
			eventually(t, "stored", hit)
			trap := link.Trap(redistest.Command("UNLINK"), redistest.Hold)
			answered := make(chan reply, 1)
			go func() { answered <- off.do(t, "POST", "/x") }()
			<-trap.Sprung()
			if !tc.waits {
				if got := <-answered; got.status != http.StatusOK || strings.Contains(got.cacheStatus(), "detail=redis-down") {
					t.Errorf("%d, Cache-Status %q", got.status, got.cacheStatus())
				}
			}
			select {
			case got := <-answered:
				t.Errorf("answered before Redis: %d", got.status)
			default:
			}
			if !hit() {
				t.Error("not stored any more, and the trap held the removal")
			}
			trap.Pass()
			eventually(t, "removed", func() bool { return !hit() })
			if tc.waits {
				<-answered
			}
		})
	}
}
