package sessioncheck

import "time"

// Config holds the settings of the session check as a whole.
type Config struct {
	// Sources are the places of the session id in a request, in order; the first
	// that is present is used.
	Sources []Source `yaml:"sources"`
	// Format names how the application writes its sessions. "json" is a JSON object.
	Format string `yaml:"format" env:"FORMAT"`
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

// Source is one place of a session id: exactly one of its fields is set.
type Source struct {
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
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
		OnMissing:  OnMissing{Status: 401},
		JWT:        DefaultJWT(),
	}
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
