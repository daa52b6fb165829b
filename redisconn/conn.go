// Package redisconn opens the one Redis that everything shares, and keeps in
// memory what was read from it, coherent through client-side caching (CLIENT
// TRACKING).
//
// It knows three things that its users must not confuse: a key's value, a key's
// absence, and not knowing. Memory is trusted only while the tracking connection
// has shown a sign of life within the staleness bound.
package redisconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
)

// ErrUnavailable says that Redis gave no answer in time: whether the key exists,
// or whether the write was done, is not known. Every error of Conn wraps it.
var ErrUnavailable = errors.New("redis gave no answer in time")

// maxOutstanding bounds the calls that wait for Redis at one moment. A Redis that
// hangs under load must cost a bounded number of goroutines.
const maxOutstanding = 4096

// Conn is the connection to Redis with its memory. All methods are safe for
// concurrent use.
type Conn struct {
	cfg       Config
	log       zerolog.Logger
	base      rueidis.ClientOption
	mem       *memory
	start     time.Time    // the zero of lastBeat; carries the monotonic clock
	lastBeat  atomic.Int64 // nanoseconds after start when the last answered PING was sent; 0: never
	client    atomic.Pointer[clientBox]
	untracked atomic.Bool
	topology  topology      // of a Cluster
	slots     chan struct{} // one per outstanding call
	stats     counters

	stop   context.CancelFunc
	ctx    context.Context
	done   chan struct{}
	callMu sync.RWMutex // Close must not wait for calls while one is being added
	ended  bool
	calls  sync.WaitGroup
	closed sync.Once

	callers *callers
}

// clientBox lets an interface value sit in an atomic pointer.
type clientBox struct{ rueidis.Client }

// State is what is known about the connection at one moment.
type State struct {
	// Up is true when Redis answered within the staleness bound.
	Up bool
	// Tracking is false when the server has no CLIENT TRACKING: then little is kept in
	// memory, and not for long.
	Tracking bool
	// SinceBeat is the age of the last sign of life; negative when there was none.
	SinceBeat time.Duration
}

// Open prepares the connection and starts its heartbeat. A Redis that is down is
// not an error: the connection is made when it comes up. The error is about the
// configuration. memoryBytes bounds what is kept in memory.
func Open(cfg Config, memoryBytes int64, log zerolog.Logger, opts ...Option) (*Conn, error) {
	base, err := clientOption(cfg)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		cfg: cfg, log: log, base: base,
		mem:   newMemory(memoryBytes, len(cfg.Cluster) > 0),
		start: time.Now().Add(-time.Nanosecond),
		slots: make(chan struct{}, maxOutstanding),
		done:  make(chan struct{}), callers: newCallers(),
	}
	for _, o := range opts {
		o(c)
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.beat()
	go c.heartbeat()
	return c, nil
}

// Close ends the heartbeat, waits for outstanding calls and closes the connection.
func (c *Conn) Close() {
	c.closed.Do(func() {
		c.callMu.Lock()
		c.ended = true
		c.callMu.Unlock()
		c.stop()
		<-c.done
		if b := c.client.Load(); b != nil {
			b.Close()
		}
		c.calls.Wait()
		c.callers.wait()
		c.mem.flush()
	})
}

// Client gives the rueidis client, for commands of other kinds, such as blocking
// ones. It is nil until Redis was first reached when Redis is a Cluster or behind
// Sentinel. Every byte handed to it must be a copy: a command may still be queued
// after its context has ended.
func (c *Conn) Client() rueidis.Client {
	if b := c.client.Load(); b != nil {
		return b.Client
	}
	return nil
}

// Prefix is what the names of pillion's own keys start with.
func (c *Conn) Prefix() string { return c.cfg.Prefix }

// Up says whether Redis answered within the staleness bound.
func (c *Conn) Up() bool { return c.trusted(time.Now()) }

// Tracking says whether the server pushes invalidations.
func (c *Conn) Tracking() bool { return !c.untracked.Load() }

// State gives what is known now.
func (c *Conn) State() State {
	now := time.Now()
	s := State{Up: c.trusted(now), Tracking: c.Tracking(), SinceBeat: -1}
	if beat := c.lastBeat.Load(); beat != 0 {
		s.SinceBeat = now.Sub(c.start) - time.Duration(beat)
	}
	return s
}

// trusted compares clocks on every call. A flag set by a timer would still read
// true just after a paused process or a starved CPU resumes.
func (c *Conn) trusted(now time.Time) bool {
	beat := c.lastBeat.Load()
	return beat != 0 && int64(now.Sub(c.start))-beat <= int64(c.cfg.MaxStaleness)
}

