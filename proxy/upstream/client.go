// Package upstream is the HTTP/1.1 client through which the proxy talks to its
// one application.
//
// It exists because a general client is wrong for this place in three ways: it
// pools connections that may still carry bytes of somebody else's exchange, it
// sends requests again that may already have had their effect, and it bounds a
// whole response by one deadline, which cuts streams. Here a connection is looked
// at before it is used again, a request is sent twice only when the first sending
// provably brought no answer and repeating it is harmless, and each wait has a
// deadline of its own.
package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// Client keeps the connections to one application. It is safe for concurrent use.
type Client struct {
	cfg              Config
	opt              options
	url              string // for messages
	network, address string
	pool             *pool
	bufs             sync.Pool // of *buffer
	n                counters
	stop             chan struct{} // ends the janitor
	done             chan struct{} // the janitor has ended
	once             sync.Once
}

// New checks the settings and starts the client's janitor goroutine, which Close
// and Shutdown end. It opens no connection.
func New(cfg Config, opts ...Option) (*Client, error) {
	o := options{maxHead: defaultMaxHead, maxWaiting: defaultMaxWaiting, dial: new(net.Dialer).DialContext}
	for _, opt := range opts {
		opt(&o)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	network, address, _ := parseURL(cfg.URL) // validated
	c := &Client{
		cfg: cfg, opt: o, url: cfg.URL, network: network, address: address,
		pool: newPool(cfg.MaxConnections, o.maxWaiting),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	c.bufs.New = func() any { return new(buffer) }
	go c.janitor()
	return c, nil
}

// janitor closes the connections that nobody used for Timeouts.Idle.
func (c *Client) janitor() {
	defer close(c.done)
	idle := c.cfg.Timeouts.Idle
	ticker := time.NewTicker(min(max(idle/4, time.Millisecond), 10*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case now := <-ticker.C:
			c.pool.expire(now.Add(-idle))
		}
	}
}

func (c *Client) shut(cut bool) {
	c.once.Do(func() { close(c.stop) })
	c.pool.shut(cut)
	<-c.done
}

// Close ends the client at once: connections in use are cut, so that their
// exchanges fail, requests that wait get ErrClosed, and the janitor has ended when
// Close returns. Raw and upgraded connections belong to their callers.
func (c *Client) Close() error {
	c.shut(true)
	return nil
}

// Shutdown refuses new requests with ErrClosed and waits for the running ones.
// When the context ends first, it cuts them and returns the context's error.
func (c *Client) Shutdown(ctx context.Context) error {
	c.shut(false)
	select {
	case <-c.pool.empty:
		return nil
	case <-ctx.Done():
		c.pool.shut(true)
		return ctx.Err()
	}
}

// Do sends the request and reads the response head into h, by h.Read, so that
// the origin's Date and the order of duplicates survive. h then describes the
// message alone: its protocol is HTTP/1.1, the connection's own "close" and the
// Trailer field are gone. Other hop-by-hop fields are left for the caller to remove.
//
// The Body is part of r: r must stay untouched until the Body is closed, and may
// then be used again. A caller that reuses r and h has no allocation in a small
// exchange, unless ctx can end: watching it costs a few.
//
// The end of ctx, while Do runs or the Body is open, closes the connection.
func (c *Client) Do(ctx context.Context, r *Request, h *fasthttp.ResponseHeader) (*Body, error) {
	c.n.requests.Add(1)
	r.begin()
	if err := r.check(); err != nil {
		return nil, err
	}
	// The body of a small request is read before a connection is taken: a client
	// that sends slowly holds none.
	wire, buf, err := c.wire(ctx, r)
	if buf != nil {
		defer c.bufs.Put(buf)
	}
	if err != nil {
		return nil, err
	}
	cn, reused, err := c.acquire(ctx)
	if err != nil {
		return nil, err
	}
	body, err := c.exchange(ctx, cn, r, wire, h)
	if err == nil {
		return body, nil
	}
	if !reused || !mayRetry(ctx, cn, r, err) {
		c.pool.discard(cn)
		return nil, err
	}
	return c.again(ctx, cn, r, wire, h)
}

// mayRetry allows a second sending only when all of this is known: the connection
// had been idle, so that its end is likely older than the request; it ended (a
// timeout is no end: the application may be working); not one byte of a response
// came; the method is idempotent; and the request can be sent again as it was.
func mayRetry(ctx context.Context, cn *conn, r *Request, err error) bool {
	return r.Replayable && !r.streaming && !cn.src.got && errors.Is(err, ErrReset) && ctx.Err() == nil
}

// again repeats the request on a fresh connection in the slot of the dead one.
func (c *Client) again(ctx context.Context, cn *conn, r *Request, wire []byte, h *fasthttp.ResponseHeader) (*Body, error) {
	c.n.retries.Add(1)
	c.pool.detach(cn)
	cn, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	body, err := c.exchange(ctx, cn, r, wire, h)
	if err != nil {
		c.pool.discard(cn)
		return nil, err
	}
	return body, nil
}

// acquire gives a connection that is fit for use, and whether it was pooled.
func (c *Client) acquire(ctx context.Context) (cn *conn, reused bool, err error) {
	cn, err = c.pool.take()
	if err == ErrNoConnection {
		cn, err = c.pool.wait(ctx, c.cfg.Timeouts.Connect)
	}
	if err != nil {
		c.n.noConnection.Add(1)
		return nil, false, c.fail(ctx, err, "see upstream.max_connections and upstream.timeouts.connect", nil)
	}
	for now := time.Now(); cn != nil; cn = c.pool.instead(cn) {
		switch cn.look(now, c.cfg.Timeouts.Idle) {
		case quiet:
			c.n.reused.Add(1)
			return cn, true, nil
		case unsolicited:
			c.n.unsolicited.Add(1)
		}
		c.n.stale.Add(1)
	}
	cn, err = c.open(ctx)
	return cn, false, err
}

// open dials in a slot that the caller holds, and gives the slot back on failure.
func (c *Client) open(ctx context.Context) (*conn, error) {
	nc, err := c.DialRaw(ctx)
	if err != nil {
		c.pool.lose()
		return nil, err
	}
	cn := newConn(nc)
	if !c.pool.adopt(cn) {
		cn.close()
		return nil, c.fail(ctx, ErrClosed, "closed while connecting", nil)
	}
	return cn, nil
}

// DialRaw opens a connection that the client neither pools nor counts against
// MaxConnections. It belongs to the caller. Timeouts.Connect and ctx bound the dial.
func (c *Client) DialRaw(ctx context.Context) (net.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Connect)
	defer cancel()
	nc, err := c.opt.dial(bounded, c.network, c.address)
	if err != nil {
		c.n.dialErrors.Add(1)
		return nil, c.fail(ctx, ErrConnect, "is the application running, and upstream.url right?", err)
	}
	c.n.dials.Add(1)
	return nc, nil
}

// buffer holds a small request on its way out, or a piece of a large one.
type buffer struct{ b []byte }

// wire gives what is sent first: head and body of a small request, else the head.
func (c *Client) wire(ctx context.Context, r *Request) ([]byte, *buffer, error) {
	if r.Body == nil || r.BodySize == 0 || r.large() {
		return r.Head, nil, nil
	}
	buf := c.bufs.Get().(*buffer)
	buf.b = append(buf.b[:0], r.Head...)
	total := len(r.Head) + int(r.BodySize)
	if cap(buf.b) < total {
		buf.b = append(make([]byte, 0, total), r.Head...)
	}
	wire := buf.b[:total]
	if _, err := io.ReadFull(r.Body, wire[len(r.Head):]); err != nil {
		return nil, buf, c.fail(ctx, ErrRequestBody, "it ended early", truncated(err))
	}
	return wire, buf, nil
}
