package upstream

import (
	"testing"

	"github.com/pillion-proxy/pillion/internal/tlstest"
)

func TestEndpoint(t *testing.T) {
	a := tlstest.New(t)
	for url, want := range map[string]Endpoint{
		"http://app:8000":       {Address: "app:8000", Host: "app:8000"},
		"http://app/":           {Address: "app:80", Host: "app"},
		"http://[::1]:8000":     {Address: "[::1]:8000", Host: "[::1]:8000"},
		"https://app":           {Address: "app:443", Host: "app"},
		"unix:///run/app%20s":   {Address: "/run/app s", Host: "localhost"},
		"https://10.0.0.1:8443": {Address: "10.0.0.1:8443", Host: "10.0.0.1:8443"},
	} {
		cfg := testConfig(url)
		secure := url[:5] == "https"
		if secure {
			cfg.TLS.CA, cfg.TLS.ServerName = a.File, "app.internal"
		}
		got := newClient(t, cfg, WithSetting("upstreams[1]")).Endpoint()
		if secure != (got.TLS != nil) || secure && (got.TLS.ServerName != "app.internal" || !got.TLS.RootCAs.Equal(a.Pool)) {
			t.Errorf("%s: TLS %+v", url, got.TLS)
		}
		want.TLS, want.Setting = got.TLS, "upstreams[1]"
		if got != want {
			t.Errorf("%s: %+v: want %+v", url, got, want)
		}
	}
}
