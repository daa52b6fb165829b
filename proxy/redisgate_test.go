package proxy_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// redisGate stands between a pod and Redis, and can fail in ways in which a server that is
// killed does not.
type redisGate struct {
	ln    net.Listener
	mu    sync.Mutex
	to    string // the address of Redis
	mute  bool   // bytes are swallowed, both ways: a partition
	reply string // answers all that is sent, in place of Redis
	conns []net.Conn
	wait  sync.WaitGroup
}

func newRedisGate(t testing.TB, to string) *redisGate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g := &redisGate{ln: ln, to: to}
	g.wait.Go(g.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		g.set(func() {})
		g.wait.Wait()
	})
	return g
}

// set changes the gate and cuts what goes through it.
func (g *redisGate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	for _, c := range g.conns {
		_ = c.Close()
	}
	g.conns = nil
}

// partition swallows bytes from now on, and leaves connections open.
func (g *redisGate) partition(on bool) {
	g.mu.Lock()
	g.mute = on
	g.mu.Unlock()
}

func (g *redisGate) muted() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.mute
}

func (g *redisGate) serve() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		g.conns = append(g.conns, c)
		to, reply := g.to, g.reply
		g.mu.Unlock()
		g.wait.Go(func() { g.pass(c, to, reply) })
	}
}

func (g *redisGate) pass(c net.Conn, to, reply string) {
	defer c.Close()
	if reply != "" {
		for buf := make([]byte, 4096); ; {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := io.WriteString(c, reply); err != nil {
				return
			}
		}
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.conns = append(g.conns, server)
	g.mu.Unlock()
	g.wait.Go(func() { g.copy(server, c) })
	g.copy(c, server)
}

func (g *redisGate) copy(dst, src net.Conn) {
	defer dst.Close()
	for buf := make([]byte, 4096); ; {
		n, err := src.Read(buf)
		if n > 0 && !g.muted() {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
