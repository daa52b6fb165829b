package sessioncheck

import "bytes"

const (
	maxIDBytes = 256
	// maxCandidates bounds the cookies of one name that are tried. A browser sends
	// several when they were set for different paths or domains, a stale one first.
	maxCandidates = 4
)

// source is a Source, compiled.
type source struct {
	header bool
	name   string
}

// found is what one source has in a request. The ids alias the request.
type found struct {
	present  bool
	conflict bool // header lines that differ
	n        int
	ids      [maxCandidates][]byte // distinct, with a valid form
}

// credentials finds the ids of the first source that is present. The ids are the
// ones to try, in order; with none, the reason says why.
func credentials(sources []source, raw []byte, all *[maxSources + 1]found) ([][]byte, Reason) {
	for i := range sources {
		all[i] = found{}
	}
	if !scanLines(sources, raw, all) {
		return nil, ReasonBadID
	}
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
		counted = scanLine(sources, trimRight(line[:i]), trim(line[i+1:]), all)
	}
	return true
}

// scanLine says whether the line is of any source.
func scanLine(sources []source, name, value []byte, all *[maxSources + 1]found) bool {
	cookies := equalFold(name, "cookie")
	counted := false
	for i := range sources {
		switch s := &sources[i]; {
		case !s.header && cookies:
			scanCookies(value, s.name, &all[i])
			counted = true
		case s.header && equalFold(name, s.name):
			all[i].addHeader(value)
			counted = true
		}
	}
	return counted
}

// addHeader takes one line. Lines with different values are refused: the
// application might believe another one than we do.
func (f *found) addHeader(value []byte) {
	switch valid := validID(value); {
	case !f.present:
		f.present = true
		if valid {
			f.ids[0], f.n = value, 1
		}
	case f.n == 0 || !bytes.Equal(value, f.ids[0]):
		f.conflict = true
	}
}

// scanCookies takes the cookies called name from one Cookie line (RFC 6265 section
// 4.2.1). Names are case-sensitive; quotes around a value are not a part of it.
func scanCookies(line []byte, name string, f *found) {
	for len(line) > 0 {
		pair := line
		if i := bytes.IndexByte(line, ';'); i >= 0 {
			pair, line = line[:i], line[i+1:]
		} else {
			line = nil
		}
		i := bytes.IndexByte(pair, '=')
		if i < 0 || string(trim(pair[:i])) != name {
			continue
		}
		value := trim(pair[i+1:])
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		f.addCookie(value)
	}
}

func (f *found) addCookie(value []byte) {
	f.present = true
	if f.n == len(f.ids) || !validID(value) {
		return
	}
	for _, id := range f.ids[:f.n] {
		if bytes.Equal(id, value) {
			return
		}
	}
	f.ids[f.n] = value
	f.n++
}

// validID checks an id's form before it reaches Redis: no pattern or hash-tag
// character, no space, no control character, nothing that needs quoting in a log.
func validID(id []byte) bool {
	if len(id) == 0 || len(id) > maxIDBytes {
		return false
	}
	for _, c := range id {
		if !isAlnum(c) {
			switch c {
			case '-', '_', '.', '~', '+', '/', '=', ':':
			default:
				return false
			}
		}
	}
	return true
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
