package proxy

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// tunnels are the upgraded connections, so that a shutdown can end them: fasthttp
// forgets a connection that was hijacked.
type tunnels struct {
	mu     sync.Mutex
	open   map[*tunnel]struct{}
	closed bool
	wg     sync.WaitGroup
}

type tunnel struct {
	client, app net.Conn
	panicked    func(where string, p any)
}

func (t *tunnel) close() {
	_ = t.client.Close()
	_ = t.app.Close()
}

func (ts *tunnels) add(t *tunnel) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if ts.closed {
		return false
	}
	if ts.open == nil {
		ts.open = make(map[*tunnel]struct{})
	}
	ts.open[t] = struct{}{}
	ts.wg.Add(1)
	return true
}

func (ts *tunnels) remove(t *tunnel) {
	ts.mu.Lock()
	delete(ts.open, t)
	ts.mu.Unlock()
	ts.wg.Done()
}

// shutdown cuts every tunnel and waits for its goroutines.
func (ts *tunnels) shutdown() {
	ts.mu.Lock()
	ts.closed = true
	for t := range ts.open {
		t.close()
	}
	ts.mu.Unlock()
	ts.wg.Wait()
}

// Close cuts the upgraded connections and waits for what the handler does beside
// requests. It is called when the server has been shut down.
func (h *Handler) Close() {
	h.tunnels.shutdown()
	h.fills.Wait()
}

// wantsTunnel says whether the request asks for another protocol (RFC 9110 §7.8)
// and can have it. An Upgrade field that Connection does not name is ignored.
func (x *exchange) wantsTunnel() bool {
	_, socket := x.h.origin.(*upstreamOrigin)
	return socket && x.upgrade && x.isGet() && x.ctx.Request.Header.IsHTTP11() && !x.chunked &&
		x.ctx.Request.Header.ContentLength() <= 0 && x.ctx.Request.Header.ConnectionUpgrade()
}

// upgradeTo sends the request on a connection of its own, which never goes back to
// the pool. Bytes of the client are forwarded only after the application has said
// 101; any other answer is an answer like all others.
func (x *exchange) upgradeTo() {
	x.outcome = outcomePass
	c := x.h.calls.Get().(*call)
	if err := c.prepare(x, false); err != nil {
		c.release()
		x.forwardFailed(err)
		return
	}
	head := c.head[:len(c.head)-2]
	head = append(head, "Connection: upgrade\r\n"...)
	for i := range x.lines {
		if x.lines[i].kind == kindUpgrade {
			head = appendLine(head, x.lines[i].name, x.lines[i].value)
		}
	}
	c.head = append(head, '\r', '\n')
	c.req.Head = c.head
	origin := x.h.origin.(*upstreamOrigin)
	conn, body, err := origin.client.Upgrade(context.Background(), &c.req, &x.ctx.Response.Header)
	switch {
	case err != nil:
		c.release()
		x.forwardFailed(err)
	case conn != nil:
		c.release()
		x.hijack(conn)
	default:
		c.body = body
		x.tidyHead()
		if err := x.takeBody(c); err != nil {
			x.forwardFailed(err)
			return
		}
		x.status = x.ctx.Response.StatusCode()
		x.addStatus(cache.Status{Fwd: cache.FwdBypass})
	}
}

func (x *exchange) hijack(app net.Conn) {
	h, tunnels, handler := &x.ctx.Response.Header, &x.h.tunnels, x.h
	x.status = fasthttp.StatusSwitchingProtocols
	h.ResetConnectionClose()
	h.Set(fasthttp.HeaderConnection, "Upgrade")
	x.ctx.Hijack(func(client net.Conn) {
		defer handler.contain("a tunnel")
		t := &tunnel{client: client, app: app, panicked: handler.panicked}
		if !tunnels.add(t) {
			t.close()
			return
		}
		defer tunnels.remove(t)
		t.copy()
	})
}

// copy passes bytes both ways until both sides have ended. The end of one direction
// is passed on as such, where the connection can say it (half-close).
func (t *tunnel) copy() {
	var up sync.WaitGroup
	defer up.Wait() // also after a panic: the server takes the connection back
	defer t.close()
	up.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				t.panicked("a tunnel", p)
				t.close() // the other direction waits for nothing
			}
		}()
		pass(t.app, t.client)
	})
	pass(t.client, t.app)
	up.Wait()
}

func pass(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_ = dst.Close()
}
