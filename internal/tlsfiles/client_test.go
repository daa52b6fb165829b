package tlsfiles

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/tlstest"
)

func TestClientConfig(t *testing.T) {
	a := tlstest.New(t)
	cert, key := a.Issue(t, "client")
	cfg, err := Client{CA: a.File, Cert: cert, Key: key, MinVersion: "1.3"}.Config("app", "x")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.ServerName != "app" || cfg.MinVersion != tls.VersionTLS13 || !cfg.RootCAs.Equal(a.Pool) || len(cfg.NextProtos) != 1 || cfg.ClientSessionCache != nil {
		t.Errorf("%+v", cfg)
	}
	if shown, err := cfg.GetClientCertificate(nil); err != nil || name(t, shown) != "client" {
		t.Errorf("the client certificate is %v, %v", shown, err)
	}
	cfg, err = Client{ServerName: "app.internal"}.Config("app", "x")
	if err != nil || cfg.ServerName != "app.internal" || cfg.MinVersion != tls.VersionTLS12 || cfg.RootCAs != nil || cfg.GetClientCertificate != nil {
		t.Errorf("%+v, %v", cfg, err)
	}
	for want, c := range map[string]Client{
		"x.tls.ca: ":                   {CA: key},
		"x.tls.cert and x.tls.key: ":   {Cert: cert},
		`x.tls.min_version is "1.1": `: {MinVersion: "1.1"},
	} {
		if _, err := c.Config("app", "x"); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}
