package proxy

import (
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/units"
)

// Rule is one entry of the rules list: which requests, and what happens to them.
type Rule struct {
	// Name names the rule in logs and metrics.
	Name string `yaml:"name"`
	// Match says which requests the rule is for.
	Match rules.Match `yaml:"match"`
	// Session says whether they need a session.
	Session sessioncheck.Policy `yaml:"session"`
	// Upstream names the entry of upstreams that they go to; without it, they go to
	// the main application.
	Upstream string `yaml:"upstream"`
	// Cache says whether and how their responses are stored.
	Cache cache.Policy `yaml:"cache"`
	// Rewrite says which path the application sees.
	Rewrite Rewrite `yaml:"rewrite"`
	// RequestHeaders changes the header that the application gets. Its values may have
	// placeholders.
	RequestHeaders HeaderEdit `yaml:"request_headers"`
	// ResponseHeaders changes the header that the client gets, whoever made the response.
	ResponseHeaders HeaderEdit `yaml:"response_headers"`
	// MaxBody is the largest request body, in place of the server's; 0 leaves that.
	MaxBody units.Size `yaml:"max_body"`
	// Allow names what a path may have though applications do not agree on what it
	// means: encoded_slash, empty_segment.
	Allow []string `yaml:"allow"`
	// CSRF refuses what another site made a browser send with its session cookie.
	CSRF CSRF `yaml:"csrf"`
}

// Rewrite changes the path on its way to the application. Everything else here sees
// the path as it came.
type Rewrite struct {
	// StripPrefix is taken off where it ends with a segment: /api off /api and /api/x,
	// not off /apix.
	StripPrefix string `yaml:"strip_prefix"`
	// AddPrefix is put in front, after that.
	AddPrefix string `yaml:"add_prefix"`
}

// HeaderEdit changes a header: first Remove, then Set, then Add.
type HeaderEdit struct {
	// Set gives a field one value, in place of all that it has.
	Set map[string]string `yaml:"set"`
	// Add gives a field one more value.
	Add map[string]string `yaml:"add"`
	// Remove names the fields that go.
	Remove []string `yaml:"remove"`
}

// ServerConfig bounds what a client may do.
type ServerConfig struct {
	// TLS makes the listener speak TLS.
	TLS ServerTLS `yaml:"tls" envPrefix:"TLS_"`
	// HeaderTimeout bounds the wait for a request's header, from its first byte.
	HeaderTimeout time.Duration `yaml:"header_timeout" env:"HEADER_TIMEOUT"`
	// ReadTimeout bounds the wait for each part of a request's body.
	ReadTimeout time.Duration `yaml:"read_timeout" env:"READ_TIMEOUT"`
	// WriteTimeout bounds the writing of a response, or of each part of one that is
	// streamed or of what goes through a tunnel; 0 is no bound.
	WriteTimeout time.Duration `yaml:"write_timeout" env:"WRITE_TIMEOUT"`
	// IdleTimeout bounds the wait for the next request on a connection.
	IdleTimeout time.Duration `yaml:"idle_timeout" env:"IDLE_TIMEOUT"`
	// MaxHeader is the largest request line and header together.
	MaxHeader units.Size `yaml:"max_header" env:"MAX_HEADER"`
	// MaxBody is the largest request body.
	MaxBody units.Size `yaml:"max_body" env:"MAX_BODY"`
	// MaxConnections bounds the open client connections.
	MaxConnections int `yaml:"max_connections" env:"MAX_CONNECTIONS"`
	// MaxRequests bounds the requests on one client connection; 0 is no bound.
	MaxRequests int `yaml:"max_requests" env:"MAX_REQUESTS"`
	// MaxConnectionAge closes a client connection with the answer to the first request
	// after this time; 0 is no bound.
	MaxConnectionAge time.Duration `yaml:"max_connection_age" env:"MAX_CONNECTION_AGE"`
	// MaxTunnels bounds the open tunnels: connections that were upgraded to another
	// protocol, such as WebSocket.
	MaxTunnels int `yaml:"max_tunnels" env:"MAX_TUNNELS"`
	// TunnelIdleTimeout ends a tunnel through which no byte has gone for that long, in
	// either direction; 0 is no bound.
	TunnelIdleTimeout time.Duration `yaml:"tunnel_idle_timeout" env:"TUNNEL_IDLE_TIMEOUT"`
	// TunnelDrain is for how long tunnels may end by themselves after a stop.
	TunnelDrain time.Duration `yaml:"tunnel_drain" env:"TUNNEL_DRAIN"`
	// ShutdownTimeout bounds the drain after a stop: requests and deliveries in
	// flight may finish.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" env:"SHUTDOWN_TIMEOUT"`
	// TrustedProxies lists the networks (CIDR) whose X-Forwarded-* and Forwarded
	// fields are kept and extended. From others they are replaced. The default is
	// loopback and the private networks, where an ingress is. A client on a Unix socket
	// counts as one at 127.0.0.1.
	TrustedProxies []string `yaml:"trusted_proxies" env:"TRUSTED_PROXIES"`
	// RequestID is the name of the field that carries a request's id, or empty for no
	// ids. An id from a trusted proxy is kept; others are made anew.
	RequestID string `yaml:"request_id" env:"REQUEST_ID"`
}

// DefaultServer gives the settings that apply where the user sets none.
func DefaultServer() ServerConfig {
	return ServerConfig{
		TLS:               ServerTLS{MinVersion: "1.2"},
		HeaderTimeout:     10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       75 * time.Second,
		MaxHeader:         32 * units.KiB,
		MaxBody:           64 * units.MiB,
		MaxConnections:    65536,
		MaxTunnels:        16384,
		TunnelIdleTimeout: time.Hour,
		TunnelDrain:       5 * time.Second,
		ShutdownTimeout:   20 * time.Second,
		TrustedProxies:    []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"},
		RequestID:         "X-Request-Id",
	}
}
