package cache

import (
	"bytes"
	"slices"
)

// The bounds of a No-Vary-Search that is put to use; one that exceeds them counts as
// absent, which only costs hits.
const (
	maxSearchNames = 64
	maxSearchBytes = 1024
)

// SearchVariance is a parsed No-Vary-Search (draft-ietf-httpbis-no-vary-search): which
// parameters of the query do not change the response. It is immutable and safe for
// concurrent use.
type SearchVariance struct {
	anyOrder bool
	// wildcard: no parameter counts but those in names. Otherwise all count but those.
	wildcard bool
	names    [][]byte // decoded
	// text tells variances apart in a key, so that a response is found only under the
	// variance that it was stored with, and not under a later one of its path.
	text []byte
}

// ParseNoVarySearch reads the field of a response. It is nil, as for a response
// without the field, when the field is malformed, contradicts itself, or changes
// nothing (§4.1): then the query counts as it is.
func ParseNoVarySearch(h Header) *SearchVariance {
	p, present := structured(h, "No-Vary-Search")
	if !present {
		return nil
	}
	var order, params, except sfItem
	hasExcept := false
	if !p.dictionary(func(key []byte, v *sfItem) {
		switch string(key) {
		case "key-order":
			order = *v
		case "params":
			params = *v
		case "except":
			except, hasExcept = *v, true
		}
	}) {
		return nil
	}
	s := &SearchVariance{anyOrder: order.isTrue(), wildcard: params.isTrue()}
	listed := &params
	switch {
	case order.kind != sfBool && order.kind != sfOther, params.kind != sfBool && params.kind != sfInner && params.kind != sfOther:
		return nil
	case hasExcept && (!s.wildcard || except.kind != sfInner):
		return nil
	case hasExcept:
		listed = &except
	}
	if !s.take(listed.list) || !s.anyOrder && !s.wildcard && len(s.names) == 0 {
		return nil
	}
	s.setText()
	return s
}

func (s *SearchVariance) setText() {
	if s.anyOrder {
		s.text = append(s.text, '+')
	}
	if s.wildcard {
		s.text = append(s.text, '*')
	}
	for _, n := range s.names {
		s.text = append(appendEncoded(s.text, n), '&')
	}
}

// take takes the names of an inner list, decoded as those of a query are (§4.3).
func (s *SearchVariance) take(list []sfItem) bool {
	size := 0
	for i := range list {
		size += len(list[i].text)
		if list[i].kind != sfString || i >= maxSearchNames || size > maxSearchBytes {
			return false
		}
		s.names = append(s.names, appendDecoded(nil, list[i].text))
	}
	return true
}

// CanonicalQuery appends to dst the form that a query has under a No-Vary-Search: two
// queries whose forms are equal are equivalent (§5). Parameters that do not count are
// left out, the others decoded and written in one spelling, and sorted by name when
// their order does not count. With nvs nil it is the query itself.
func CanonicalQuery(dst, query []byte, nvs *SearchVariance) []byte {
	if nvs == nil {
		return append(dst, query...)
	}
	return nvs.append(dst, query)
}

// rewrite brings the "?" and query that begin at mark, or nothing, into canonical
// form, after a control character and the variance: no key without a No-Vary-Search
// holds that.
func (s *SearchVariance) rewrite(dst []byte, mark int) []byte {
	query := bytes.Clone(bytes.TrimPrefix(dst[mark:], []byte{'?'}))
	dst = append(append(append(dst[:mark], '\v'), s.text...), '?')
	return s.append(dst, query)
}

// searchParam is a decoded parameter.
type searchParam struct{ name, value []byte }

// append appends the canonical form of a query.
func (s *SearchVariance) append(dst, query []byte) []byte {
	var params []searchParam
	for rest, more := bytes.Clone(query), true; more; {
		var param []byte
		if param, rest, more = bytes.Cut(rest, []byte{'&'}); len(param) == 0 {
			continue
		}
		name, value, _ := bytes.Cut(param, []byte{'='})
		p := searchParam{appendDecoded(name[:0], name), appendDecoded(value[:0], value)}
		if contains(s.names, p.name) == s.wildcard {
			params = append(params, p)
		}
	}
	if s.anyOrder {
		slices.SortStableFunc(params, func(a, b searchParam) int { return bytes.Compare(a.name, b.name) })
	}
	for i, p := range params {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = appendEncoded(append(appendEncoded(dst, p.name), '='), p.value)
	}
	return dst
}

// appendDecoded decodes a name or value of a query: "+" is a space, and "%" and two
// digits a byte. A "%" without them stands for itself. dst may be b[:0]: what is
// written never overtakes what is read. Bytes that are no UTF-8 stay as they are: the
// standard would make them all equal, and two values that differ must not be.
func appendDecoded(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '+':
			dst = append(dst, ' ')
		case c == '%' && i+2 < len(b) && isHex(b[i+1]) && isHex(b[i+2]):
			dst = append(dst, unhex(b[i+1])<<4|unhex(b[i+2]))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendEncoded is the one spelling that a decoded text has in a key.
func appendEncoded(dst, b []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '%' || c == '&' || c == '=' || c == '+' || c == '#' {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

func isHex(c byte) bool { return isDigit(c) || (lower(c) >= 'a' && lower(c) <= 'f') }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// AppendSearchKey appends the key of the entry that holds the No-Vary-Search of a
// path: a primary key without the query. The entry is looked up when a request finds
// nothing under its own key, and the request then under the key that KeyParts.Search
// leads to. It is false when AppendKey is.
func AppendSearchKey(dst []byte, p *KeyParts) ([]byte, bool) {
	path := *p
	path.Query, path.HasQuery, path.Search = nil, false, nil
	dst, ok := AppendKey(dst, &path)
	if ok {
		dst = append(dst, '\r')
	}
	return dst, ok
}

// NewSearchIndex gives the entry for a key of AppendSearchKey. response has the
// No-Vary-Search that it holds from now on.
func NewSearchIndex(key []byte, response Header) *Entry {
	value, _ := response.AppendJoined(nil, []byte("No-Vary-Search"))
	return &Entry{Kind: KindSearch, Status: 200, Key: key, Header: value}
}

// SearchVariance reads what NewSearchIndex wrote. It is nil for any other entry.
func (e *Entry) SearchVariance() *SearchVariance {
	if e.Kind != KindSearch {
		return nil
	}
	return ParseNoVarySearch(Header{{Name: []byte("No-Vary-Search"), Value: e.Header}})
}
