package sessioncheck

import (
	"bytes"
	"strings"

	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

const (
	maxIDBytes = 256
	// maxCandidates bounds the cookies of one name that are tried. A browser sends
	// several when they were set for different paths or domains, a stale one first.
	maxCandidates = 4
)

// source is a Source, compiled.
type source struct {
	header bool
	bearer bool // of the header, what stands behind "Bearer "
	name   string
	line   string           // the field that it is in, in lower case
	verify formats.Verifier // nil: the id stands as it is
}

// compileSources takes settings that Check has found valid.
func compileSources(cfg *Config) []source {
	f := formats.Lookup(cfg.Format)
	out := make([]source, len(cfg.Sources))
	for i, s := range cfg.Sources {
		switch out[i] = (source{name: s.Cookie}); {
		case s.Bearer:
			out[i] = source{header: true, bearer: true, name: "authorization"}
		case s.Header != "":
			out[i] = source{header: true, name: strings.ToLower(s.Header)}
		}
		if out[i].line = "cookie"; out[i].header {
			out[i].line = out[i].name
		}
		if f.Name != "json" {
			out[i].verify, _ = f.Verifier(cfg.Secrets, s.Cookie)
		}
	}
	return out
}

// maxVerified bounds the cookies of one name whose signatures are computed.
const maxVerified = 4 * maxCandidates

// found is what one source has in a request. The ids alias the request, or buf.
type found struct {
	present  bool
	conflict bool   // header lines that differ
	raw      []byte // the first header line's value
	buf      []byte // ids that were taken out of what the client sent
	verified int
	n        int
	ids      [maxCandidates][]byte // distinct, with a valid form
}

// Fields is a header that has been taken apart: names without white space, values with
// none around them, and no line that goes on in the next. Its bytes are only read.
type Fields interface {
	FieldCount() int
	Field(i int) (name, value []byte)
}

// credentials finds the ids of the first source that is present. The ids are the
// ones to try, in order; with none, the reason says why.
func credentials(sources []source, raw []byte, all *[maxSources + 1]found) ([][]byte, Reason) {
	forget(sources, all)
	if !scanLines(sources, raw, all) {
		return nil, ReasonBadID
	}
	return firstPresent(sources, all)
}

// fieldCredentials is credentials of a header that has been taken apart.
func fieldCredentials(sources []source, fields Fields, all *[maxSources + 1]found) ([][]byte, Reason) {
	forget(sources, all)
	for i := range fields.FieldCount() {
		if name, value := fields.Field(i); mayCount(sources, name) {
			scanLine(sources, name, value, all)
		}
	}
	return firstPresent(sources, all)
}

func forget(sources []source, all *[maxSources + 1]found) {
	for i := range sources {
		all[i] = found{buf: all[i].buf[:0]}
	}
}

func firstPresent(sources []source, all *[maxSources + 1]found) ([][]byte, Reason) {
	for i := range sources {
		f := &all[i]
		switch {
		case !f.present:
			continue
		case f.conflict:
			return nil, ReasonConflict
		case f.n == 0:
			return nil, ReasonBadID
		}
		return f.ids[:f.n], ReasonNone
	}
	return nil, ReasonMissing
}

// scanLines reads the header lines. It gives false when a line that counts goes on
// in the next (obs-fold, RFC 9112 section 5.2): recipients differ in what it says.
func scanLines(sources []source, raw []byte, all *[maxSources + 1]found) bool {
	counted := false
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			if counted {
				return false
			}
			continue
		}
		i := bytes.IndexByte(line, ':')
		if i < 0 {
			counted = false
			continue
		}
		name := trimRight(line[:i])
		counted = mayCount(sources, name) && scanLine(sources, name, trim(line[i+1:]), all)
	}
	return true
}

