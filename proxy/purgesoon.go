package proxy

import (
	"context"
	"sync"

	"github.com/pillion-proxy/pillion/cache"
)

const (
	maxSoon   = 4096 // keys that wait; beyond it a request does its own
	soonBatch = 256  // of them in one wait for Redis
)

// soon holds the keys that are removed behind the requests that made them obsolete.
type soon struct {
	mu      sync.Mutex
	keys    map[cache.Hash]struct{}
	running bool
}

// purgeSoon removes entries that no GET of these rules reads: there are some only where
// pods with other rules share the Redis, or had it before. So nobody here can see an older
// state when the answer does not wait, and a rule without a cache costs its requests no
// wait for Redis. false: nothing was done.
func (h *Handler) purgeSoon(hashes []cache.Hash) bool {
	if len(hashes) == 0 {
		return true
	}
	if !h.store.Up() {
		return false // the answer says so
	}
	s := &h.soon
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys)+len(hashes) > maxSoon {
		return false
	}
	if s.keys == nil {
		s.keys = make(map[cache.Hash]struct{})
	}
	for _, hash := range hashes {
		s.keys[hash] = struct{}{} // one that waits already is removed after this request, too
	}
	if !s.running {
		s.running = true
		h.fills.Go(h.purgeWaiting)
	}
	return true
}

// purgeWaiting runs while keys wait. What comes during one wait for Redis shares the next.
func (h *Handler) purgeWaiting() {
	for {
		hashes := h.soon.take()
		if len(hashes) == 0 {
			return
		}
		if err := h.purgeHashes(context.Background(), hashes); err != nil {
			h.log.Warn().Err(err).Int("keys", len(hashes)).
				Msg("stored answers that unsafe requests made obsolete may not have been removed; these rules do not use them")
		}
	}
}

// take gives some of the keys; with none the goroutine ends.
func (s *soon) take() []cache.Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []cache.Hash
	for hash := range s.keys {
		if len(out) == soonBatch {
			break
		}
		out = append(out, hash)
		delete(s.keys, hash)
	}
	s.running = len(out) > 0
	return out
}