// heartbeat asks for a sign of life four times per staleness bound.
func (c *Conn) heartbeat() {
	defer close(c.done)
	tick := time.NewTicker(max(c.cfg.MaxStaleness/4, 10*time.Millisecond))
	defer tick.Stop()
	up := c.Up()
	c.logState(up, nil)
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		err := c.beat()
		if now := c.Up(); now != up && c.ctx.Err() == nil {
			up = now
			c.logState(up, err)
		}
	}
}

func (c *Conn) logState(up bool, err error) {
	switch {
	case !up:
		c.log.Warn().Err(err).Str("redis", c.Describe()).Msg("redis is down: public routes go on, protected routes answer 503, queues wait")
	case c.untracked.Load():
		c.log.Warn().Str("redis", c.Describe()).Msg("redis is up without CLIENT TRACKING: every session check asks redis, and stored responses are kept in memory for max_staleness only")
	default:
		c.log.Info().Str("redis", c.Describe()).Msg("redis is up")
	}
}

// beat sends one PING down the tracking connection of every node that values come from. Pushes and
// replies share that connection in order, so when a PING has been answered, every
// invalidation that the server sent before it has been applied. The moment of
// sending is what counts: nothing is known about what came after it.
func (c *Conn) beat() error {
	sent := time.Now()
	err := c.open()
	if err == nil {
		err = c.ping()
	}
	if errors.Is(err, rueidis.ErrNoCache) && !c.untracked.Load() {
		c.log.Warn().Err(err).Msg("redis refuses CLIENT TRACKING: going on without it; let the user run CLIENT TRACKING, or use a server that has it")
		c.untracked.Store(true)
		c.replace(nil)
		if err = c.open(); err == nil {
			err = c.ping()
		}
	}
	if err != nil {
		return err
	}
	c.lastBeat.Store(max(int64(sent.Sub(c.start)), 1))
	return nil
}

// open makes the client when there is none.
func (c *Conn) open() error {
	if c.client.Load() != nil {
		return nil
	}
	opt := c.base
	if c.untracked.Load() {
		opt.DisableCache = true
	} else {
		opt.NewCacheStoreFn = c.mem.newStore
	}
	client, err := rueidis.NewClient(opt)
	if client == nil {
		return fmt.Errorf("connect to redis: %w", err)
	}
	// A single client is usable even when it could not connect yet: it dials
	// again with the next command.
	if err != nil && errors.Is(err, rueidis.ErrNoCache) {
		client.Close()
		return err
	}
	c.replace(client)
	return err
}

func (c *Conn) replace(client rueidis.Client) {
	var box *clientBox
	if client != nil {
		box = &clientBox{client}
	}
	if old := c.client.Swap(box); old != nil {
		old.Close()
		c.mem.flush()
	}
}

func (c *Conn) ping() error {
	_, err := call(c, c.ctx, c.cfg.Timeout, func(ctx context.Context, client rueidis.Client) (struct{}, error) {
		if len(c.cfg.Cluster) == 0 {
			return struct{}{}, client.Do(ctx, client.B().Ping().Build()).Error()
		}
		return struct{}{}, c.pingCluster(ctx, client)
	})
	return err
}

// admit takes a slot for one more call, which must give it back.
func (c *Conn) admit() (rueidis.Client, error) {
	c.callMu.RLock()
	defer c.callMu.RUnlock()
	client := c.Client()
	if client == nil || c.ended {
		return nil, fmt.Errorf("%w: not connected", ErrUnavailable)
	}
	select {
	case c.slots <- struct{}{}:
	default:
		c.stats.rejected.Add(1)
		return nil, fmt.Errorf("%w: %d calls are waiting already", ErrUnavailable, maxOutstanding)
	}
	c.calls.Add(1)
	return client, nil
}

// call runs fn in another goroutine and gives up waiting after the timeout.
// The goroutine is needed: rueidis may block past a context's end while its queue
// is full, and a caller that leaves must not fail others that share the call.
func call[T any](c *Conn, ctx context.Context, timeout time.Duration, fn func(context.Context, rueidis.Client) (T, error)) (T, error) {
	var zero T
	client, err := c.admit()
	if err != nil {
		return zero, err
	}
	type result struct {
		v   T
		err error
	}
	out := make(chan result, 1)
	c.callers.do(c.ctx, func() {
		defer c.calls.Done()
		defer func() { <-c.slots }()
		cctx, cancel := context.WithTimeout(c.ctx, timeout)
		defer cancel()
		v, err := fn(cctx, client)
		out <- result{v, err}
	})
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case r := <-out:
		return r.v, r.err
	case <-timer.C:
		c.stats.timeouts.Add(1)
		return zero, fmt.Errorf("%w: waited %s", ErrUnavailable, timeout)
	case <-ctx.Done():
		return zero, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}
