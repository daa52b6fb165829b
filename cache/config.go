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
	// Keep is for how long a stored response with a validator is kept beyond its
	// lifetime, so that it can be validated instead of fetched anew.
	Keep time.Duration `yaml:"keep" env:"KEEP"`
	// Targets are the targeted fields that replace Cache-Control and Expires here,
	// the first that is usable (RFC 9213).
	Targets []string `yaml:"targets"`
	// TagFields are the response fields that hold surrogate tags.
	TagFields []string `yaml:"tag_fields"`
	// NoVarySearch puts No-Vary-Search to use: which parameters of the query do not
	// count is learnt from the responses. It costs a look-up for each request with a
	// query.
	NoVarySearch bool `yaml:"no_vary_search" env:"NO_VARY_SEARCH"`
	// StatusKey shows the key in Cache-Status, where it is public and printable. It is
	// for finding out why two requests do not share an entry.
	StatusKey bool `yaml:"status_key" env:"STATUS_KEY"`
	// PurgeFrom lists the networks (CIDR) whose clients may purge a URL with the PURGE
	// method. Without any, PURGE is a method of the application's.
	PurgeFrom []string `yaml:"purge_from" env:"PURGE_FROM"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config {
	return Config{
		Memory: 128 * units.MiB, MaxObject: units.MiB, MaxTTL: 7 * 24 * time.Hour, Keep: time.Hour,
		TagFields: []string{"Cache-Tag", "Surrogate-Key"},
	}
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
	// DefaultTTL is the lifetime of a successful response to which the origin gives
	// none; where it gives one, that holds.
	DefaultTTL time.Duration `yaml:"default_ttl"`
	// Override lets TTL and StatusTTL win over the origin's no-cache too, and over the ban
	// on stale use that s-maxage implies. It never wins over no-store, private,
	// must-revalidate or Set-Cookie.
	Override bool `yaml:"override"`
	// NegativeTTL is the lifetime of an error response: 400, 404, 405, 410, 414,
	// 422, 451 and 501 for this long, 500, 502, 503 and 504 for at most a second of it.
	NegativeTTL time.Duration `yaml:"negative_ttl"`
	// StatusTTL is the lifetime of a response by its status, in place of TTL and
	// NegativeTTL. 0 leaves responses with the status unstored.
	StatusTTL map[int]time.Duration `yaml:"status_ttl"`
	// Heuristic allows a tenth of the time since Last-Modified, a day at most, as
	// the lifetime of a response to which nothing else gives one (RFC 9111 §4.2.2).
	Heuristic bool `yaml:"heuristic"`
	// StaleWhileRevalidate and StaleIfError are for how long a stale response may
	// be served while a fresh one is fetched, and when that fails, in place of the
	// origin's (RFC 5861). They are void where the origin forbids stale use.
	StaleWhileRevalidate time.Duration `yaml:"stale_while_revalidate"`
	StaleIfError         time.Duration `yaml:"stale_if_error"`
	// SetCookie says what becomes of a response with Set-Cookie: refuse, strip or
	// store. Empty is refuse.
	SetCookie CookieMode `yaml:"set_cookie"`
	// MatchType is "off" to store a response whose Content-Type does not agree with
	// the extension of its path. See TypeAgrees.
	MatchType Mode `yaml:"match_type"`
	// Post stores the response to a POST for later GETs, when it says by
	// Content-Location that it is what a GET of the same URL would give, and has
	// explicit freshness (RFC 9110 §9.3.3). It costs a lease for each POST.
	Post bool `yaml:"post"`
	// Scope says who shares the response: public, user or session.
	Scope Scope `yaml:"scope"`
	// Tags name groups of stored responses that one write purges. "{param}" takes
	// a path parameter, "{session.field}" a field of the session.
	Tags []string `yaml:"tags"`
	// Query says how the query takes part in the key.
	Query Query `yaml:"query"`
	// Key says what else takes part in it.
	Key Key `yaml:"key"`
	// Bypass says which requests have no part in the cache.
	Bypass Bypass `yaml:"bypass"`
}

// CookieMode says what becomes of a response with Set-Cookie.
type CookieMode string

// The modes. An empty mode is CookieRefuse.
const (
	// CookieRefuse does not store the response (RFC 9111 §7.3).
	CookieRefuse CookieMode = "refuse"
	// CookieStrip stores it without its cookies. The client that caused the fill
	// still gets them.
	CookieStrip CookieMode = "strip"
	// CookieStore stores it whole: everybody who shares the key gets the cookie. It
	// is for cookies that say nothing about a user.
	CookieStore CookieMode = "store"
)

// Query says how the query string takes part in a cache key.
type Query struct {
	// Ignore lists globs of parameter names that are left out of the key.
	Ignore []string `yaml:"ignore"`
	// Only lists globs of the parameter names that take part; all others are left
	// out. Empty, all take part that Ignore does not name.
	Only []string `yaml:"only"`
	// Sort makes parameters in another order the same key. Parameters of one name
	// keep their order.
	Sort bool `yaml:"sort"`
}

// Key names what takes part in a cache key beside scope, host, path and query.
type Key struct {
	// Headers, Cookies and Session name request fields, cookies and fields of the
	// session.
	Headers []string `yaml:"headers"`
	Cookies []string `yaml:"cookies"`
	Session []string `yaml:"session"`
}

// Bypass names the requests that go to the origin and are not stored: those with a
// field, cookie or query parameter of the name whose value matches the glob.
type Bypass struct {
	Headers map[string]string `yaml:"headers"`
	Cookies map[string]string `yaml:"cookies"`
	Query   map[string]string `yaml:"query"`
}
