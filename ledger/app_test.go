//go:build linux

package ledger

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// webhookTimeout is the queues' webhook.timeout.
const webhookTimeout = 4 * time.Second

// mode is how the application behaves.
type mode int

const (
	fine    mode = iota
	refused      // the port is closed
	hung         // requests are read and never answered
	failing      // 500
	slow         // some answers come after the webhook's timeout, of work that was done
	modes
)

func (m mode) String() string {
	return [...]string{"fine", "refused", "hung", "500", "slow"}[m]
}

// state is a mode and its end.
type state struct {
	mode  mode
	ended chan struct{}
}

// app is the application. It keeps its address while it goes away and comes back.
type app struct {
	tb     testing.TB
	book   *book
	poison func(a *app, n int) bool // true: it has dealt with the delivery of a task; nil: none is special
	addr   string
	server *fasthttp.Server
	state  atomic.Pointer[state]
	active atomic.Int64 // handlers that may still do a task
	serves sync.WaitGroup

	mu    sync.Mutex
	ln    net.Listener // nil: the port is closed
	conns map[*appConn]struct{}
}

// appConn is a connection that can be cut.
type appConn struct {
	net.Conn
	app *app
	cut atomic.Bool
}

func (c *appConn) Close() error {
	c.app.mu.Lock()
	delete(c.app.conns, c)
	c.app.mu.Unlock()
	return c.Conn.Close()
}

// appListener makes appConns.
type appListener struct {
	net.Listener
	app *app
}

func (l appListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ac := &appConn{Conn: c, app: l.app}
	l.app.mu.Lock()
	defer l.app.mu.Unlock()
	if l.app.ln != l.Listener { // accepted just before the port was closed
		_ = c.Close()
		return nil, net.ErrClosed
	}
	l.app.conns[ac] = struct{}{}
	return ac, nil
}

type noLog struct{}

func (noLog) Printf(string, ...any) {}

func startApp(tb testing.TB, b *book, poison func(a *app, n int) bool) *app {
	tb.Helper()
	a := &app{tb: tb, book: b, poison: poison, addr: apptest.FreeAddr(tb), conns: make(map[*appConn]struct{})}
	a.server = &fasthttp.Server{Handler: a.handle, Logger: noLog{}, NoDefaultServerHeader: true, NoDefaultDate: true}
	a.state.Store(&state{mode: fine, ended: make(chan struct{})})
	if err := a.open(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		a.set(fine) // releases what hangs
		a.shut()
		a.serves.Wait()
	})
	return a
}

// open listens again.
func (a *app) open() error {
	ln, err := net.Listen("tcp", a.addr)
	if err != nil {
		return err
	}
	a.addr = ln.Addr().String()
	a.mu.Lock()
	a.ln = ln
	a.mu.Unlock()
	a.serves.Go(func() { _ = a.server.Serve(appListener{ln, a}) })
	return nil
}

// shut closes the port and resets every connection. When it returns, no task is under
// way, and none will be done until open.
func (a *app) shut() {
	a.mu.Lock()
	if a.ln != nil {
		_ = a.ln.Close()
		a.ln = nil
	}
	for c := range a.conns {
		c.cut.Store(true)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Conn.Close()
	}
	a.mu.Unlock()
	for tick := time.NewTicker(time.Millisecond); ; <-tick.C {
		if a.active.Load() == 0 {
			tick.Stop()
			return
		}
	}
}

// set changes the mode and ends the one before.
func (a *app) set(m mode) {
	old := a.state.Swap(&state{mode: m, ended: make(chan struct{})})
	close(old.ended)
}

func (a *app) handle(ctx *fasthttp.RequestCtx) {
	conn := ctx.Conn().(*appConn)
	if a.poison != nil {
		if n, ok := number(ctx.Request.Body(), len(a.book.done)); ok && a.poison(a, n) {
			_ = conn.Close()
			return
		}
	}
	a.active.Add(1)
	defer a.active.Add(-1)
	st := a.state.Load()
	// The order matters: shut marks the connection first and looks at active then. And it
	// may not have closed the connection yet: no answer must get out.
	if conn.cut.Load() {
		_ = conn.Close()
		return
	}
	switch st.mode {
	case hung:
		<-st.ended
		_ = conn.Close()
		return
	case failing:
		ctx.SetStatusCode(fasthttp.StatusInternalServerError)
		return
	}
	body := ctx.Request.Body()
	n, ok := number(body, len(a.book.done))
	if !ok || string(ctx.Path()) != "/"+string(sources[n%len(sources)]) {
		a.book.corrupt.Add(1)
		return
	}
	late := st.mode == slow && n%4 == 0
	if late {
		a.book.excuse(n) // it is done, and the agent will not know
	}
	a.book.note(n, ctx.Request.Header.Peek("webhook-id"), ctx.Request.Header.Peek("Pillion-Reason"))
	switch {
	case late:
		awaitEnd(nil, webhookTimeout+time.Second)
	case st.mode == slow:
		awaitEnd(st.ended, time.Duration(n%100)*time.Millisecond)
	}
}

// awaitEnd waits for a time, or until a channel is closed.
func awaitEnd(ended <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
	}
}
