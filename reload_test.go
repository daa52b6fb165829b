package pillion

import (
	"reflect"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
)

func TestNeedRestart(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"nothing", func(*Config) {}, nil},
		{"all that can change", func(c *Config) {
			c.Rules = []proxy.Rule{{Name: "a"}}
			c.Cache.MaxObject, c.Cache.Keep = 1, 2*time.Hour
			c.Cache.Targets, c.Cache.TagFields = []string{"CDN-Cache-Control"}, nil
			c.Session.RetryAfter, c.Log.Access = time.Minute, "all"
			c.Session.OnMissing.Redirect, c.Session.CORSOrigins = "/login", []string{"*"}
			c.Server.MaxBody, c.Server.TrustedProxies = 1, nil
			c.Server.RequestID, c.Log.Sample = "", 50
			c.Server.MaxTunnels, c.Server.TunnelIdleTimeout, c.Server.TunnelDrain = 1, 0, 0
		}, nil},
		{"the store's lifetimes", func(c *Config) { c.Cache.MaxTTL = time.Hour; c.Cache.Keep = 0 }, []string{"cache"}},
		{"upstreams", func(c *Config) { c.Upstreams = []upstream.Named{upstream.DefaultNamed()} }, []string{"upstreams"}},
		{"what follows from a check", func(c *Config) { c.Session.Grace = time.Minute }, []string{"session"}},
		{"others", func(c *Config) { c.Listen = ":1"; c.Cache.Memory++; c.Log.Level = "warn" }, []string{"listen", "cache", "log"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			now := Default()
			tt.change(&now)
			if got := needRestart(Default(), now); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSettings: what a user sets must reach the handler.
func TestSettings(t *testing.T) {
	cfg := Default()
	cfg.Cache.Keep, cfg.Cache.Targets, cfg.Cache.TagFields = 2*time.Hour, []string{"A"}, []string{"B"}
	cfg.Log.Access, cfg.Log.Sample, cfg.Server.RequestID = "sampled", 50, "X-Id"
	cfg.Session.OnMissing.Redirect, cfg.Session.CORSOrigins = "/login", []string{"*"}
	s := settings(cfg)
	if s.OnMissing != cfg.Session.OnMissing || !reflect.DeepEqual(s.CORSOrigins, cfg.Session.CORSOrigins) {
		t.Errorf("got %+v, %q", s.OnMissing, s.CORSOrigins)
	}
	if s.Access != "sampled" || s.Sample != 50 || s.Server.RequestID != "X-Id" {
		t.Errorf("got %q, %v, %q", s.Access, s.Sample, s.Server.RequestID)
	}
	if s.Keep != cfg.Cache.Keep || !reflect.DeepEqual(s.Targets, cfg.Cache.Targets) || !reflect.DeepEqual(s.TagFields, cfg.Cache.TagFields) {
		t.Errorf("got %v, %q, %q", s.Keep, s.Targets, s.TagFields)
	}
}
