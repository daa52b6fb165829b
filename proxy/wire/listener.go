package wire

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Listener accepts connections whose requests are read strictly.
type Listener struct {
	net.Listener
	limits Limits
	full   func() // a connection was turned away
	pool   sync.Pool
	direct Direct // nil: none

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*Conn]struct{}
	closed   bool
	done     chan struct{}
}

// Listen wraps a listener. full, when set, is called for each connection beyond
// Limits.MaxConnections, which is answered with 503 and closed.
func Listen(ln net.Listener, limits Limits, full func()) *Listener {
	l := &Listener{Listener: ln, limits: limits, full: full, conns: make(map[*Conn]struct{}), done: make(chan struct{})}
	l.pool.New = func() any { return new([bufferSize]byte) }
	return l
}

// Accept waits for a connection. When the process has no file descriptor left, it
// waits for one: an error would end the server.
func (l *Listener) Accept() (net.Conn, error) {
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Listener.Accept()
		switch {
		case err == nil:
			if c := l.add(nc); c != nil {
				return c, nil
			}
			pause = 5 * time.Millisecond
		case !passing(err):
			return nil, err
		default:
			select {
			case <-time.After(pause):
				pause = min(2*pause, time.Second)
			case <-l.done:
				return nil, net.ErrClosed
			}
		}
	}
}

// passing says that accepting may succeed later.
func passing(err error) bool {
	for _, e := range [...]error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

const fullResponse = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n" +
	"Retry-After: 1\r\nConnection: close\r\nContent-Length: 117\r\n\r\n" +
	`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"server.max_connections are open already."}`

func (l *Listener) add(nc net.Conn) *Conn {
	c := newConn(nc, l)
	l.mu.Lock()
	full, closed := len(l.conns) >= l.limits.MaxConnections, l.closed
	if !full && !closed {
		l.conns[c] = struct{}{}
	}
	l.mu.Unlock()
	switch {
	case closed:
		_ = nc.Close()
		return nil
	case full:
		if !c.IsTLS() { // a handshake would hold up the next to be accepted
			_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = nc.Write([]byte(fullResponse))
		}
		_ = nc.Close()
		if l.full != nil {
			l.full()
		}
		return nil
	}
	return c
}

func (l *Listener) remove(c *Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

// Open is the number of open connections.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

// Close stops accepting. Open connections stay.
func (l *Listener) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	l.mu.Unlock()
	return l.Listener.Close()
}

// Cut closes every open connection at once.
func (l *Listener) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close()
	}
}

func (l *Listener) take() []byte { return l.pool.Get().(*[bufferSize]byte)[:] }

// give takes a buffer back; one that was grown is left to the collector.
func (l *Listener) give(b []byte) {
	if len(b) == bufferSize {
		l.pool.Put((*[bufferSize]byte)(b))
	}
}
