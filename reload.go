package pillion

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// reloadState counts reloads.
type reloadState struct {
	mu         sync.Mutex
	ok, failed uint64
	lastFailed bool
}

func (r *reloadState) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lastFailed = err != nil; r.lastFailed {
		r.failed++
	} else {
		r.ok++
	}
}

func (r *reloadState) counts() (ok, failed uint64, lastOK bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ok, r.failed, !r.lastFailed
}

// Reload puts a new configuration to use for the requests that come from now on;
// requests under way keep the one that they began with. What can change are rules,
// session.retry_after, session.on_missing, session.cors_origins, log.access, log.sample, of cache: max_object, keep, targets and
// tag_fields, and of server: max_body, trusted_proxies, request_id, max_tunnels,
// tunnel_idle_timeout and tunnel_drain. When anything else differs, or anything is
// wrong, nothing is changed and the error says what: the last good configuration
// stays in use.
func (p *Pillion) Reload(cfg Config) error {
	return p.ReloadFrom(func() (Config, error) { return cfg, nil })
}

// ReloadFrom is Reload with what load gives. Its error counts and is logged as a failed
// reload too.
func (p *Pillion) ReloadFrom(load func() (Config, error)) error {
	cfg, err := load()
	if err == nil {
		err = p.reload(cfg)
	}
	p.reloads.note(err)
	if err != nil {
		p.log.Error().Err(err).Msg("the configuration was not reloaded: the last good one stays in use")
		return err
	}
	p.log.Info().Int("rules", len(cfg.Rules)).Msg("the configuration was reloaded")
	return nil
}

func (p *Pillion) reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if keys := needRestart(p.cfg, cfg); len(keys) > 0 {
		return fmt.Errorf("pillion must be restarted for a change of %s: restart it, or take the change back", strings.Join(keys, ", "))
	}
	s := settings(cfg)
	for _, h := range p.handlers {
		// The same settings compile for all handlers or for none.
		if err := h.Apply(s); err != nil {
			return err
		}
	}
	p.cfg = cfg
	return nil
}

// needRestart names the settings that differ and cannot change while running.
func needRestart(old, now Config) []string {
	// Made equal first: what can change.
	old.Rules, now.Rules = nil, nil
	old.Cache.MaxObject, old.Cache.Keep = now.Cache.MaxObject, now.Cache.Keep
	old.Cache.Targets, old.Cache.TagFields = now.Cache.Targets, now.Cache.TagFields
	old.Session.RetryAfter = now.Session.RetryAfter
	old.Session.OnMissing, old.Session.CORSOrigins = now.Session.OnMissing, now.Session.CORSOrigins
	old.Log.Access, old.Log.Sample = now.Log.Access, now.Log.Sample
	old.Server.MaxBody, old.Server.TrustedProxies = now.Server.MaxBody, now.Server.TrustedProxies
	old.Server.RequestID = now.Server.RequestID
	old.Server.MaxTunnels, old.Server.TunnelIdleTimeout = now.Server.MaxTunnels, now.Server.TunnelIdleTimeout
	old.Server.TunnelDrain = now.Server.TunnelDrain
	var keys []string
	a, b := reflect.ValueOf(old), reflect.ValueOf(now)
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			keys = append(keys, a.Type().Field(i).Tag.Get("yaml"))
		}
	}
	return keys
}
