package upstream

import (
	"context"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"
)

// watchHealth asks the application at intervals whether it works, and tells the
// breaker. At the start the application counts as healthy.
func (c *Client) watchHealth() {
	h := c.cfg.Health
	timer := time.NewTimer(0)
	defer timer.Stop()
	for good, bad := 0, 0; ; timer.Reset(h.Interval) {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		}
		generation := c.breaker.generation()
		err := c.checkHealth(c.ctx)
		switch {
		case c.ctx.Err() != nil:
			return
		case err != nil:
			c.n.healthBad.Add(1)
			if good, bad = 0, bad+1; bad >= h.Unhealthy {
				c.breaker.sick(err)
			}
		default:
			c.n.healthGood.Add(1)
			if good, bad = good+1, 0; good >= h.Healthy {
				c.breaker.well(generation)
			}
		}
	}
}

// checkHealth asks once, on a connection of its own: a check must not wait for one
// of the pool, nor find a pooled one that still works where no new one can be opened.
func (c *Client) checkHealth(ctx context.Context) error {
	h := c.cfg.Health
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	nc, err := c.DialRaw(ctx)
	if err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	cn := newConn(nc)
	r := &Request{
		Head:          []byte("GET " + h.Path + " HTTP/1.1\r\nHost: " + c.target.hostField() + "\r\nUser-Agent: pillion\r\nConnection: close\r\n\r\n"),
		HeaderTimeout: h.Timeout,
	}
	x := exchange{c: c, ctx: ctx, cn: cn, r: r, upgrade: true} // upgrade: it is not pooled
	if err := x.run(r.Head, new(fasthttp.ResponseHeader)); err != nil {
		return fmt.Errorf("health check: %w", err)
	}
	_ = x.body().Close()
	if x.hd.status < 200 || x.hd.status > 399 {
		return fmt.Errorf("health check: upstream %s: %s was answered with %d", c.url, h.Path, x.hd.status)
	}
	return nil
}
