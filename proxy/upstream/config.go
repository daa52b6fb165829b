package upstream

import "time"

// Config says where the application is and how long to wait for it.
type Config struct {
	// URL is http://host:port or unix:///path/to/socket.
	URL string `yaml:"url" env:"URL"`
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
		MaxConnections: 512,
	}
}
