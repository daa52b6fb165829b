package formats

import (
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

func jsonFormat() *Format {
	return &Format{
		Name: "json", Key: "session:{id}", Cookies: []string{"session_id"},
		TTL: 7 * 24 * time.Hour, Sliding: true, User: "user_id",
		Stored: "a JSON object of at most 64 KiB in UTF-8", Decode: JSON,
		verifier: func([]string, string) (Verifier, error) { return anyID(), nil },
	}
}

// JSON gives nil for what is no JSON object within the bounds. Text that is
// not UTF-8 is refused, since decoding would make different ids equal.
func JSON(raw string) map[string]any {
	if len(raw) > MaxBytes || !utf8.ValidString(raw) || !depthWithin(raw, MaxDepth) {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	var doc any
	if dec.Decode(&doc) != nil {
		return nil
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil // something stands behind the object
	}
	object, _ := doc.(map[string]any)
	return object
}

// depthWithin counts brackets outside strings.
func depthWithin(raw string, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return false
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return true
}

// starsessions (Starlette, FastAPI) writes JSON with a member __metadata__. Its rolling
// sessions are an option, so renewal is one too.
func starsessions() *Format {
	return &Format{
		Name: "starsessions", Key: "starsessions.{id}", Cookies: []string{"session"},
		TTL: 30 * 24 * time.Hour, User: "user_id", Login: []string{"user_id", "user"},
		Stored: "a JSON object of at most 64 KiB in UTF-8", Decode: JSON,
		verifier: func([]string, string) (Verifier, error) { return newPlain(32, 32, hexDigits), nil },
	}
}
