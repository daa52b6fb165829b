package cache

import (
	"strconv"
	"time"
)

// Fwd says why a request went to the upstream (RFC 9211 §2.2).
type Fwd string

// The values of fwd that RFC 9211 §2.2 registers.
const (
	FwdBypass  Fwd = "bypass"
	FwdMethod  Fwd = "method"
	FwdURIMiss Fwd = "uri-miss"
	FwdVary    Fwd = "vary-miss"
	FwdMiss    Fwd = "miss"
	FwdRequest Fwd = "request"
	FwdStale   Fwd = "stale"
	FwdPartial Fwd = "partial"
)

// Status is one cache's member of Cache-Status (RFC 9211 §2).
type Status struct {
	// Cache names the cache.
	Cache string
	// Hit and Fwd exclude each other; Hit wins. FwdStatus, Stored and Collapsed
	// go with Fwd only.
	Hit               bool
	Fwd               Fwd
	FwdStatus         int
	Stored, Collapsed bool
	// TTL is the freshness that is left, negative once stale, shown in whole
	// seconds when HasTTL is set.
	TTL    time.Duration
	HasTTL bool
	// Key is shown when it is not empty and holds printable ASCII only.
	Key []byte
	// Detail is for the operator: a token, or else a string.
	Detail string
}

// AppendStatus appends the member to dst, in the syntax of RFC 8941. It does not
// allocate when dst has room.
func AppendStatus(dst []byte, s *Status) []byte {
	dst = appendItem(dst, s.Cache)
	if s.Hit {
		dst = append(dst, "; hit"...)
	} else if s.Fwd != "" {
		dst = appendForward(dst, s)
	}
	if s.HasTTL {
		dst = append(dst, "; ttl="...)
		dst = strconv.AppendInt(dst, floorSeconds(s.TTL), 10)
	}
	if len(s.Key) > 0 && isPrintable(s.Key) {
		dst = appendString(append(dst, "; key="...), s.Key)
	}
	if s.Detail != "" {
		dst = appendItem(append(dst, "; detail="...), s.Detail)
	}
	return dst
}

func appendForward(dst []byte, s *Status) []byte {
	dst = append(append(dst, "; fwd="...), s.Fwd...)
	if s.FwdStatus != 0 {
		dst = strconv.AppendInt(append(dst, "; fwd-status="...), int64(s.FwdStatus), 10)
	}
	if s.Stored {
		dst = append(dst, "; stored"...)
	}
	if s.Collapsed {
		dst = append(dst, "; collapsed"...)
	}
	return dst
}

// floorSeconds rounds towards what is staler.
func floorSeconds(d time.Duration) int64 {
	n := int64(d / time.Second)
	if d < 0 && d%time.Second != 0 {
		n--
	}
	return n
}

// appendItem writes a token where s is one (RFC 8941 §3.3.4), else a string.
func appendItem(dst []byte, s string) []byte {
	if isSFToken(s) {
		return append(dst, s...)
	}
	return appendString(dst, s)
}

func isSFToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		first := c == '*' || (lower(c) >= 'a' && lower(c) <= 'z')
		if !first && (i == 0 || (!isTokenByte(c) && c != ':' && c != '/')) {
			return false
		}
	}
	return s != ""
}

// appendString writes a string (RFC 8941 §3.3.3), which holds printable ASCII
// only: any other byte becomes "?".
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c > '~':
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

func isPrintable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
