package sessioncheck

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

// Session is a session as the application stored it. Its methods are safe for
// concurrent use and, but for Field with an unregistered path, allocate nothing.
type Session struct {
	// What each request looks at, in one cache line: of many sessions, most are in none
	// of the processor's caches.
	schema    *schema
	expireAt  int64         // Unix milliseconds; 0: no expiry
	idleUntil int64         // Unix milliseconds, of the framework's own; 0: none
	deadline  int64         // Unix milliseconds; 0: no absolute timeout
	ttl       time.Duration // that renewal sets; 0: session.ttl
	sighted   atomic.Int32  // the day on which it was reported as seen; see Users
	malformed bool
	guest     bool        // nobody is logged in
	shard     uint8       // where its hits are counted; below hitShards
	userKey   string      // "u" and the user, or sessionKey
	renewing  atomic.Bool // used when a renewal is due
	kept      atomic.Bool // by grace

	key        string
	raw        string  // shares the memory of the value that it was read from
	sessionKey string  // "s" and 32 hexadecimal digits
	values     []value // as in schema.paths
	identity   []byte
	value      *redisconn.Value // from which it was decoded
	seen       atomic.Int64     // Unix milliseconds: when grace last knew it to be valid
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
	return fieldValue(s.schema.format.Decode(s.raw), strings.Split(path, "."))
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
	format         *formats.Format
	login          [][]string
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
	sc := &schema{index: make(map[string]int), user: -1, format: formats.Lookup(cfg.Format)}
	for _, path := range cfg.Login {
		sc.login = append(sc.login, strings.Split(path, "."))
	}
	sc.prefix, sc.suffix, _ = strings.Cut(cfg.Key, "{id}")
	if cfg.User != "" {
		sc.user = sc.add(cfg.User)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Identity)) {
		sc.identity = append(sc.identity, identityField{name, sc.add(cfg.Identity[name])})
		sc.identityNames = append(sc.identityNames, normalName(name))
	}
	if cfg.Lifecycle { // a client must not send what an application might echo
		sc.identityNames = append(sc.identityNames, normalName(cfg.LifecycleHeader))
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
	s.sessionKey, s.shard = "s"+hex.EncodeToString(sum[:16]), sum[0]%hitShards
	s.userKey = s.sessionKey
	s.values = make([]value, len(sc.paths))
	doc := sc.format.Decode(s.raw)
	if doc == nil {
		s.malformed = true
		return s, 0
	}
	s.guest = !sc.loggedIn(doc)
	if sc.format.IdleUntil != nil {
		if s.idleUntil = sc.format.IdleUntil(doc); s.idleUntil != 0 && (s.expireAt == 0 || s.idleUntil < s.expireAt) {
			s.expireAt = s.idleUntil
		}
	}
	s.ttl = ownTTL(doc)
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

// loggedIn says whether one of the login fields has a value.
func (sc *schema) loggedIn(doc map[string]any) bool {
	return len(sc.login) == 0 || slices.ContainsFunc(sc.login, func(path []string) bool {
		return formats.Present(walk(doc, path))
	})
}

// mode is how the session is read from Redis.
func (sc *schema) mode() redisconn.Mode {
	if sc.format.Hash {
		return redisconn.ProbeHash
	}
	return redisconn.ProbeFirst
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
