package upstream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	firstPause = 10 * time.Millisecond
	maxPause   = 250 * time.Millisecond
)

// outages holds the outage under way, if any.
type outages struct {
	mu  sync.Mutex
	now *outage
}

// outage is the time in which the application is not up yet. Of the requests that
// wait for it one leads: it alone dials, and hands the lead on when it gives up.
// Else a thousand waiting requests would be a thousand dials every few milliseconds,
// at a process that is just starting.
type outage struct {
	waiting int           // requests; guarded by outages.mu
	err     error         // of the last dial; guarded by outages.mu
	lead    chan struct{} // holds the lead while nobody has it
	over    chan struct{} // closed when a dial ended otherwise
	pause   time.Duration // the leader's
}

// join enters the outage under way. Without one it begins one when a dial failed
// with err, and gives nil when none did.
func (s *outages) join(err error) *outage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		if err == nil {
			return nil
		}
		s.now = &outage{err: err, lead: make(chan struct{}, 1), over: make(chan struct{}), pause: firstPause}
		s.now.lead <- struct{}{}
	}
	s.now.waiting++
	return s.now
}

// leave ends the outage with the last request that waits: the next one dials at once.
func (s *outages) leave(o *outage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.waiting--; o.waiting == 0 && s.now == o {
		s.now = nil
	}
}

func (s *outages) end(o *outage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == o {
		s.now = nil
	}
	close(o.over)
}

func (s *outages) failed(o *outage, err error) {
	s.mu.Lock()
	o.err = err
	s.mu.Unlock()
}

func (s *outages) lastError(o *outage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return o.err
}

// patience is for how long a request waits for a free connection. While others wait
// for the application, with all the connections that there may be, as long as they.
func (c *Client) patience() time.Duration {
	limit := c.cfg.Timeouts.Connect
	if c.cfg.Wait > limit {
		c.outages.mu.Lock()
		defer c.outages.mu.Unlock()
		if c.outages.now != nil {
			return c.cfg.Wait
		}
	}
	return limit
}

// notUp reports an address that refuses connections, or a socket that does not exist.
func (c *Client) notUp(err error) bool {
	return errors.Is(err, ErrConnect) &&
		(errors.Is(err, syscall.ECONNREFUSED) || c.target.network == "unix" && errors.Is(err, fs.ErrNotExist))
}

// dial opens a connection, and waits for an application that is not up yet.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if c.cfg.Wait <= 0 {
		return c.DialRaw(ctx)
	}
	o := c.outages.join(nil)
	for timer := (*time.Timer)(nil); ; {
		if o == nil {
			nc, err := c.DialRaw(ctx)
			if err == nil || !c.notUp(err) {
				return nc, err
			}
			o = c.outages.join(err)
		}
		if timer == nil {
			timer = time.NewTimer(c.cfg.Wait)
			defer timer.Stop()
		}
		nc, over, err := c.await(ctx, o, timer.C)
		c.outages.leave(o)
		if !over {
			return nc, err
		}
		o = nil // the application is up: each request dials for itself
	}
}

// await waits for the end of the outage, or leads: then it gives the connection.
func (c *Client) await(ctx context.Context, o *outage, limit <-chan time.Time) (nc net.Conn, over bool, err error) {
	select {
	case <-o.over:
		return nil, true, nil
	case <-o.lead:
		nc, err = c.redial(ctx, o, limit)
		return nc, false, err
	case <-limit:
	case <-ctx.Done():
	case <-c.ctx.Done():
	}
	return nil, false, c.gaveUp(ctx, o)
}

// redial dials until the outage is over. A leader that gives up hands the lead on.
func (c *Client) redial(ctx context.Context, o *outage, limit <-chan time.Time) (net.Conn, error) {
	over := false
	defer func() {
		if !over {
			o.lead <- struct{}{}
		}
	}()
	for {
		pause := time.NewTimer(o.pause)
		select {
		case <-pause.C:
		case <-limit:
			pause.Stop()
			return nil, c.gaveUp(ctx, o)
		case <-ctx.Done():
			pause.Stop()
			return nil, c.gaveUp(ctx, o)
		case <-c.ctx.Done():
			pause.Stop()
			return nil, c.gaveUp(ctx, o)
		}
		o.pause = min(2*o.pause, maxPause)
		nc, err := c.DialRaw(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, err
		case err == nil || !c.notUp(err):
			over = true
			c.outages.end(o)
			return nc, err
		}
		c.outages.failed(o, err)
	}
}

// gaveUp says why a request does not wait any longer.
func (c *Client) gaveUp(ctx context.Context, o *outage) error {
	if ctx.Err() != nil {
		return c.fail(ctx, ErrConnect, "", nil)
	}
	if c.ctx.Err() != nil {
		return c.fail(ctx, ErrClosed, "closed while waiting for the application", nil)
	}
	return fmt.Errorf("%w (waited for %v, %s.wait)", c.outages.lastError(o), c.cfg.Wait, c.opt.setting)
}
