package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
)

const (
	defaultMaxHead    = 64 << 10
	defaultMaxWaiting = 4096
	// readBuffer is what an idle connection keeps. A larger response head gets a
	// larger buffer for its own exchange.
	readBuffer = 8 << 10
	// smallBody is the largest request body that is read in full before a
	// connection is taken, and sent together with its head in one write.
	smallBody = 32 << 10
	// maxInterim bounds the 1xx responses before the final one.
	maxInterim = 8
)

// DialFunc opens a connection. network is "tcp" or "unix".
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

type options struct {
	maxHead    int
	maxWaiting int
	dial       DialFunc
}

// Option changes what Config does not cover.
type Option func(*options)

// WithMaxHead bounds the bytes of one response head; a larger one is an
// ErrBadResponse. The default is 64 KiB.
func WithMaxHead(bytes int) Option { return func(o *options) { o.maxHead = bytes } }

// WithMaxWaiting bounds the requests that wait for a connection; one more gets
// ErrNoConnection at once. The default is 4096.
func WithMaxWaiting(n int) Option { return func(o *options) { o.maxWaiting = n } }

// WithDial replaces the dialler. The context ends after Timeouts.Connect.
func WithDial(dial DialFunc) Option { return func(o *options) { o.dial = dial } }

// Validate refuses a Config that could not work. All mistakes are reported at
// once, joined, each with the setting's full name.
func (cfg Config) Validate() error {
	var errs []error
	if _, _, err := parseURL(cfg.URL); err != nil {
		errs = append(errs, err)
	}
	positive := func(name string, ok bool, v any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s is %v: it must be greater than 0", name, v))
		}
	}
	positive("upstream.timeouts.connect", cfg.Timeouts.Connect > 0, cfg.Timeouts.Connect)
	positive("upstream.timeouts.response_header", cfg.Timeouts.ResponseHeader > 0, cfg.Timeouts.ResponseHeader)
	positive("upstream.timeouts.idle", cfg.Timeouts.Idle > 0, cfg.Timeouts.Idle)
	positive("upstream.max_connections", cfg.MaxConnections > 0, cfg.MaxConnections)
	return errors.Join(errs...)
}

// parseURL turns upstream.url into what a dialler takes.
func parseURL(raw string) (network, address string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", fmt.Errorf("upstream.url is %q: use http://host:port or unix:///path", raw)
	}
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1:
		return "unix", u.Path, nil
	case u.Scheme == "http" && u.Hostname() != "" && (u.Path == "" || u.Path == "/"):
		port := u.Port()
		if port == "" {
			port = "80"
		}
		return "tcp", net.JoinHostPort(u.Hostname(), port), nil
	}
	return "", "", fmt.Errorf("upstream.url is %q: use http://host:port or unix:///path, with nothing after it", u.Redacted())
}
