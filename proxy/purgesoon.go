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

// soon holds the keys that are removed behind the requests that made them obsolete. One
// goroutine does that, from the first of them on until the handler shuts down.
type soon struct {
	mu      sync.Mutex
	keys    map[cache.Hash]struct{}
	started bool
	closed  bool
	wake    chan struct{} // capacity 1: there are keys, or it is closed
}

func (s *soon) init() {
	s.keys, s.wake = make(map[cache.Hash]struct{}), make(chan struct{}, 1)
}

// add is false when there is no room, or nobody who would remove them.
func (s *soon) add(hashes []cache.Hash, start func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.keys)+len(hashes) > maxSoon {
		return false
	}
	for _, hash := range hashes {
		s.keys[hash] = struct{}{} // one that waits already is removed after this request, too
	}
	if !s.started {
		s.started = true
		start()
	}
	s.signal()
	return true
}

func (s *soon) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// close ends the goroutine when it has removed what waits.
func (s *soon) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.signal()
}

// take gives some of the keys; done says that there will be no more.
func (s *soon) take(out []cache.Hash) (_ []cache.Hash, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash := range s.keys {
		if len(out) == soonBatch {
			break
		}
		out = append(out, hash)
		delete(s.keys, hash)
	}
	return out, s.closed && len(out) == 0
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
	return h.soon.add(hashes, func() { h.fills.Go(h.purgeWaiting) })
}

// purgeWaiting removes what waits. What comes during one wait for Redis shares the next.
func (h *Handler) purgeWaiting() {
	var buf []cache.Hash
	for {
		hashes, done := h.soon.take(buf[:0])
		switch {
		case done:
			return
		case len(hashes) == 0:
			<-h.soon.wake
			continue
		}
		buf = hashes
		if err := h.purgeHashes(context.Background(), hashes); err != nil {
			h.log.Warn().Err(err).Int("keys", len(hashes)).
				Msg("stored answers that unsafe requests made obsolete may not have been removed; these rules do not use them")
		}
	}
}