// mayCount says whether a line of this name can be of any source, by its length and first
// byte: nothing more is looked at of most lines.
func mayCount(sources []source, name []byte) bool {
	for i := range sources {
		if line := sources[i].line; len(name) == len(line) && name[0]|0x20 == line[0]|0x20 {
			return true
		}
	}
	return false
}

// scanLine says whether the line is of any source.
func scanLine(sources []source, name, value []byte, all *[maxSources + 1]found) bool {
	cookies := equalFold(name, "cookie")
	counted := false
	for i := range sources {
		switch s := &sources[i]; {
		case !s.header && cookies:
			scanCookies(value, s, &all[i])
			counted = true
		case s.header && equalFold(name, s.name):
			if token, ok := s.token(value); ok {
				all[i].addHeader(s, token)
			}
			counted = true
		}
	}
	return counted
}

// addHeader takes one line. Lines with different values are refused: the
// application might believe another one than we do.
func (f *found) addHeader(s *source, value []byte) {
	switch {
	case !f.present:
		f.present, f.raw = true, value
		if id, ok := f.id(s, value); ok {
			f.ids[0], f.n = id, 1
		}
	case f.n == 0 || !bytes.Equal(value, f.raw):
		f.conflict = true
	}
}

// token gives the value's part that counts. An Authorization of another scheme is
// not for us (RFC 9110, section 11.4; RFC 6750, section 2.1).
func (s *source) token(value []byte) ([]byte, bool) {
	const scheme = "bearer"
	if !s.bearer {
		return value, true
	}
	if len(value) < len(scheme) || !equalFold(value[:len(scheme)], scheme) {
		return nil, false
	}
	token := value[len(scheme):]
	if len(token) > 0 && token[0] != ' ' {
		return nil, false // the name of another scheme begins so
	}
	return trim(token), true
}

// id takes the id out of what the client sent. Nothing that is not verified here
// ever reaches Redis.
func (f *found) id(s *source, value []byte) ([]byte, bool) {
	if s.verify == nil {
		return value, validID(value)
	}
	if f.verified++; f.verified > maxVerified {
		return nil, false
	}
	buf, fault := s.verify.AppendID(f.buf, value)
	id := buf[len(f.buf):]
	f.buf = buf
	return id, fault == 0
}

// scanCookies takes the cookies called name from one Cookie line (RFC 6265 section
// 4.2.1). Names are case-sensitive; quotes around a value are not a part of it.
func scanCookies(line []byte, s *source, f *found) {
	for len(line) > 0 {
		pair := line
		if i := bytes.IndexByte(line, ';'); i >= 0 {
			pair, line = line[:i], line[i+1:]
		} else {
			line = nil
		}
		i := bytes.IndexByte(pair, '=')
		if i < 0 || string(trim(pair[:i])) != s.name {
			continue
		}
		value := trim(pair[i+1:])
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		f.addCookie(s, value)
	}
}

func (f *found) addCookie(s *source, value []byte) {
	f.present = true
	if f.n == len(f.ids) {
		return
	}
	id, ok := f.id(s, value)
	if !ok {
		return
	}
	for _, o := range f.ids[:f.n] {
		if bytes.Equal(o, id) {
			return
		}
	}
	f.ids[f.n] = id
	f.n++
}

// validID checks an id's form before it reaches Redis: no pattern or hash-tag
// character, no space, no control character, nothing that needs quoting in a log.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxIDBytes {
		return false
	}
	for _, c := range id {
		if !idByte(c) {
			return false
		}
	}
	return true
}

// idByte says whether c is a letter, a digit, or one of -_.~+/=: by a character for each
// byte, since no processor guesses the branches of a random id.
func idByte(c byte) bool {
	const (
		zeros   = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		allowed = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
			"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x01\x00\x00" +
			"\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x00\x01" +
			"\x00\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x00\x01\x00" +
			zeros + zeros + zeros + zeros
	)
	return allowed[c] != 0
}

// equalFold compares with a lower-case name.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// trim removes optional white space, and the CR of a line's end.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return trimRight(b)
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}
