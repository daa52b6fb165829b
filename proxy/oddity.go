package proxy

import "bytes"

// oddity is what a path has though applications do not agree on what it means. Some
// decode an escaped slash and some do not; some merge slashes and some do not.
type oddity uint8

const (
	oddSlash oddity = 1 << iota // %2F
	oddEmpty                    // two slashes in a row, also when %2F is read as one
	oddParam                    // a ';', from which on some drop the rest of the segment
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
			odd |= oddParam
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

// reading is what an application may do with a path, in this order.
type reading struct {
	cut    bool // parameters of segments, from a ';' on, are dropped
	decode bool // escaped slashes are slashes
	merge  bool // slashes in a row are one
	late   bool // parameters are dropped after slashes were decoded
}

// readings gives those in which a path that has this may differ from what it is.
func readings(odd oddity) (list []reading) {
	for i := 1; i < 16; i++ {
		as := reading{cut: i&1 != 0, decode: i&2 != 0, merge: i&4 != 0, late: i&8 != 0}
		same := as.cut && odd&oddParam == 0 || as.decode && odd&oddSlash == 0 ||
			as.merge && odd&oddEmpty == 0 && !as.cut || as.late && !(as.cut && as.decode)
		if same { // as another
			continue
		}
		list = append(list, as)
	}
	return list
}

// appendReading appends the path as it is read so.
func appendReading(dst, path []byte, as reading) []byte {
	start, cut, decode, merge := len(dst), as.cut, as.decode, as.merge
	for i := 0; i < len(path); i++ {
		c := path[i]
		if cut && c == ';' {
			if i += paramEnd(path[i:], as.late); i == len(path) {
				break
			}
			c = path[i]
		}
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

// paramEnd gives the length of the parameter that a rest begins with.
func paramEnd(rest []byte, decoded bool) int {
	end := len(rest)
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		end = i
	}
	if i := bytes.Index(rest[:end], []byte("%2F")); decoded && i >= 0 {
		end = i
	}
	return end
}

// permits says whether the route takes paths that have this; if not, it gives the
// refusal.
func (r *route) permits(odd oddity) *refusal {
	switch refused := odd &^ r.allow; {
	case refused&oddSlash != 0:
		return &refuseEscape
	case refused&oddEmpty != 0:
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
	for _, as := range readings(x.odd) {
		x.scratch = appendReading(x.scratch[:0], x.path, as)
		if req.Path = x.scratch; x.snap.table.Match(&req, nil) == matched {
			continue
		}
		switch {
		case as.cut:
			return &refuseParamMeaning
		case as.decode && x.odd&oddSlash != 0:
			return &refuseSlashMeaning
		}
		return &refuseEmptyMeaning
	}
	return nil
}
