package proxy

import "bytes"

// oddity is what a path has though applications do not agree on what it means. Some
// decode an escaped slash and some do not; some merge slashes and some do not.
type oddity uint8

const (
	oddSlash oddity = 1 << iota // %2F
	oddEmpty                    // two slashes in a row, also when %2F is read as one
)

// oddities gives the words of rules[].allow.
func oddities() map[string]oddity {
	return map[string]oddity{"encoded_slash": oddSlash, "empty_segment": oddEmpty}
}

// checkSegments looks at the name of each segment: what stands before a ';', which
// some servers cut off before they resolve dots. An escaped slash counts as one here:
// whoever decodes it resolves dots after that.
func checkSegments(path []byte, odd oddity) (oddity, *refusal) {
	if len(path) == 0 || path[0] != '/' { // "*"
		return odd, nil
	}
	for rest, more := path[1:], true; more; {
		var seg []byte
		seg, rest, more = cutSegment(rest, odd&oddSlash != 0)
		if len(seg) == 0 && more {
			odd |= oddEmpty
		}
		name := seg
		if semi := bytes.IndexByte(seg, ';'); semi >= 0 {
			name = seg[:semi]
		}
		if string(name) == "." || string(name) == ".." {
			return odd, &refuseDots
		}
	}
	return odd, nil
}

// cutSegment parts the first segment from a rest without its leading slash; decoded
// lets an escaped slash end one too. more is false for the last.
func cutSegment(rest []byte, decoded bool) (seg, after []byte, more bool) {
	end, width := bytes.IndexByte(rest, '/'), 1
	if decoded {
		if i := bytes.Index(rest, []byte("%2F")); i >= 0 && (end < 0 || i < end) {
			end, width = i, 3
		}
	}
	if end < 0 {
		return rest, nil, false
	}
	return rest[:end], rest[end+width:], true
}

// appendReading appends the path as an application reads it that decodes escaped
// slashes, or merges slashes, or does both in this order.
func appendReading(dst, path []byte, decode, merge bool) []byte {
	start := len(dst)
	for i := 0; i < len(path); i++ {
		c := path[i]
		if decode && c == '%' && bytes.HasPrefix(path[i:], []byte("%2F")) {
			c = '/'
			i += 2
		}
		if merge && c == '/' && len(dst) > start && dst[len(dst)-1] == '/' {
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// permits says whether the route takes paths that have this; if not, it gives the
// refusal.
func (r *route) permits(odd oddity) *refusal {
	switch refused := odd &^ r.allow; {
	case refused&oddSlash != 0:
		return &refuseEscape
	case refused != 0:
		return &refuseEmptySegment
	}
	return nil
}

// sameMeaning refuses an odd path that another reader takes for one that is not for
// this rule: through a rule that is lenient, nobody may reach what another protects.
func (x *exchange) sameMeaning(matched int) *refusal {
	if r := x.route.permits(x.odd); r != nil {
		return r
	}
	req := x.matchRequest()
	for _, reading := range [...]struct{ decode, merge bool }{{true, false}, {false, true}, {true, true}} {
		x.scratch = appendReading(x.scratch[:0], x.path, reading.decode, reading.merge)
		if req.Path = x.scratch; x.snap.table.Match(&req, nil) == matched {
			continue
		}
		if reading.decode && x.odd&oddSlash != 0 {
			return &refuseSlashMeaning
		}
		return &refuseEmptyMeaning
	}
	return nil
}
