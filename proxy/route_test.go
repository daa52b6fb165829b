package proxy

import (
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy/upstream"
)

// TestRoutesTakeTheirApplicationsSettings: how long a request may wait, and whether the
// end of a connection is trusted, depend on where it goes.
func TestRoutesTakeTheirApplicationsSettings(t *testing.T) {
	cfg := upstream.Default()
	cfg.Timeouts.ResponseHeader, cfg.UntilClose = 5*time.Minute, true
	client, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	own := &upstreamOrigin{client}
	h := &Handler{origin: &handlerOrigin{}, origins: map[string]*upstreamOrigin{"reports": own}}
	snap, err := h.compile(Settings{FillTimeout: time.Second, Rules: []Rule{{Name: "a", Upstream: "reports"}, {Name: "b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := snap.routes[0]; r.origin != own || r.fillTimeout != 5*time.Minute || !r.untilClose || r.upstream != "reports" {
		t.Errorf("%+v", r)
	}
	for _, r := range []route{snap.routes[1], snap.unmatched} {
		if r.origin != h.origin || r.fillTimeout != time.Second || r.untilClose || r.upstream != MainUpstream {
			t.Errorf("%+v", r)
		}
	}
}
