package sessioncheck

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/pillion-proxy/pillion/redisconn"
)

const (
	maxSessionBytes = 64 << 10
	maxDepth        = 32
)

// Session is a session as the application stored it. Its methods are safe for
// concurrent use and, but for Field with an unregistered path, allocate nothing.
type Session struct {
	schema     *schema
	key        string
	raw        string  // shares the memory of the value that it was read from
	sessionKey string  // "s" and 32 hexadecimal digits
	userKey    string  // "u" and the user, or sessionKey
	values     []value // as in schema.paths
	identity   []byte
	expireAt   int64 // Unix milliseconds; 0: no expiry
	malformed  bool
	renewing   atomic.Bool
	deadline   int64            // Unix milliseconds; 0: no absolute timeout
	value      *redisconn.Value // from which it was decoded
	seen       atomic.Int64     // Unix milliseconds: when grace last knew it to be valid
	kept       atomic.Bool      // by grace
	claims     []byte           // of the token, each behind a comma
	token      tokenCache
}

// User is the value of the configured user field; empty when the session has none
// that tells users apart.
func (s *Session) User() string {
	if s.userKey[0] == 'u' {
		return s.userKey[1:]
	}
	return ""
}

// UserKey tells users apart: sessions of one user have the same, and no other has.
// A session without a user is a user of its own. The number 1 and the text "1" are
// one user.
func (s *Session) UserKey() string { return s.userKey }

// SessionKey tells sessions apart. It holds a hash of the id, not the id, and never
// equals a UserKey of a session with a user.
func (s *Session) SessionKey() string { return s.sessionKey }

// LogID is a short hash of the session's id for logs: 8 hexadecimal digits.
func (s *Session) LogID() string { return s.sessionKey[1:9] }

// Key is the Redis key. It holds the session's id: it must not be logged.
func (s *Session) Key() string { return s.key }

// Field gives a field of the session by its path, such as "user.id": a string as it
// is, a number as it was written, true or false. It gives false for anything else,
// and for a value over 1 KiB. Paths given to WithFields were looked up before; others are
// looked up now, at the cost of decoding the session again.
func (s *Session) Field(path string) (string, bool) { return s.lookup(path).single() }

func (s *Session) lookup(path string) value {
	if i, ok := s.schema.index[path]; ok {
		return s.values[i]
	}
	return fieldValue(decodeObject(s.raw), strings.Split(path, "."))
}

// value is what stands at one path: a scalar as text, or the scalars of an array.
type value struct {
	list  bool
	texts []string
}

func (v value) single() (string, bool) {
	if v.list || len(v.texts) != 1 {
		return "", false
	}
	return v.texts[0], true
}

// schema is what is read from each session when it is decoded. A Session that was
// decoded for another schema, before a reload, is decoded again.
type schema struct {
	prefix, suffix string // of the Redis key
	paths          [][]string
	index          map[string]int
	user           int // -1: none
	identity       []identityField
	identityNames  []string // in their normal form
	timeout        absoluteTimeout
	jsonHeader     string  // empty: none
	signer         *signer // nil: no token
	strip          bool
}

type identityField struct {
	name string
	path int
}

func newSchema(cfg *Config, fields []string) *schema {
	sc := &schema{index: make(map[string]int), user: -1}
	sc.prefix, sc.suffix, _ = strings.Cut(cfg.Key, "{id}")
	if cfg.User != "" {
		sc.user = sc.add(cfg.User)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Identity)) {
		sc.identity = append(sc.identity, identityField{name, sc.add(cfg.Identity[name])})
		sc.identityNames = append(sc.identityNames, normalName(name))
	}
	for _, f := range fields {
		sc.add(f)
	}
	sc.addResult(cfg)
	return sc
}

func (sc *schema) add(path string) int {
	i, ok := sc.index[path]
	if !ok {
		i = len(sc.paths)
		sc.index[path] = i
		sc.paths = append(sc.paths, strings.Split(path, "."))
	}
	return i
}

// decode reads a session once for all requests. omitted counts the identity fields
// whose values are no safe header values.
func (sc *schema) decode(key, raw string, expireAt time.Time) (s *Session, omitted int) {
	s = &Session{schema: sc, key: key, raw: raw}
	if !expireAt.IsZero() {
		s.expireAt = expireAt.UnixMilli()
	}
	sum := sha256.Sum256([]byte(key[len(sc.prefix) : len(key)-len(sc.suffix)]))
	s.sessionKey = "s" + hex.EncodeToString(sum[:16])
	s.userKey = s.sessionKey
	s.values = make([]value, len(sc.paths))
	doc := decodeObject(s.raw)
	if doc == nil {
		s.malformed = true
		return s, 0
	}
	for i, path := range sc.paths {
		s.values[i] = fieldValue(doc, path)
	}
	if sc.user >= 0 {
		if user, ok := s.values[sc.user].single(); ok && user != "" && distinct(user) {
			s.userKey = "u" + user
		}
	}
	omitted = sc.renderIdentity(s, doc)
	return s, omitted + sc.renderResult(s, doc)
}

func (sc *schema) renderIdentity(s *Session, doc map[string]any) (omitted int) {
	for _, f := range sc.identity {
		text, ok := s.values[f.path].single()
		switch {
		case ok && safeHeaderValue(text):
			s.identity = append(append(append(append(s.identity, f.name...), ": "...), text...), "\r\n"...)
		case walk(doc, sc.paths[f.path]) != nil:
			omitted++
		}
	}
	return omitted
}

// decodeObject gives nil for what is no JSON object within the bounds. Text that is
// not UTF-8 is refused, since decoding would make different ids equal.
func decodeObject(raw string) map[string]any {
	if len(raw) > maxSessionBytes || !utf8.ValidString(raw) || !depthWithin(raw, maxDepth) {
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

// walk follows a path through objects; nil when it leads nowhere, or to null.
func walk(doc map[string]any, path []string) any {
	var at any = doc
	for _, name := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = object[name]
	}
	return at
}

// fieldValue renders what stands at a path.
func fieldValue(doc map[string]any, path []string) value {
	var v value
	found := walk(doc, path)
	elements, list := found.([]any)
	if v.list = list; !list {
		elements = []any{found}
	}
	for _, e := range elements {
		if text, ok := scalar(e); ok {
			v.texts = append(v.texts, text)
		}
	}
	return v
}

func scalar(v any) (string, bool) {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = "false"
		if v {
			text = "true"
		}
	default:
		return "", false
	}
	return text, len(text) <= maxValueBytes
}
