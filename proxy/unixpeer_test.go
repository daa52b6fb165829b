package proxy_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/pillion-proxy/pillion/proxy"
)

// A client on a Unix socket has no address. It is trusted as one on loopback is, and none is
// made up for it.
func TestClientOnAUnixSocket(t *testing.T) {
	var app seen
	r := newRig(t, []proxy.Rule{rule("all", "/**")}, app.record, 0)
	var path string
	r.accept = func(tcp net.Listener) net.Listener {
		must(t, tcp.Close())
		path = filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		must(t, err)
		return ln
	}
	for _, tc := range []struct {
		name, given      string
		trust            bool
		handle           bool
		wantFor, forward string
	}{
		{name: "alone", trust: true, wantFor: "unknown", forward: `for=unknown;host="h";proto=http`},
		{name: "behind a proxy", trust: true, given: "192.0.2.7, 192.0.2.8", wantFor: "192.0.2.7, 192.0.2.8", forward: `for=unknown;host="h";proto=http`},
		{name: "not trusted", given: "192.0.2.7", wantFor: "unknown", forward: `for=unknown;host="h";proto=http`},
		{name: "by fasthttp", trust: true, handle: true, given: "192.0.2.7", wantFor: "192.0.2.7", forward: `for=unknown;host="h";proto=http`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			was := r.cfg.TrustedProxies
			if !tc.trust {
				r.cfg.TrustedProxies = nil
			}
			r.handleOnly = tc.handle
			r.addPod()
			r.cfg.TrustedProxies, r.handleOnly = was, false
			req, err := http.NewRequest("GET", "http://h/"+tc.name[:1], nil)
			must(t, err)
			if tc.given != "" {
				req.Header.Set("X-Forwarded-For", tc.given)
			}
			transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}}
			defer transport.CloseIdleConnections()
			resp, err := transport.RoundTrip(req)
			must(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if got := app.header.Values("X-Forwarded-For"); resp.StatusCode != 200 || len(got) != 1 || got[0] != tc.wantFor {
				t.Errorf("%s: X-Forwarded-For %q, want %q", resp.Status, got, tc.wantFor)
			}
			if got := app.header.Get("Forwarded"); got != tc.forward {
				t.Errorf("Forwarded %q, want %q", got, tc.forward)
			}
		})
	}
}
