package cache

import (
	"time"

	"github.com/pillion-proxy/pillion/units"
)

// Config holds the settings of the cache as a whole.
type Config struct {
	// Memory bounds what is kept in this process's memory: stored responses,
	// sessions and purge marks together.
	Memory units.Size `yaml:"memory" env:"MEMORY"`
	// MaxObject is the largest response body that is stored. Larger ones are
	// passed through.
	MaxObject units.Size `yaml:"max_object" env:"MAX_OBJECT"`
	// MaxTTL bounds the lifetime of a stored response, whatever the origin or a
	// rule says. Purge marks live longer than it.
	MaxTTL time.Duration `yaml:"max_ttl" env:"MAX_TTL"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config {
	return Config{Memory: 128 * units.MiB, MaxObject: units.MiB, MaxTTL: 7 * 24 * time.Hour}
}

// Scope says who shares a stored response.
type Scope string

// The scopes. An empty scope is public on a route without a session, and user
// on a route with one.
const (
	ScopePublic  Scope = "public"
	ScopeUser    Scope = "user"
	ScopeSession Scope = "session"
)

// Mode turns the cache off for a rule, or on.
type Mode string

// The modes. An empty mode is ModeOn.
const (
	ModeOn  Mode = "on"
	ModeOff Mode = "off"
)

// Policy is what a rule says about caching. In YAML it is "off", "on", or a
// mapping of the fields below.
type Policy struct {
	// Mode is "off" to pass every request through.
	Mode Mode `yaml:"mode,scalar"`
	// TTL is the freshness lifetime of a successful response, in place of the
	// origin's. Zero leaves the lifetime to the origin. It never makes a response
	// storable that the origin, or its Set-Cookie, forbids to store.
	TTL time.Duration `yaml:"ttl"`
	// Jitter shortens each lifetime by a random share of up to this much, so that
	// entries stored together do not expire together.
	Jitter units.Percent `yaml:"jitter"`
	// NegativeTTL is the lifetime of an error response: 400, 404, 405, 410, 414,
	// 422, 451 and 501 for this long, 500, 502, 503 and 504 for at most a second of it.
	NegativeTTL time.Duration `yaml:"negative_ttl"`
	// Scope says who shares the response: public, user or session.
	Scope Scope `yaml:"scope"`
	// Tags name groups of stored responses that one write purges. "{param}" takes
	// a path parameter, "{session.field}" a field of the session.
	Tags []string `yaml:"tags"`
	// Query says how the query takes part in the key.
	Query Query `yaml:"query"`
}

// Query says how the query string takes part in a cache key.
type Query struct {
	// Ignore lists globs of parameter names that are left out of the key.
	Ignore []string `yaml:"ignore"`
}
