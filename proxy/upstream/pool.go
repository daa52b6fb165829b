package upstream

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// pool bounds and keeps the connections. A slot is the right to one connection:
// it is taken before the dial and given back after the close, so that open
// connections never exceed max. The mutex covers a few instructions; nothing
// under it does input or output.
type pool struct {
	max, maxWaiting int

	mu      sync.Mutex
	idle    []*conn   // a stack: the last used is the first taken, so surplus ones age and go
	all     []*conn   // every connection that holds a slot, for closing
	slots   int       // slots taken
	waiters list.List // of chan *conn, first come first served
	closed  bool
	empty   chan struct{} // closed once closed is set and the last slot is back
}

func newPool(max, maxWaiting int) *pool {
	return &pool{max: max, maxWaiting: maxWaiting, empty: make(chan struct{})}
}

// take gives an idle connection, or a slot to dial in (nil, nil), or
// ErrNoConnection when the caller must wait.
func (p *pool) take() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case len(p.idle) > 0:
		return p.pop(), nil
	case p.slots < p.max:
		p.slots++
		return nil, nil
	}
	return nil, ErrNoConnection
}

// instead closes a connection that proved unfit and gives another idle one in
// its place, or nil: then the caller keeps the slot and dials in it. So a run of
// stale connections never sends a request back into the queue.
func (p *pool) instead(cn *conn) *conn {
	cn.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(cn)
	if len(p.idle) == 0 {
		return nil
	}
	p.giveSlot()
	return p.pop()
}

// wait queues for a connection (or a slot: nil). ErrNoConnection means that the
// time or the context ended first, or that too many wait already.
func (p *pool) wait(ctx context.Context, limit time.Duration) (*conn, error) {
	ch := make(chan *conn, 1)
	p.mu.Lock()
	if p.closed || p.waiters.Len() >= p.maxWaiting {
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return nil, ErrClosed
		}
		return nil, ErrNoConnection
	}
	// A slot may have come free between take and here; the queue would never
	// hear of it.
	if len(p.idle) > 0 {
		defer p.mu.Unlock()
		return p.pop(), nil
	}
	if p.slots < p.max {
		p.slots++
		p.mu.Unlock()
		return nil, nil
	}
	e := p.waiters.PushBack(ch)
	p.mu.Unlock()
	return p.await(ctx, limit, e, ch)
}

func (p *pool) await(ctx context.Context, limit time.Duration, e *list.Element, ch chan *conn) (*conn, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case cn, ok := <-ch:
		if !ok {
			return nil, ErrClosed
		}
		return cn, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case cn, ok := <-ch: // granted while we were giving up: it must not be lost
		if !ok {
			return nil, ErrClosed
		}
		return cn, nil
	default:
		p.waiters.Remove(e)
		return nil, ErrNoConnection
	}
}

// adopt enters a freshly dialled connection. It reports false when the pool was
// closed during the dial; the slot is then given back.
func (p *pool) adopt(cn *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.giveSlot()
		return false
	}
	cn.index = len(p.all)
	p.all = append(p.all, cn)
	return true
}

// put returns a connection after a clean exchange, which ended at now.
func (p *pool) put(cn *conn, now time.Time) {
	cn.shrink()
	cn.idleSince = now
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		cn.close()
		p.forget(cn)
		p.giveSlot()
		return
	}
	if e := p.waiters.Front(); e != nil {
		p.waiters.Remove(e).(chan *conn) <- cn
		return
	}
	p.idle = append(p.idle, cn)
}

// discard closes a connection and frees its slot.
func (p *pool) discard(cn *conn) {
	cn.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if cn.index >= 0 { // else an upgrade's, which holds no slot
		p.forget(cn)
		p.giveSlot()
	}
}

// lose gives back the slot of a dial that failed.
func (p *pool) lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.giveSlot()
}

// detach closes a connection but keeps its slot for the dial that follows.
func (p *pool) detach(cn *conn) {
	cn.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(cn)
}

// expire closes the connections that have been idle since before the cutoff.
// The stack is in the order of their return, so they lie at its bottom.
func (p *pool) expire(cutoff time.Time) int {
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].idleSince.Before(cutoff) {
		n++
	}
	old := append([]*conn(nil), p.idle[:n]...)
	kept := copy(p.idle, p.idle[n:])
	clear(p.idle[kept:])
	p.idle = p.idle[:kept]
	for _, cn := range old {
		p.forget(cn)
		p.giveSlot()
	}
	p.mu.Unlock()
	for _, cn := range old {
		cn.close()
	}
	return n
}

// shut refuses further requests, ends the waiting ones and closes the idle
// connections. Those in use are closed as they come back, or at once when cut is
// set: their exchanges then fail, and give the slots back.
func (p *pool) shut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for e := p.waiters.Front(); e != nil; e = p.waiters.Front() {
		close(p.waiters.Remove(e).(chan *conn))
	}
	for _, cn := range p.idle {
		cn.close()
		p.forget(cn)
		p.slots--
	}
	p.idle = nil
	if cut {
		for _, cn := range p.all {
			cn.close()
		}
	}
	p.signalEmpty()
}

func (p *pool) sizes() (open, idle, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.slots, len(p.idle), p.waiters.Len()
}

// pop, forget, giveSlot and signalEmpty are called with the mutex held.

func (p *pool) pop() *conn {
	last := len(p.idle) - 1
	cn := p.idle[last]
	p.idle[last] = nil
	p.idle = p.idle[:last]
	return cn
}

func (p *pool) forget(cn *conn) {
	if cn.index < 0 {
		return
	}
	last := len(p.all) - 1
	p.all[cn.index] = p.all[last]
	p.all[cn.index].index = cn.index
	p.all[last] = nil
	p.all = p.all[:last]
	cn.index = -1
}

// giveSlot passes the slot to the first waiter (nil: dial yourself) or frees it.
func (p *pool) giveSlot() {
	if e := p.waiters.Front(); e != nil {
		p.waiters.Remove(e).(chan *conn) <- nil
		return
	}
	p.slots--
	p.signalEmpty()
}

func (p *pool) signalEmpty() {
	if !p.closed || p.slots > 0 {
		return
	}
	select {
	case <-p.empty:
	default:
		close(p.empty)
	}
}
