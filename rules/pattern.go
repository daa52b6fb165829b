package rules

import (
	"bytes"
	"fmt"
	"strings"
)

// MaxParams is how many segments one pattern may capture.
const MaxParams = 16

const (
	maxPattern  = 1024 // bytes of one pattern
	maxSegments = 64
)

type segmentKind uint8

const (
	literalSegment segmentKind = iota
	anySegment                 // "*" and "{name}": one segment that is not empty
	globSegment                // "*" as a part of the segment
	deepSegment                // "**"
)

// segment is one compiled segment of a pattern.
type segment struct {
	kind  segmentKind
	text  string // of a literal
	param string // name that captures it, or ""
	glob  glob
}

func (s *segment) match(b []byte) bool {
	switch s.kind {
	case literalSegment:
		return string(b) == s.text
	case anySegment:
		return len(b) > 0
	default:
		return s.glob.match(b)
	}
}

// parsePattern compiles a path pattern; problems go to c.
func parsePattern(pattern string, c *collector) []segment {
	bad := func(message, remedy string) { c.add("path", pattern, message, remedy) }
	if pattern[0] != '/' {
		bad("does not start with a slash", "write /"+pattern)
		return nil
	}
	parts := strings.Split(pattern[1:], "/")
	if len(pattern) > maxPattern || len(parts) > maxSegments {
		bad(fmt.Sprintf("is longer than %d bytes or %d segments", maxPattern, maxSegments), "shorten it with **")
		return nil
	}
	segs := make([]segment, 0, len(parts))
	seen := make(map[string]bool)
	for _, part := range parts {
		s, message, remedy := parseSegment(part)
		if message == "" && s.param != "" && seen[s.param] {
			message, remedy = "captures {"+s.param+"} twice", "give each capture a name of its own"
		}
		if message != "" {
			bad(message, remedy)
			continue
		}
		if s.param != "" {
			seen[s.param] = true
		}
		if s.kind == deepSegment && len(segs) > 0 && segs[len(segs)-1].kind == deepSegment {
			continue // "**/**" is "**"
		}
		segs = append(segs, s)
	}
	if len(seen) > MaxParams {
		bad(fmt.Sprintf("captures more than %d segments", MaxParams), "write * for those that no setting uses")
	}
	return segs
}

func parseSegment(part string) (s segment, message, remedy string) {
	switch {
	case part == "**":
		return segment{kind: deepSegment}, "", ""
	case part == "*":
		return segment{kind: anySegment}, "", ""
	case strings.Contains(part, "**"):
		return s, "has ** beside other characters in one segment", "write ** as a whole segment, or one *"
	case strings.ContainsAny(part, "{}"):
		return parseParam(part)
	case strings.ContainsAny(part, "?#"):
		return s, "holds ? or #, which no path has", "match the query with query:, or write %3F or %23"
	}
	text, ok := canonicalLiteral(part)
	switch {
	case !ok:
		return s, "has a % that is not followed by two hexadecimal digits", "write %25 for a percent sign"
	case text == "." || text == "..":
		return s, "has the segment " + text + ", which no canonical path has", "write the path that it stands for"
	case strings.Contains(text, "*"):
		return segment{kind: globSegment, glob: newGlob(text)}, "", ""
	}
	return segment{kind: literalSegment, text: text}, "", ""
}

func parseParam(part string) (s segment, message, remedy string) {
	name := strings.TrimSuffix(strings.TrimPrefix(part, "{"), "}")
	if len(part) != len(name)+2 {
		return s, "has a brace beside other characters in one segment", "write {name} as a whole segment, or %7B and %7D for braces"
	}
	if !isName(name) {
		return s, "captures under the name " + fmt.Sprintf("%q", name), "name it with letters, digits and _, not starting with a digit"
	}
	return segment{kind: anySegment, param: name}, "", ""
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		if !(isLetter(s[i]) || s[i] == '_' || i > 0 && isDigit(s[i])) {
			return false
		}
	}
	return s != ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// canonicalLiteral gives a segment the form that the canonical path has; "*" stays.
func canonicalLiteral(part string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		c, sent := part[i], false
		if c == '%' {
			if i+2 >= len(part) || !isHex(part[i+1]) || !isHex(part[i+2]) {
				return "", false
			}
			c, sent = unhex(part[i+1])<<4|unhex(part[i+2]), true
			i += 2
		}
		switch {
		case isLetter(c) || isDigit(c) || strings.IndexByte("-._~", c) >= 0,
			!sent && strings.IndexByte("!$&'()*+,;=:@", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String(), true
}

// nextSegment parts the first segment from a rest that starts with a slash.
func nextSegment(rest []byte) (seg, after []byte) {
	rest = rest[1:]
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i:]
	}
	return rest, nil
}

// matchSegments matches what is left of a path ("" or with a leading slash) and
// captures into params, which may be nil. "**" takes as few segments as it can, and
// only the last one is ever tried again: each segment of the path is compared at
// most once with each of the pattern.
func matchSegments(segs []segment, rest []byte, params *Params) bool {
	k, captured := 0, 0
	star, starRest, starCaptured := -1, rest, 0
	for {
		if k < len(segs) && segs[k].kind == deepSegment {
			if k++; k == len(segs) {
				return true
			}
			star, starRest, starCaptured = k, rest, captured
		}
		if len(rest) == 0 && k == len(segs) {
			return true
		}
		if len(rest) == 0 {
			return false // a "**" that takes more leaves even less
		}
		if k < len(segs) {
			seg, after := nextSegment(rest)
			if segs[k].match(seg) {
				if params != nil && segs[k].param != "" {
					params.values[captured] = seg
					captured++
				}
				rest, k = after, k+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, starRest = nextSegment(starRest)
		rest, k, captured = starRest, star, starCaptured
	}
}
