package upstream

import "time"

// Config says where the application is and how long to wait for it.
type Config struct {
	// URL is http://host:port, https://host:port or unix:///path/to/socket.
	URL string `yaml:"url" env:"URL"`
	// TLS is for an https URL.
	TLS TLS `yaml:"tls" envPrefix:"TLS_"`
	// Timeouts bound the phases of one exchange.
	Timeouts Timeouts `yaml:"timeouts" envPrefix:"TIMEOUT_"`
	// UntilClose trusts the end of a connection as the end of a response: one without
	// a length may be stored, and one with a transfer coding that nobody knows is
	// passed on as it comes (RFC 9112 §6.3). Off, since a crash of the application
	// looks the same.
	UntilClose bool `yaml:"until_close" env:"UNTIL_CLOSE"`
	// MaxConnections bounds the open connections to the application. A request
	// that finds none free waits for one, at most Timeouts.Connect.
	MaxConnections int `yaml:"max_connections" env:"MAX_CONNECTIONS"`
	// Wait is how long a request waits for an application that is not up yet: one
	// whose address refuses connections, or whose socket does not exist. 0 is not
	// at all.
	Wait time.Duration `yaml:"wait" env:"WAIT"`
	// Health asks the application regularly whether it works.
	Health Health `yaml:"health" envPrefix:"HEALTH_"`
	// Breaker stops sending requests to an application that does not answer.
	Breaker Breaker `yaml:"breaker" envPrefix:"BREAKER_"`
}

// Named is one of several applications: an entry of upstreams.
type Named struct {
	// Name is what rules and metrics call it.
	Name   string `yaml:"name"`
	Config `yaml:",inline"`
}

// TLS holds the settings of a TLS client. Files are PEM-encoded.
type TLS struct {
	// CA names the authorities to trust, in place of the system's.
	CA string `yaml:"ca" env:"CA"`
	// Cert and Key are the client certificate and its private key. They are read
	// again when they change.
	Cert string `yaml:"cert" env:"CERT"`
	Key  string `yaml:"key" env:"KEY"`
	// ServerName is the name in the application's certificate, where it is not the
	// URL's host.
	ServerName string `yaml:"server_name" env:"SERVER_NAME"`
	// MinVersion is 1.2 or 1.3.
	MinVersion string `yaml:"min_version" env:"MIN_VERSION"`
}

// Health is the active health check.
type Health struct {
	// Path is what is asked for by GET; an answer of 2xx or 3xx is good. Without it,
	// there is no check.
	Path string `yaml:"path" env:"PATH"`
	// Interval is the time from the end of one check to the next.
	Interval time.Duration `yaml:"interval" env:"INTERVAL"`
	// Timeout bounds one check.
	Timeout time.Duration `yaml:"timeout" env:"TIMEOUT"`
	// Unhealthy is the number of failed checks in a row after which no request is
	// sent any more, and Healthy that of good ones after which requests are sent again.
	Unhealthy int `yaml:"unhealthy" env:"UNHEALTHY"`
	Healthy   int `yaml:"healthy" env:"HEALTHY"`
}

// Breaker is the circuit breaker.
type Breaker struct {
	// Failures is the number of requests in a row that got no answer, after which the
	// breaker opens: no connection, a reset, a timeout. 0 switches it off.
	Failures int `yaml:"failures" env:"FAILURES"`
	// Open is for how long it stays open. Then one request at a time tries.
	Open time.Duration `yaml:"open" env:"OPEN"`
}

// Timeouts bound the phases of one exchange with the application.
type Timeouts struct {
	// Connect bounds opening a connection.
	Connect time.Duration `yaml:"connect" env:"CONNECT"`
	// ResponseHeader bounds the wait for the response header after the request
	// has been sent.
	ResponseHeader time.Duration `yaml:"response_header" env:"RESPONSE_HEADER"`
	// Idle bounds the wait for the next bytes of a body, in either direction, and
	// the life of an unused connection.
	Idle time.Duration `yaml:"idle" env:"IDLE"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config {
	return Config{
		URL:            "http://127.0.0.1:8000",
		Timeouts:       Timeouts{Connect: time.Second, ResponseHeader: 30 * time.Second, Idle: 60 * time.Second},
		TLS:            TLS{MinVersion: "1.2"},
		MaxConnections: 512,
		Health:         Health{Interval: 5 * time.Second, Timeout: time.Second, Unhealthy: 3, Healthy: 1},
		Breaker:        Breaker{Open: 5 * time.Second},
	}
}

// DefaultNamed gives what an entry of upstreams starts from. It has no URL: the
// address of the main application would be a wrong guess.
func DefaultNamed() Named {
	n := Named{Config: Default()}
	n.URL = ""
	return n
}
