package sessioncheck

import (
	"encoding/json"
	"strings"
	"time"
)

// absoluteTimeout is session.absolute_timeout with session.created_field.
type absoluteTimeout struct {
	after   int64 // milliseconds; 0: off
	created []string
}

// maxUnixSeconds tells Unix seconds from milliseconds: as seconds it is the year 5138,
// as milliseconds 1973.
const maxUnixSeconds = 100_000_000_000

// deadlineOf gives when the session ends, in Unix milliseconds. One that does not say
// when it was made has ended: its age cannot be shown to be within the bound.
func (t *absoluteTimeout) deadlineOf(doc map[string]any) int64 {
	if t.after == 0 {
		return 0
	}
	created, ok := unixMilli(walk(doc, t.created))
	if !ok {
		return 1
	}
	return max(1, created+t.after)
}

// unixMilli reads Unix seconds, with or without a fraction, milliseconds, or RFC 3339.
func unixMilli(v any) (int64, bool) {
	var f float64
	switch v := v.(type) {
	case json.Number:
		n, err := v.Float64()
		if err != nil {
			return 0, false
		}
		f = n
	case string:
		if t, err := time.Parse(time.RFC3339Nano, strings.Replace(v, " ", "T", 1)); err == nil {
			return t.UnixMilli(), true
		}
		n, err := json.Number(v).Float64()
		if err != nil {
			return 0, false
		}
		f = n
	default:
		return 0, false
	}
	switch {
	case !(f > 0 && f < maxUnixSeconds*1000): // NaN too
		return 0, false
	case f < maxUnixSeconds:
		return int64(f * 1000), true
	}
	return int64(f), true
}

func (s *Session) tooOld(now time.Time) bool {
	return s.deadline != 0 && now.UnixMilli() >= s.deadline
}
