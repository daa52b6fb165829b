package pillion

import (
	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/units"
)

// Config is everything a user can set. Each package owns its part.
type Config struct {
	// Listen is the TCP address of the proxy, such as ":8080", "unix:/path", or "off"
	// for none: then only queues are drained, or Handler is used.
	Listen   string             `yaml:"listen" env:"LISTEN"`
	Server   proxy.ServerConfig `yaml:"server" envPrefix:"SERVER_"`
	Upstream upstream.Config    `yaml:"upstream" envPrefix:"UPSTREAM_"`
	// Upstreams are further applications, to which rules send their requests.
	Upstreams []upstream.Named    `yaml:"upstreams"`
	Redis     redisconn.Config    `yaml:"redis" envPrefix:"REDIS_"`
	Session   sessioncheck.Config `yaml:"session" envPrefix:"SESSION_"`
	Cache     cache.Config        `yaml:"cache" envPrefix:"CACHE_"`
	// Rules are tried in order; the first that matches wins. A request that no
	// rule matches needs a session and is cached as its response allows.
	Rules  []proxy.Rule        `yaml:"rules"`
	Queues []queueagent.Config `yaml:"queues"`
	// Enqueue lets responses of the application add tasks to queues.
	Enqueue EnqueueConfig `yaml:"enqueue" envPrefix:"ENQUEUE_"`
	Admin   admin.Config  `yaml:"admin" envPrefix:"ADMIN_"`
	Log     LogConfig     `yaml:"log" envPrefix:"LOG_"`
}

// EnqueueConfig is, in YAML, true, false, or a mapping of the fields below.
type EnqueueConfig struct {
	// Enabled takes tasks out of the field and adds them before the response goes on.
	Enabled bool `yaml:"enabled,scalar" env:"ENABLED"`
	// Header is the name of that field. It never reaches a client, and no client can send
	// it to the application.
	Header string `yaml:"header" env:"HEADER"`
}

// LogConfig says what is logged.
type LogConfig struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level" env:"LEVEL"`
	// Access is off, errors (status 500 and above), sampled or all.
	Access string `yaml:"access" env:"ACCESS"`
	// Sample is the share of the requests that sampled logs, beside all with an error.
	Sample units.Percent `yaml:"sample" env:"SAMPLE"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config {
	return Config{
		Listen:   ":8080",
		Server:   proxy.DefaultServer(),
		Upstream: upstream.Default(),
		Redis:    redisconn.Default(),
		Session:  sessioncheck.Default(),
		Cache:    cache.Default(),
		Enqueue:  EnqueueConfig{Header: "Pillion-Enqueue"},
		Admin:    admin.Default(),
		Log:      LogConfig{Level: "info", Access: "errors", Sample: 1},
	}
}
