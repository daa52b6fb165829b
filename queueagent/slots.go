package queueagent

import "sync"

// slots bounds the deliveries of one queue. A slot is held from before the claim
// until the result is in Redis, so what a crash can deliver twice is bounded too.
type slots struct {
	mu    sync.Mutex
	total int
	free  int
	ready chan struct{} // capacity 1: some slot has become free
}

func newSlots(n int) *slots {
	return &slots{total: n, free: n, ready: make(chan struct{}, 1)}
}

// take takes all free slots, at most limit.
func (s *slots) take(limit int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(limit, s.free)
	s.free -= n
	return n
}

func (s *slots) put(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.free += n
	s.mu.Unlock()
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *slots) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total - s.free
}
