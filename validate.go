package pillion

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/units"
)

// Validate checks what a configuration means: that its parts can work, and
// work together. It reads the TLS files that are named. The error is a
// *ConfigError with every mistake. Load has done this already.
func (c Config) Validate() error {
	v := newValidator(&c)
	v.run()
	return newConfigError("", v.mistakes)
}

// validator collects the mistakes of one configuration.
type validator struct {
	cfg *Config
	// isSet says whether a key was set by the user, even if to its default.
	isSet func(key string) bool
	// suspect says whether a key has a mistake already.
	suspect  func(key string) bool
	secrets  map[string]string
	mistakes []Mistake
}

func newValidator(cfg *Config) *validator {
	v := &validator{cfg: cfg, secrets: map[string]string{}}
	v.isSet = func(key string) bool { return key == keyRedisURL && cfg.Redis.URL != Default().Redis.URL }
	v.suspect = func(string) bool { return false }
	for _, f := range strictyaml.Keys(reflect.TypeFor[Config]()) {
		v.secrets[f.Name], v.secrets[f.Name+"[]"] = f.Secret, f.Secret // the elements of a list too
	}
	return v
}

func (v *validator) run() {
	v.listen()
	v.server()
	v.upstream()
	v.upstreams()
	v.redis()
	v.session()
	v.cache()
	v.rules()
	v.queues()
	v.enqueue()
	v.admin()
	v.oneOf("log.level", v.cfg.Log.Level, "a log level", "debug", "info", "warn", "error")
	v.oneOf("log.access", v.cfg.Log.Access, "an access log setting", "off", "errors", "sampled", "all")
	if s := v.cfg.Log.Sample; s < 0 || s > 100 {
		v.add("log.sample", s.String(), "is out of range", "write a percentage from 0% to 100%")
	}
}

// add records a mistake. The value is masked if the key is a secret; an empty
// one is not shown.
func (v *validator) add(key, value, message, remedy string) {
	if rest, ok := strings.CutPrefix(message, "is empty"); ok && !v.isSet(key) {
		message = "is not set" + rest
	}
	secret := v.secrets[anyIndex().ReplaceAllString(key, "[]")]
	v.mistakes = append(v.mistakes, Mistake{
		Key: key, Value: strictyaml.Mask(secret, value), Message: message, Remedy: remedy,
	})
}

func anyIndex() *regexp.Regexp { return regexp.MustCompile(`\[\d+\]`) }

func (v *validator) oneOf(key, value, what string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	v.add(key, value, orEmpty(value, "is not "+what), "write "+orList(allowed))
}

// orEmpty gives the message for a value, or that there is none.
func orEmpty(value, message string) string {
	if value == "" {
		return "is empty"
	}
	return message
}

func orList(words []string) string {
	last := len(words) - 1
	if last == 0 {
		return words[0]
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (v *validator) positive(key string, d time.Duration) {
	if d <= 0 {
		v.add(key, strictyaml.Duration(d), "is not more than zero", "write a positive duration, such as 30s")
	}
}

func (v *validator) notNegative(key string, d time.Duration) {
	if d < 0 {
		v.add(key, strictyaml.Duration(d), "is negative", "write a positive duration, such as 30s, or 0s")
	}
}

// atMost reports a duration that is negative or above limit.
func (v *validator) atMost(key string, d, limit time.Duration) {
	v.notNegative(key, d)
	if d > limit {
		text := strictyaml.Duration(limit)
		v.add(key, strictyaml.Duration(d), "is more than "+text, "write at most "+text)
	}
}

func (v *validator) between(key string, n, low, high int) {
	if n < low || n > high {
		v.add(key, fmt.Sprint(n), "is out of range", fmt.Sprintf("write a whole number from %d to %d", low, high))
	}
}

func (v *validator) sizeBetween(key string, s, low, high units.Size) {
	if s < low || s > high {
		v.add(key, s.String(), "is out of range", fmt.Sprintf("write a size from %s to %s", low, high))
	}
}

func (v *validator) server() {
	s := v.cfg.Server
	v.serverTLS(s.TLS)
	v.positive("server.header_timeout", s.HeaderTimeout)
	v.positive("server.read_timeout", s.ReadTimeout)
	v.notNegative("server.write_timeout", s.WriteTimeout)
	v.positive("server.idle_timeout", s.IdleTimeout)
	v.positive("server.shutdown_timeout", s.ShutdownTimeout)
	v.sizeBetween("server.max_header", s.MaxHeader, units.KiB, 16*units.MiB)
	// The server keeps a whole body in an int, and holds some of it in memory.
	v.sizeBetween("server.max_body", s.MaxBody, units.KiB, 1024*units.GiB)
	v.between("server.max_connections", s.MaxConnections, 1, 1<<20)
	v.between("server.max_requests", s.MaxRequests, 0, 1<<30)
	v.notNegative("server.max_connection_age", s.MaxConnectionAge)
	v.between("server.max_tunnels", s.MaxTunnels, 1, 1<<20)
	v.notNegative("server.tunnel_idle_timeout", s.TunnelIdleTimeout)
	v.notNegative("server.tunnel_drain", s.TunnelDrain)
	for i, p := range s.TrustedProxies {
		v.network(v.element("server.trusted_proxies", i), p)
	}
	v.requestID("server.request_id", s.RequestID)
}

// requestID checks the name of the field that carries ids; empty is none.
func (v *validator) requestID(key, name string) {
	const remedy = `write a name such as X-Request-Id, or "" for no ids`
	switch source := func(s sessioncheck.Source) bool { return strings.EqualFold(s.Header, name) }; {
	case name == "":
	case !isToken(name):
		v.add(key, name, "is not a valid header name", remedy)
	case !proxy.MayCarryID(name):
		v.add(key, name, "has a meaning of its own in HTTP", remedy)
	case slices.ContainsFunc(v.cfg.Session.Sources, source):
		v.add(key, name, "is also a source of the session id, which must not be logged", remedy)
	default:
		v.notIdentityOf(key, name, "use another header")
	}
}

func (v *validator) network(key, text string) {
	if _, err := netip.ParsePrefix(text); err == nil {
		return
	}
	remedy := "write an address and a prefix length, such as 10.0.0.0/8"
	if a, err := netip.ParseAddr(text); err == nil {
		remedy = fmt.Sprintf("write %s/%d for this address alone", a, a.BitLen())
	}
	v.add(key, text, orEmpty(text, "is not a network"), remedy)
}
