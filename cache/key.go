package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
)

// KeyParts is what a primary key is made of: the canonical form of a request's
// target that rules, upstream and cache all see.
type KeyParts struct {
	// Scope partitions the keys, and Owner says whose partition it is: the user id
	// for ScopeUser, a hash of the session id for ScopeSession, nothing for
	// ScopePublic.
	Scope Scope
	Owner []byte
	// Host is the effective authority with its port, Path the canonical path, and
	// Query the query without "?". HasQuery tells an empty query from none.
	Host, Path, Query []byte
	HasQuery          bool
	// Filter leaves parameters out; nil keeps them all.
	Filter *QueryFilter
}

// AppendKey appends the text of a primary key to dst. Owner, host and path carry
// their lengths, so that no two different requests have one text. It is false,
// with dst as it was, for a scope that is none, and for a user or session scope
// without an owner: an empty owner would be a partition that strangers share. It
// does not allocate when dst has room.
func AppendKey(dst []byte, p *KeyParts) ([]byte, bool) {
	switch p.Scope {
	case ScopePublic:
		dst = append(dst, "p;"...)
	case ScopeUser, ScopeSession:
		if len(p.Owner) == 0 {
			return dst, false
		}
		dst = append(dst, p.Scope[0])
		dst = append(appendSized(dst, p.Owner), ';')
	default:
		return dst, false
	}
	dst = appendSized(dst, p.Host)
	host := dst[len(dst)-len(p.Host):]
	for i, c := range host {
		host[i] = lower(c)
	}
	dst = append(dst, ';')
	dst = appendSized(dst, p.Path)
	if p.HasQuery {
		dst = p.Filter.append(dst, p.Query)
	}
	return dst, true
}

func appendSized(dst, b []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(b)), 10)
	dst = append(dst, ':')
	return append(dst, b...)
}

// QueryFilter is a compiled Query. It is immutable and safe for concurrent use.
type QueryFilter struct{ ignore []string }

// CompileQuery compiles a rule's query settings; nil means that every parameter
// takes part. The error names the setting that cannot be used.
func CompileQuery(q Query) (*QueryFilter, error) {
	if len(q.Ignore) == 0 {
		return nil, nil
	}
	for i, glob := range q.Ignore {
		if glob == "" {
			return nil, fmt.Errorf("query.ignore[%d] is empty: write a parameter name or a glob such as \"utm_*\"", i)
		}
	}
	return &QueryFilter{ignore: append([]string(nil), q.Ignore...)}, nil
}

// append writes "?" and the parameters that take part, in their order. When all
// parameters were left out, so is the "?": /a?utm_source=x is /a.
func (f *QueryFilter) append(dst, query []byte) []byte {
	if f == nil {
		return append(append(dst, '?'), query...)
	}
	kept := false
	for more := true; more; {
		var param []byte
		param, query, more = bytes.Cut(query, []byte{'&'})
		if f.ignores(param) {
			continue
		}
		sep := byte('&')
		if !kept {
			sep = '?'
		}
		dst, kept = append(append(dst, sep), param...), true
	}
	return dst
}

// ignores reports whether a parameter is left out. Names are compared as they
// were sent: an encoded spelling only gets an entry of its own. A parameter with
// a ";" always takes part: where the application takes ";" for a separator,
// "utm_x=1;id=2" would hide an id in a parameter that the key ignores, and let
// one client choose the response that others get (cache poisoning).
func (f *QueryFilter) ignores(param []byte) bool {
	if len(param) == 0 || bytes.IndexByte(param, ';') >= 0 {
		return false
	}
	name, _, _ := bytes.Cut(param, []byte{'='})
	for _, glob := range f.ignore {
		if matchGlob(glob, name) {
			return true
		}
	}
	return false
}

// matchGlob matches name against a glob in which "*" stands for any characters,
// none included. On a mismatch it goes back to the last star only, so the time
// is at most the product of the lengths.
func matchGlob(glob string, name []byte) bool {
	g, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case g < len(glob) && glob[g] == '*':
			star, mark = g, n
			g++
		case g < len(glob) && glob[g] == name[n]:
			g++
			n++
		case star >= 0:
			mark++
			g, n = star+1, mark
		default:
			return false
		}
	}
	for g < len(glob) && glob[g] == '*' {
		g++
	}
	return g == len(glob)
}

// Hash stands for a key in the name of a Redis key. It is half of a SHA-256:
// who chooses the URLs cannot make two of them collide on purpose, which with a
// fast hash would let them evict a chosen entry at will. The key itself is in
// the entry and compared, so even a collision is a miss and not a mix-up.
type Hash [16]byte

// HashKey hashes the text of a key. It does not allocate.
func HashKey(key []byte) Hash {
	sum := sha256.Sum256(key)
	return Hash(sum[:16])
}

// AppendText appends the 22 characters that stand for the hash in a name.
func (h Hash) AppendText(dst []byte) []byte {
	return base64.RawURLEncoding.AppendEncode(dst, h[:])
}

// AppendKeyName appends the Redis key of a primary key's entry: prefix, "c:" and
// the hash as a cluster hash tag.
func AppendKeyName(dst []byte, prefix string, primary Hash) []byte {
	return appendName(dst, prefix, "c:{", primary)
}

// AppendVariantName appends the Redis key of a variant. It has the hash tag of
// the primary key, so that an index and its variants share a slot and one
// command may name them together. variant is the hash of the secondary key.
func AppendVariantName(dst []byte, prefix string, primary, variant Hash) []byte {
	return variant.AppendText(AppendKeyName(dst, prefix, primary))
}

// AppendLeaseName appends the Redis key of the fill lease of a primary key, in
// the slot of its entry.
func AppendLeaseName(dst []byte, prefix string, primary Hash) []byte {
	return appendName(dst, prefix, "l:{", primary)
}

// AppendTagName appends the Redis key of a tag's purge mark.
func AppendTagName(dst []byte, prefix string, tag []byte) []byte {
	return append(append(append(dst, prefix...), "t:"...), tag...)
}

func appendName(dst []byte, prefix, kind string, h Hash) []byte {
	dst = append(append(dst, prefix...), kind...)
	return append(h.AppendText(dst), '}')
}

// KeyName is AppendKeyName as a string of its own, which a Redis client may keep
// for as long as it likes.
func KeyName(prefix string, primary Hash) string {
	return string(AppendKeyName(make([]byte, 0, 64), prefix, primary))
}

// VariantName is AppendVariantName as a string.
func VariantName(prefix string, primary, variant Hash) string {
	return string(AppendVariantName(make([]byte, 0, 96), prefix, primary, variant))
}

// LeaseName is AppendLeaseName as a string.
func LeaseName(prefix string, primary Hash) string {
	return string(AppendLeaseName(make([]byte, 0, 64), prefix, primary))
}

// TagName is AppendTagName as a string.
func TagName(prefix string, tag []byte) string {
	return string(AppendTagName(make([]byte, 0, 96), prefix, tag))
}
