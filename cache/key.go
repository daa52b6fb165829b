package cache

import (
	"crypto/sha256"
	"encoding/base64"
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
	// Search is the No-Vary-Search that the path's responses carry, or nil. Filter
	// goes first.
	Search *SearchVariance
	// Extra is what AppendExtra made of the rule's Key, or empty.
	Extra []byte
}

// MaxExtra bounds what Policy.Key adds to a key, in bytes.
const MaxExtra = 2048

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
	// Where a response has a No-Vary-Search, no query is the same as an empty one.
	if p.Search != nil {
		mark := len(dst)
		dst = p.Filter.append(dst, p.Query)
		dst = p.Search.rewrite(dst, mark)
	} else if p.HasQuery {
		dst = p.Filter.append(dst, p.Query)
	}
	if len(p.Extra) > 0 {
		// A query holds no control character, so it cannot imitate this.
		dst = append(append(dst, '\t'), p.Extra...)
	}
	return dst, true
}

// AppendExtra appends one part of KeyParts.Extra to dst: which of Key.Headers,
// Key.Cookies and Key.Session it is of (kind is 'h', 'c' or 's'), the name, and the
// value, or that there is none, which is not the same as an empty one. It is false,
// with dst as it was, when dst would exceed MaxExtra: such a request has no key. It
// does not allocate when dst has room.
func AppendExtra(dst []byte, kind byte, name string, value []byte, present bool) ([]byte, bool) {
	if len(dst)+len(name)+len(value)+len("h18446:=2048:") > MaxExtra {
		return dst, false
	}
	dst = append(dst, kind)
	dst = append(strconv.AppendInt(dst, int64(len(name)), 10), ':')
	for i := range len(name) {
		c := name[i]
		if kind == 'h' {
			c = lower(c)
		}
		dst = append(dst, c)
	}
	if !present {
		return append(dst, '-'), true
	}
	return appendSized(append(dst, '='), value), true
}

func appendSized(dst, b []byte) []byte {
	dst = strconv.AppendInt(dst, int64(len(b)), 10)
	dst = append(dst, ':')
	return append(dst, b...)
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
