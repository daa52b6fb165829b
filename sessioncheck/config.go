package sessioncheck

import (
	"time"

	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

// Config holds the settings of the session check as a whole.
type Config struct {
	// Sources are the places of the session id in a request, in order; the first
	// that is present is used.
	Sources []Source `yaml:"sources"`
	// Format names how the application writes its sessions: one of formats.Names.
	// "json" is a JSON object.
	Format string `yaml:"format" env:"FORMAT"`
	// Secrets are those of the application that prove that it made a cookie. Any of
	// them counts, so that one can be changed.
	Secrets []string `yaml:"secrets" env:"SECRETS" secret:"true"`
	// Login lists session fields of which one must have a value, else the session is
	// a guest's and counts as absent. Empty: every session counts.
	Login []string `yaml:"login,one" env:"LOGIN"`
	// Key is the Redis key of a session, with {id} in the place of its id.
	Key string `yaml:"key" env:"KEY"`
	// TTL is the lifetime that sliding renewal sets.
	TTL time.Duration `yaml:"ttl" env:"TTL"`
	// Sliding renews the TTL of a session that is used, at most once per tenth of
	// the TTL or per minute, whichever is shorter.
	Sliding bool `yaml:"sliding" env:"SLIDING"`
	// Identity maps a request header that the application receives to the session
	// field that it carries. Clients can never set these headers.
	Identity map[string]string `yaml:"identity"`
	// User is the session field that identifies the user, for cache scope "user".
	User string `yaml:"user" env:"USER"`
	// RetryAfter is what a 503 tells the client to wait.
	RetryAfter time.Duration `yaml:"retry_after" env:"RETRY_AFTER"`
	// Lifecycle lets the application create, change and end sessions by a field of its
	// responses, so that it needs no Redis client.
	Lifecycle bool `yaml:"lifecycle" env:"LIFECYCLE"`
	// LifecycleHeader is the name of that field. It never reaches a client, and no client
	// can send it to the application.
	LifecycleHeader string `yaml:"lifecycle_header" env:"LIFECYCLE_HEADER"`
	// Cookie is the cookie in which a session that was created goes to the client.
	Cookie Cookie `yaml:"cookie" envPrefix:"COOKIE_"`
	// Index keeps a list of each user's sessions, also of those that the application
	// writes itself. Lifecycle implies it.
	Index bool `yaml:"index" env:"INDEX"`
	// MaxPerUser bounds the sessions of one user; the oldest ones end. 0 is no bound
	// but that of the index, 1000.
	MaxPerUser int `yaml:"max_per_user" env:"MAX_PER_USER"`
	// ActiveUsers counts the users of each day.
	ActiveUsers ActiveUsers `yaml:"active_users" envPrefix:"ACTIVE_USERS_"`
	// OnMissing is the answer to a request that has no valid session and needs one.
	OnMissing OnMissing `yaml:"on_missing" envPrefix:"ON_MISSING_"`
	// CORSOrigins are the origins whose scripts may read pillion's own 401, 403 and 503;
	// "*" is any, without credentials.
	CORSOrigins []string `yaml:"cors_origins" env:"CORS_ORIGINS"`
	// Grace is for how long a session that was valid still counts when Redis gives no
	// answer; 0 is not at all.
	Grace time.Duration `yaml:"grace" env:"GRACE"`
	// AbsoluteTimeout is the age at which a session ends, however much it is used; 0 is
	// never. It needs CreatedField.
	AbsoluteTimeout time.Duration `yaml:"absolute_timeout" env:"ABSOLUTE_TIMEOUT"`
	// CreatedField is the session field that says when the session was made, in Unix
	// seconds or milliseconds, or as RFC 3339 has it.
	CreatedField string `yaml:"created_field" env:"CREATED_FIELD"`
	// IdentityJSON is the header that carries the whole session to the application, as
	// JSON in base64; empty for none.
	IdentityJSON string `yaml:"identity_json" env:"IDENTITY_JSON"`
	// JWT is a signed token about the session for the application.
	JWT JWT `yaml:"jwt" envPrefix:"JWT_"`
	// Strip keeps the session's id from the application: the cookie or header in which
	// it came is taken out of requests whose session was checked.
	Strip bool `yaml:"strip" env:"STRIP"`
}

// Cookie says how the cookie of a created session is set. It is always HttpOnly.
type Cookie struct {
	// Name is the cookie's name. Without one it is the first cookie of Sources, with the
	// prefix "__Host-" where that is possible: Secure, no Domain, and the Path "/".
	// A cookie with this name is also a source of the session id.
	Name   string `yaml:"name" env:"NAME"`
	Domain string `yaml:"domain" env:"DOMAIN"`
	Path   string `yaml:"path" env:"PATH"`
	// SameSite is lax, strict or none.
	SameSite string `yaml:"same_site" env:"SAME_SITE"`
	Secure   bool   `yaml:"secure" env:"SECURE"`
	// MaxAge is for how long a browser keeps the cookie; with 0 until it is closed.
	MaxAge time.Duration `yaml:"max_age" env:"MAX_AGE"`
}

// ActiveUsers is, in YAML, true, false, or a mapping of the fields below.
type ActiveUsers struct {
	Enabled bool `yaml:"enabled,scalar" env:"ENABLED"`
	// MaxID is the largest user id that has a bit of its own in the day's bitmap, which
	// is up to MaxID/8 bytes long. Other users are estimated (HyperLogLog).
	MaxID int `yaml:"max_id" env:"MAX_ID"`
}

// Source is one place of a session id: exactly one of its fields is set.
type Source struct {
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
	// Bearer is the token of "Authorization: Bearer".
	Bearer bool `yaml:"bearer"`
}

// Default gives the settings that apply where the user sets none.
func Default() Config {
	return Config{
		Sources:    []Source{{Header: "X-Session-ID"}, {Cookie: "session_id"}},
		Format:     "json",
		Key:        "session:{id}",
		TTL:        7 * 24 * time.Hour,
		Sliding:    true,
		Identity:   map[string]string{"X-User-Id": "user_id"},
		User:       "user_id",
		RetryAfter: time.Second,

		LifecycleHeader: "Pillion-Session",
		Cookie:          Cookie{Path: "/", SameSite: "lax", Secure: true},
		ActiveUsers:     ActiveUsers{MaxID: 10_000_000},
		OnMissing:       OnMissing{Status: 401},
		JWT:             DefaultJWT(),
	}
}

// DefaultFor gives the settings that apply to a format where the user sets none; of
// an unknown one those of json.
func DefaultFor(format string) Config {
	c := Default()
	f := formats.Lookup(format)
	if f == nil || format == c.Format {
		return c
	}
	c.Format, c.Key, c.TTL, c.Sliding, c.User, c.Login = f.Name, f.Key, f.TTL, f.Sliding, f.User, f.Login
	c.Sources, c.Identity = nil, make(map[string]string)
	for _, name := range f.Cookies {
		c.Sources = append(c.Sources, Source{Cookie: name})
	}
	if f.User != "" {
		c.Identity["X-User-Id"] = f.User
	}
	return c
}

// Mode says whether a rule needs a session.
type Mode string

// The modes. An empty mode is ModeRequired: the safe one.
const (
	ModeNone     Mode = "none"
	ModeOptional Mode = "optional"
	ModeRequired Mode = "required"
)

// Policy is what a rule says about sessions. In YAML it is "none", "optional",
// "required", or a mapping of the fields below.
type Policy struct {
	Mode Mode `yaml:"mode,scalar"`
	// Require maps a session field to the values of which it must have one; a
	// session without them gets 403. It implies ModeRequired.
	Require map[string][]string `yaml:"require"`
	// OnMissing is the rule's own; without one the one of the session settings counts.
	OnMissing OnMissing `yaml:"on_missing"`
}
