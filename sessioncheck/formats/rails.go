package formats

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// rails is redis-session-store with serializer: :json. The Redis key holds the private
// id, which is the version and the SHA-256 of what is in the cookie
// (Rack::Session::SessionId): who can read Redis cannot make a cookie.
func rails() *Format {
	return &Format{
		Name: "rails", Key: "{id}", Cookies: []string{"_session_id"}, TTL: 2 * time.Hour,
		User: "user_id", Login: []string{"user_id", "warden_user"},
		Stored: "a JSON object of at most 64 KiB in UTF-8 (redis-session-store with serializer: :json)", Decode: decodeRails,
		verifier: func([]string, string) (Verifier, error) {
			return &privateID{newSyntax(32, 64, hexDigits)}, nil
		},
	}
}

// privateID hashes the public id. A value with a version in front, such as 2::,
// would be a private id that somebody read in Redis: its colons are refused.
type privateID struct{ syntax }

func (v *privateID) Steps() []Step { return []Step{v.step()} }

func (v *privateID) AppendID(dst, value []byte) ([]byte, int) {
	if !v.valid(value) {
		return dst, 1
	}
	sum := sha256.Sum256(value)
	return hex.AppendEncode(append(dst, "2::"...), sum[:]), 0
}

// decodeRails gives warden.user.SCOPE.key, an array of ids and a part of the password's
// hash, as warden_SCOPE: a name with dots could not be a path.
func decodeRails(raw string) map[string]any {
	doc := JSON(raw)
	for name, v := range doc {
		scope, begins := strings.CutPrefix(name, "warden.user.")
		scope, ends := strings.CutSuffix(scope, ".key")
		if !begins || !ends {
			continue
		}
		outer, _ := v.([]any)
		if len(outer) == 0 {
			continue
		}
		if ids, ok := outer[0].([]any); ok && len(ids) == 1 {
			doc["warden_"+scope] = ids[0]
		}
	}
	return doc
}
