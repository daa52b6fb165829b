package proxy

import (
	"context"
	"sync"
	"time"
)

// ending says why a tunnel ended.
type ending uint8

const (
	endNot      ending = iota
	endClosed          // by its two sides
	endIdle            // no byte for server.tunnel_idle_timeout
	endShutdown        // by Shutdown
	endSession         // with the session that opened it
	endError           // a side broke, or did not take what it was sent
	endings
)

// String is the label value in metrics.
func (e ending) String() string {
	return [...]string{"open", "closed", "idle", "shutdown", "session", "error"}[e]
}

// tunnels are the upgraded connections of a handler: their bound, their end at
// shutdown, and their count. The server forgets a connection that was hijacked.
type tunnels struct {
	mu       sync.Mutex
	open     map[*tunnel]struct{}
	reserved int // upgrades that the application is being asked for
	closed   bool
	running  sync.WaitGroup  // one for each that is open or reserved
	asking   context.Context // of the upgrades that the application is being asked for
	stop     context.CancelFunc
	ended    [endings]uint64
	up, down uint64 // bytes of those that have ended

	buffers sync.Pool // of *[bulkBuffer]byte
}

func (ts *tunnels) init() {
	ts.open = make(map[*tunnel]struct{})
	ts.asking, ts.stop = context.WithCancel(context.Background())
}

// reserve takes a place for an upgrade, before the application is asked.
func (ts *tunnels) reserve(limit int) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed || len(ts.open)+ts.reserved >= limit {
		return false
	}
	ts.reserved++
	ts.running.Add(1)
	return true
}

func (ts *tunnels) unreserve() {
	ts.mu.Lock()
	ts.reserved--
	ts.mu.Unlock()
	ts.running.Done()
}

// add enters a tunnel, unless a shutdown has begun. From then on the tunnel ends by end
// or by itself, and is removed once.
func (ts *tunnels) add(t *tunnel) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return false
	}
	ts.open[t] = struct{}{}
	ts.running.Add(1)
	t.expect()
	return true
}

func (ts *tunnels) remove(t *tunnel, how ending) {
	ts.mu.Lock()
	delete(ts.open, t)
	ts.ended[how]++
	ts.up += t.up.Load()
	ts.down += t.down.Load()
	ts.mu.Unlock()
	ts.running.Done()
}

// shutdown lets no tunnel open, gives those that are open some time to end by
// themselves, then cuts the rest and waits for their goroutines.
func (ts *tunnels) shutdown(ctx context.Context, drain time.Duration) {
	ts.mu.Lock()
	ts.closed = true
	ts.mu.Unlock()
	done := make(chan struct{})
	go func() { ts.running.Wait(); close(done) }()
	timer := time.NewTimer(drain)
	defer timer.Stop()
	defer ts.stop()
	select {
	case <-done:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	ts.stop()
	for _, t := range ts.all() {
		t.end(endShutdown)
	}
	<-done
}

func (ts *tunnels) all() []*tunnel {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	list := make([]*tunnel, 0, len(ts.open))
	for t := range ts.open {
		list = append(list, t)
	}
	return list
}

// TunnelCounts are the tunnels of a handler.
type TunnelCounts struct {
	Open     int
	Ended    map[string]uint64 // by how: closed, idle, shutdown, session, error
	Up, Down uint64            // bytes to the application, and to clients
}

// Add adds other's counters to c's.
func (c *TunnelCounts) Add(other TunnelCounts) {
	if c.Ended == nil {
		*c = other
		return
	}
	c.Open += other.Open
	c.Up += other.Up
	c.Down += other.Down
	addTo(c.Ended, other.Ended)
}

// Tunnels counts the tunnels: those that are open now, and all since the start.
func (h *Handler) Tunnels() TunnelCounts {
	ts := &h.tunnels
	ts.mu.Lock()
	defer ts.mu.Unlock()
	c := TunnelCounts{Open: len(ts.open), Ended: make(map[string]uint64, endings), Up: ts.up, Down: ts.down}
	for how := endClosed; how < endings; how++ {
		c.Ended[how.String()] = ts.ended[how]
	}
	for t := range ts.open {
		c.Up += t.up.Load()
		c.Down += t.down.Load()
	}
	return c
}

// DrainTunnels refuses new tunnels and ends those that are open: at once those that are
// left after server.tunnel_drain, or when ctx ends. It is to be called beside the
// server's shutdown, not after it: the application is being stopped as well, most often,
// and ends its tunnels meanwhile.
func (h *Handler) DrainTunnels(ctx context.Context) {
	h.tunnels.shutdown(ctx, h.snap.Load().server.TunnelDrain)
}

// Shutdown drains the tunnels and waits for what the handler does beside requests. It
// is called when the server has been shut down.
func (h *Handler) Shutdown(ctx context.Context) {
	h.DrainTunnels(ctx)
	h.soon.close()
	h.fills.Wait()
	h.pipes.Close()
}
