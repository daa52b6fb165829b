package upstream

import (
	"bytes"
	"context"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// Upgrade sends a request that asks for another protocol, on a connection of its
// own that is never pooled and does not count against MaxConnections. On a 101 it
// returns the connection, which is then the caller's, with no deadline set; the
// first bytes that came with the 101 are read from it first. On any other
// response it returns the Body, as Do does: no tunnel exists, and what the client
// sends is not to be forwarded. ctx ends its reign with the 101.
//
// The request has no body (RFC 9110 §7.8 allows one; no known client sends it).
func (c *Client) Upgrade(ctx context.Context, r *Request, h *fasthttp.ResponseHeader) (net.Conn, *Body, error) {
	c.n.requests.Add(1)
	r.begin()
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	trial, err := c.admit()
	if err != nil {
		return nil, nil, err
	}
	x := exchange{c: c, ctx: ctx, r: r, upgrade: true}
	nc, err := c.dial(ctx)
	if err == nil {
		x.cn = newConn(nc)
		err = x.run(r.Head, h)
	}
	c.breaker.note(trial, c.judge(ctx, r, false, err), err)
	if err != nil {
		return nil, nil, err
	}
	cn := x.cn
	if x.hd.status != 101 {
		b := x.body()
		return nil, b, nil
	}
	if x.unwatch != nil && !x.unwatch() {
		cn.close()
		return nil, nil, c.fail(ctx, ErrReset, "", nil)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		cn.close()
		return nil, nil, c.fail(ctx, ErrReset, "after the 101", err)
	}
	cn.src.idle = 0
	if cn.br.Buffered() == 0 {
		return nc, nil, nil
	}
	first, _ := cn.br.Peek(cn.br.Buffered())
	return &upgraded{Conn: nc, first: bytes.Clone(first)}, nil, nil
}

// upgraded is a connection whose first bytes were read together with the 101.
type upgraded struct {
	net.Conn
	first []byte // and no more: a tunnel lives long, the buffer that they came in is large
}

func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.first) == 0 {
		return u.Conn.Read(p)
	}
	n := copy(p, u.first)
	if u.first = u.first[n:]; len(u.first) == 0 {
		u.first = nil
	}
	return n, nil
}

// CloseWrite ends the sending direction, where the connection can do so.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return u.Conn.Close()
}
