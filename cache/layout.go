package cache

import "github.com/pillion-proxy/pillion/redisconn"

// Layout lets memory keep entries in less of it, those whose names begin with the prefix:
// an entry has its own key inside, with which whoever reads it must compare. The body can
// be cut out, see UnmarshalCut.
func Layout(prefix string) redisconn.Layout { return redisconn.Layout{Prefix: prefix + "c:", Cut: cut} }

func cut(raw []byte) (from, to int, ok bool) {
	var e Entry
	if e.UnmarshalTrusted(raw) != nil || len(e.Key) == 0 {
		return 0, 0, false
	}
	to = len(raw) - checksumSize
	return to - len(e.Body), to, true
}
