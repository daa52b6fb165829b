package sessioncheck

import "unsafe"

// size is what the decoded form costs in bytes beside the raw session, which it
// shares: it counts against cache.memory.
func (s *Session) size() int {
	n := int(unsafe.Sizeof(*s)) + len(s.sessionKey) + len(s.userKey) + cap(s.identity) + cap(s.claims) + s.schema.signer.size()
	n += cap(s.values) * int(unsafe.Sizeof(value{}))
	for _, v := range s.values {
		for _, text := range v.texts {
			n += int(unsafe.Sizeof(text)) + len(text)
		}
	}
	return n
}
