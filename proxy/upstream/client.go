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
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/nonblock"
	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

// Client keeps the connections to one application. It is safe for concurrent use.
type Client struct {
	cfg     Config
	opt     options
	url     string // for messages
	target  target
	tls     *tls.Config // nil: plain
	pool    *pool
	breaker breaker
	outages outages
	bufs    sync.Pool // of *buffer
	n       counters
	ctx     context.Context // ends with the client
	cancel  context.CancelFunc
	wg      sync.WaitGroup // the client's own goroutines
}

// New checks the settings, reads the TLS files and starts the client's goroutines,
// the janitor and the health check, which Close and Shutdown end. It opens no
// connection itself.
func New(cfg Config, opts ...Option) (*Client, error) {
	o := options{
		setting: defaultSetting, onChange: func(bool, error) {},
		maxHead: defaultMaxHead, maxWaiting: defaultMaxWaiting, dial: new(net.Dialer).DialContext,
	}
	for _, opt := range opts {
		opt(&o)
	}
	if err := cfg.validate(o.setting); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, opt: o, url: cfg.URL, pool: newPool(cfg.MaxConnections, o.maxWaiting)}
	c.target, _ = parseURL(cfg.URL) // validated
	if c.target.secure {
		var err error
		if c.tls, err = tlsfiles.Client(cfg.TLS).Config(c.target.host, o.setting); err != nil {
			return nil, err
		}
	}
	c.breaker.init(cfg, o.onChange)
	c.bufs.New = func() any { return new(buffer) }
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.janitor)
	if cfg.Health.Path != "" {
		c.wg.Go(c.watchHealth)
	}
	return c, nil
}

// Config gives the settings of the client.
func (c *Client) Config() Config { return c.cfg }

// janitor closes the connections that nobody used for Timeouts.Idle.
func (c *Client) janitor() {
	idle := c.cfg.Timeouts.Idle
	ticker := time.NewTicker(min(max(idle/4, time.Millisecond), 10*time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case now := <-ticker.C:
			c.pool.expire(now.Add(-idle))
		}
	}
}

func (c *Client) shut(cut bool) {
	c.cancel()
	c.pool.shut(cut)
	c.wg.Wait()
}

// Close ends the client at once: connections in use are cut, so that their
// exchanges fail, requests that wait get ErrClosed, and the client's goroutines have
// ended when Close returns. Raw and upgraded connections belong to their callers.
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
//
// Without h the head is left to the caller: Body.Head gives it, and Body.Load or
// Body.Skip comes before anything is read.
func (c *Client) Do(ctx context.Context, r *Request, h *fasthttp.ResponseHeader) (*Body, error) {
	c.n.requests.Add(1)
	r.begin()
	if err := r.check(); err != nil {
		return nil, err
	}
	if err := c.refused(); err != nil {
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
	trial, err := c.admit()
	if err != nil {
		return nil, err
	}
	body, unproven, err := c.send(ctx, r, wire, h)
	c.breaker.note(trial, c.judge(ctx, r, unproven, err), err)
	return body, err
}

// send runs the exchange on a pooled connection, else on a fresh one. unproven says
// that a failure is of a pooled connection that may have been dead before.
func (c *Client) send(ctx context.Context, r *Request, wire []byte, h *fasthttp.ResponseHeader) (body *Body, unproven bool, err error) {
	cn, reused, err := c.acquire(ctx, r)
	if err != nil {
		return nil, false, err
	}
	body, err = c.exchange(ctx, cn, r, wire, h)
	for err == nonblock.ErrUnfit {
		c.unfit(cn.src.found)
		if cn, reused, err = c.fit(ctx, c.pool.instead(cn), time.Now()); err != nil {
			return nil, false, err
		}
		body, err = c.exchange(ctx, cn, r, wire, h)
	}
	if reused {
		c.n.reused.Add(1)
	}
	if err == nil {
		return body, false, nil
	}
	if !reused || !mayRetry(ctx, cn, r, err) {
		unproven = reused && !cn.src.got
		c.pool.discard(cn)
		return nil, unproven, err
	}
	body, err = c.again(ctx, cn, r, wire, h)
	return body, false, err
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
func (c *Client) acquire(ctx context.Context, r *Request) (cn *conn, reused bool, err error) {
	now := r.now()
	cn, err = c.pool.take()
	if err == ErrNoConnection {
		cn, err = c.pool.wait(ctx, c.patience())
		now, r.Now = time.Now(), time.Time{}
	}
	if err != nil {
		c.n.noConnection.Add(1)
		return nil, false, c.fail(ctx, err, fmt.Sprintf("see %[1]s.max_connections and %[1]s.timeouts.connect", c.opt.setting), nil)
	}
	return c.fit(ctx, cn, now)
}

// fit gives cn, which holds a slot, when it may carry another request, or the next of
// the pool that does, or a fresh one. A connection that can be looked at as part of the
// exchange is: exchange then gives nonblock.ErrUnfit.
func (c *Client) fit(ctx context.Context, cn *conn, now time.Time) (_ *conn, reused bool, err error) {
	for ; cn != nil; cn = c.pool.instead(cn) {
		v := cn.look(now, c.cfg.Timeouts.Idle)
		if v == quiet {
			return cn, true, nil
		}
		c.unfit(v)
	}
	cn, err = c.open(ctx)
	return cn, false, err
}

// unfit counts a pooled connection that could not be used.
func (c *Client) unfit(v verdict) {
	if v == unsolicited {
		c.n.unsolicited.Add(1)
	}
	c.n.stale.Add(1)
}

// open dials in a slot that the caller holds, and gives the slot back on failure.
func (c *Client) open(ctx context.Context) (*conn, error) {
	nc, err := c.dial(ctx)
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
// MaxConnections, whatever the breaker says. It belongs to the caller. Its handshake
// is done when the URL is https. Timeouts.Connect and ctx bound all of it.
func (c *Client) DialRaw(ctx context.Context) (net.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.Connect)
	defer cancel()
	nc, err := c.opt.dial(bounded, c.target.network, c.target.address)
	if err != nil {
		c.n.dialErrors.Add(1)
		return nil, c.fail(ctx, ErrConnect, fmt.Sprintf("is the application running, and %s.url right?", c.opt.setting), err)
	}
	if c.tls != nil {
		if nc, err = c.handshake(bounded, nc); err != nil {
			c.n.dialErrors.Add(1)
			return nil, c.fail(ctx, ErrConnect, c.handshakeRemedy(err), err)
		}
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
