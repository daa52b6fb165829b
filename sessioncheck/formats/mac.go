package formats

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"hash"
	"sync"
)

// macs computes HMACs under each of several keys without allocating: a hash's state
// is set up once and used again.
type macs struct{ pool sync.Pool }

// macState is what one verification works with. Its bytes are in the pool's memory
// because what is handed to a hash.Hash would leave the stack anyway.
type macState struct {
	hashes  []hash.Hash
	sum     [sha256.Size]byte
	text    [2 * sha256.Size]byte
	work    []byte
	payload []byte
}

func newMACs(h func() hash.Hash, keys [][]byte) *macs {
	m := &macs{}
	m.pool.New = func() any {
		s := &macState{}
		for _, key := range keys {
			s.hashes = append(s.hashes, hmac.New(h, key))
		}
		return s
	}
	return m
}

func newSHA256(keys [][]byte) *macs { return newMACs(sha256.New, keys) }

func (m *macs) get() *macState  { return m.pool.Get().(*macState) }
func (m *macs) put(s *macState) { m.pool.Put(s) }

// match gives the index of the key under which the encoded MAC of the message's
// parts is mac; -1 when there is none. Every key is tried, and each comparison takes
// the same time whatever differs.
func (s *macState) match(mac []byte, encode func(dst, sum []byte) []byte, parts ...[]byte) int {
	found := -1
	for i, h := range s.hashes {
		h.Reset()
		for _, p := range parts {
			h.Write(p)
		}
		want := encode(s.text[:0], h.Sum(s.sum[:0]))
		if subtle.ConstantTimeCompare(want, mac) == 1 {
			found = i
		}
	}
	return found
}

func byteKeys(secrets []string) [][]byte {
	keys := make([][]byte, len(secrets))
	for i, s := range secrets {
		keys[i] = []byte(s)
	}
	return keys
}
