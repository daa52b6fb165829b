package cache

import (
	"bytes"
	"slices"
)

// The bounds of a secondary key. A response that varies by more is not stored,
// and a request whose fields are longer is neither answered nor stored.
const (
	MaxVaryNames = 16
	MaxVaryKey   = 2048
)

// VaryNames gives the field names of Vary in lower case, sorted, none twice, and
// nil without a Vary. It is false for "*" anywhere in the list (RFC 9111 §4.1),
// for what is no field name, and for more than MaxVaryNames. The names are
// copies.
func VaryNames(h Header) ([][]byte, bool) {
	var names [][]byte
	for e := range h.List("Vary") {
		if !isToken(e) || bytes.IndexByte(e, '*') >= 0 || len(names) == MaxVaryNames {
			return nil, false
		}
		at, found := slices.BinarySearchFunc(names, bytes.ToLower(e), bytes.Compare)
		if !found {
			names = slices.Insert(names, at, bytes.ToLower(e))
		}
	}
	return names, true
}

// AppendVary appends the secondary key that a request has under the given names
// (as VaryNames or Entry.VaryNames gives them). lookup appends all lines of a
// request field joined by ", " to its first argument and reports whether the
// field is present; Header.AppendJoined is one. Values are normalised in the
// ways RFC 9111 §4.1 allows: whitespace around commas goes, Accept-Encoding is
// reduced to the codings it accepts, Accept-Language to a sorted list in lower
// case. It is false when the key would exceed MaxVaryKey or a value holds a line
// break; dst is then as long as it was. It does not allocate when dst has room.
func AppendVary(dst []byte, names [][]byte, lookup func(dst, name []byte) ([]byte, bool)) ([]byte, bool) {
	start := len(dst)
	for _, name := range names {
		dst = append(dst, name...)
		mark := len(dst)
		dst = append(dst, ':')
		with, present := lookup(dst, name)
		if !present {
			// Absent and empty differ: no Accept-Encoding is not "identity only".
			dst = append(dst[:mark], '\n')
			continue
		}
		dst = with
		if len(dst)-start > MaxVaryKey || !isFieldValue(dst[mark+1:]) {
			return dst[:start], false
		}
		dst = append(normalise(dst, mark+1, name), '\n')
	}
	if len(dst)-start > MaxVaryKey {
		return dst[:start], false
	}
	return dst, true
}

// normalise rewrites the value that begins at start.
func normalise(dst []byte, start int, name []byte) []byte {
	if equalFold(name, "accept-encoding") {
		accepted := acceptedCodings(dst[start:])
		return appendCodings(dst[:start], accepted)
	}
	dst = dst[:start+len(compactList(dst[start:]))]
	if equalFold(name, "accept-language") {
		normaliseLanguages(dst[start:])
	}
	return dst
}

// compactList removes, in place, the whitespace around commas, at both ends, and
// empty elements. Quoted strings stay as they are.
func compactList(b []byte) []byte {
	c := listCursor{rest: b}
	out := 0
	for e, ok := c.next(); ok; e, ok = c.next() {
		// out never passes the start of e: at least a comma lies between elements.
		if out > 0 {
			b[out] = ','
			out++
		}
		out += copy(b[out:], e)
	}
	return b[:out]
}

// codings is a set of content codings.
type codings uint8

// The codings that are told apart, in the order of their names. All others are
// left out of the key, and a response in one of them is not stored.
const (
	codingBr codings = 1 << iota
	codingDeflate
	codingGzip
	codingIdentity
	codingZstd

	allCodings = codingBr | codingDeflate | codingGzip | codingIdentity | codingZstd
)

func codingOf(b []byte) codings {
	switch {
	case equalFold(b, "br"):
		return codingBr
	case equalFold(b, "deflate"):
		return codingDeflate
	case equalFold(b, "gzip"), equalFold(b, "x-gzip"): // RFC 9110 §8.4.1.3
		return codingGzip
	case equalFold(b, "identity"):
		return codingIdentity
	case equalFold(b, "zstd"):
		return codingZstd
	}
	return 0
}

// acceptedCodings reads Accept-Encoding (RFC 9110 §12.5.3). A weight of 0
// refuses; "*" stands for all that are not named; identity is acceptable unless
// refused.
func acceptedCodings(value []byte) codings {
	var accepted, refused codings
	var star, starRefused bool
	c := listCursor{rest: value}
	for e, ok := c.next(); ok; e, ok = c.next() {
		name, zero := splitWeight(e)
		coding := codingOf(name)
		switch {
		case len(name) == 1 && name[0] == '*':
			star, starRefused = star || !zero, starRefused || zero
		case zero:
			refused |= coding
		default:
			accepted |= coding
		}
	}
	if star && !starRefused {
		accepted |= allCodings
	}
	if !starRefused {
		accepted |= codingIdentity
	}
	return accepted &^ refused
}

// splitWeight cuts the parameters off an element and reports whether they hold a
// weight of zero (RFC 9110 §12.4.2).
func splitWeight(e []byte) (name []byte, zero bool) {
	name, params, _ := bytes.Cut(e, []byte{';'})
	for len(params) > 0 {
		var p []byte
		p, params, _ = bytes.Cut(params, []byte{';'})
		p = trimSpace(p)
		if len(p) > 2 && lower(p[0]) == 'q' && p[1] == '=' {
			zero = isZeroWeight(p[2:])
		}
	}
	return trimSpace(name), zero
}

func isZeroWeight(b []byte) bool {
	for i, c := range b {
		if c != '0' && (c != '.' || i != 1) {
			return false
		}
	}
	return len(b) > 0 && b[0] == '0'
}

func appendCodings(dst []byte, set codings) []byte {
	first := true
	for _, c := range [...]struct {
		bit  codings
		name string
	}{{codingBr, "br"}, {codingDeflate, "deflate"}, {codingGzip, "gzip"}, {codingIdentity, "identity"}, {codingZstd, "zstd"}} {
		if set&c.bit == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, c.name...), false
	}
	return dst
}

// maxLanguages and maxLanguageBytes bound what is sorted, on the stack. A longer
// list keeps its order, and has a variant of its own.
const (
	maxLanguages     = 32
	maxLanguageBytes = 512
)

// normaliseLanguages brings a compact list into lower case and sorts it, in
// place: neither case nor order of language ranges carries meaning, only their
// weights do (RFC 9110 §12.5.4, RFC 4647 §2).
func normaliseLanguages(b []byte) {
	for i, c := range b {
		b[i] = lower(c)
	}
	var copied [maxLanguageBytes]byte
	var ranges [maxLanguages][]byte
	if len(b) > len(copied) {
		return
	}
	n := 0
	c := listCursor{rest: copied[:copy(copied[:], b)]}
	for e, ok := c.next(); ok; e, ok = c.next() {
		if n == len(ranges) {
			return
		}
		ranges[n] = e
		n++
	}
	sortShort(ranges[:n])
	out := 0
	for i, e := range ranges[:n] {
		if i > 0 {
			b[out] = ','
			out++
		}
		out += copy(b[out:], e)
	}
}

// sortShort is an insertion sort. slices.SortFunc calls its comparison through a
// value, which would move the text that is compared to the heap.
func sortShort(list [][]byte) {
	for i := range list {
		for j := i; j > 0 && bytes.Compare(list[j], list[j-1]) < 0; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
}
