package redisconn

import (
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// TestTLSOptions: the files that are named are used, and mistakes name their setting.
func TestTLSOptions(t *testing.T) {
	a := tlstest.New(t)
	cert, key := a.Issue(t, "client")
	cfg := Default()
	cfg.URL = "rediss://redis.internal:6379"
	cfg.TLS = TLS{CA: a.File, Cert: cert, Key: key, ServerName: "other.internal"}
	opt, err := clientOption(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := opt.TLSConfig
	if c == nil || c.RootCAs == nil || !c.RootCAs.Equal(a.Pool) || c.ServerName != "other.internal" || c.GetClientCertificate == nil {
		t.Fatalf("%+v", c)
	}
	if pair, err := c.GetClientCertificate(nil); err != nil || pair.Leaf.Subject.CommonName != "client" {
		t.Errorf("%v, %v", pair, err)
	}
	for _, tt := range []struct {
		tls  TLS
		want string
	}{
		{TLS{CA: key}, "redis.tls.ca: "},
		{TLS{Cert: cert, Key: cert}, "redis.tls.cert and redis.tls.key: "},
		{TLS{Cert: "/nonexistent", Key: key}, "redis.tls.cert and redis.tls.key: "},
	} {
		cfg.TLS = tt.tls
		if _, err := clientOption(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}
