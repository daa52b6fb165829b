package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Validate refuses a Config that could not work. All mistakes are reported at
// once, joined, each with the setting's full name.
func (cfg Config) Validate() error { return cfg.validate(defaultSetting) }

func (cfg Config) validate(at string) error {
	var errs []error
	if _, err := parseURL(cfg.URL); err != nil {
		errs = append(errs, fmt.Errorf("%s.url %w", at, err))
	}
	check := func(name string, ok bool, v any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s.%s is %v: it must be %s", at, name, v, rule))
		}
	}
	positive := func(name string, ok bool, v any) { check(name, ok, v, "greater than 0") }
	positive("timeouts.connect", cfg.Timeouts.Connect > 0, cfg.Timeouts.Connect)
	positive("timeouts.response_header", cfg.Timeouts.ResponseHeader > 0, cfg.Timeouts.ResponseHeader)
	positive("timeouts.idle", cfg.Timeouts.Idle > 0, cfg.Timeouts.Idle)
	positive("max_connections", cfg.MaxConnections > 0, cfg.MaxConnections)
	check("wait", cfg.Wait >= 0, cfg.Wait, "0 or more")
	if h := cfg.Health; h.Path != "" {
		check("health.path", validPath(h.Path), fmt.Sprintf("%q", h.Path), `a path that begins with "/", such as /healthz`)
		positive("health.interval", h.Interval > 0, h.Interval)
		positive("health.timeout", h.Timeout > 0, h.Timeout)
		positive("health.unhealthy", h.Unhealthy > 0, h.Unhealthy)
		positive("health.healthy", h.Healthy > 0, h.Healthy)
	}
	check("breaker.failures", cfg.Breaker.Failures >= 0, cfg.Breaker.Failures, "0 or more")
	positive("breaker.open", cfg.Breaker.Failures == 0 || cfg.Breaker.Open > 0, cfg.Breaker.Open)
	v := cfg.TLS.MinVersion
	check("tls.min_version", v == "" || v == "1.2" || v == "1.3", fmt.Sprintf("%q", v), "1.2 or 1.3")
	return errors.Join(errs...)
}

// validPath keeps the check's request one request.
func validPath(path string) bool {
	return strings.HasPrefix(path, "/") && strings.IndexFunc(path, func(c rune) bool { return c <= ' ' || c == '#' || c >= 0x7f }) < 0
}

// target is what a URL says of where the application is.
type target struct {
	network, address string // what a dialler takes
	host             string // for the certificate, and the health check's Host field, without a port
	authority        string // host, with the port that the URL has
	secure           bool
}

// hostField is the host as a Host field has it.
func (t target) hostField() string {
	if strings.Contains(t.host, ":") {
		return "[" + t.host + "]"
	}
	return t.host
}

const urlRemedy = "use http://host:port, https://host:port or unix:///path, with nothing after it"

func parseURL(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, fmt.Errorf("is %q: %s", raw, urlRemedy)
	}
	port := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		return target{network: "unix", address: u.Path, host: "localhost", authority: "localhost"}, nil
	case port != "" && u.Hostname() != "" && (u.Path == "" || u.Path == "/"):
		if u.Port() != "" {
			port = u.Port()
		}
		return target{
			network: "tcp", address: net.JoinHostPort(u.Hostname(), port),
			host: u.Hostname(), authority: u.Host, secure: u.Scheme == "https",
		}, nil
	}
	return target{}, fmt.Errorf("is %q: %s", u.Redacted(), urlRemedy)
}
