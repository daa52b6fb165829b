package upstream

import (
	"bufio"
	"net"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/internal/nonblock"
	"github.com/pillion-proxy/pillion/internal/splice"
)

// conn is one connection to the application. Between two exchanges it lies in
// the pool; during one it belongs to that exchange alone.
type conn struct {
	nc        net.Conn
	src       source
	br        *bufio.Reader
	probe     prober    // of nc, unless it is
	tls       *secure   // TLS
	abort     func()    // closes nc; made once, so that watching a context needs no closure
	idleSince time.Time // when it was put into the pool
	index     int       // its place in pool.all; -1 when the pool does not own it
}

func newConn(nc net.Conn) *conn {
	cn := &conn{nc: nc, index: -1}
	cn.src.nc, cn.src.socket = nc, splice.Socket(nc)
	cn.br = bufio.NewReaderSize(&cn.src, readBuffer)
	if s, ok := nc.(*secure); ok {
		cn.tls = s
	} else {
		cn.probe.init(nc)
		cn.src.exchange.Watch(nc)
	}
	cn.abort = func() { _ = nc.Close() }
	return cn
}

// close may be called more than once and from any goroutine.
func (cn *conn) close() { _ = cn.nc.Close() }

// grow doubles the read buffer. bufio.Reader cannot grow, so the bytes that are
// buffered pass through src.pending into the new one.
func (cn *conn) grow() {
	held, _ := cn.br.Peek(cn.br.Buffered())
	cn.src.pending = append([]byte(nil), held...)
	cn.br = bufio.NewReaderSize(&cn.src, 2*cn.br.Size())
}

// shrink gives the buffer of a large head back before the connection idles.
func (cn *conn) shrink() {
	if cn.br.Size() > readBuffer {
		cn.br = bufio.NewReaderSize(&cn.src, readBuffer)
	}
}

// look decides whether a pooled connection may carry another request. Bytes that
// lie in its buffer or socket were sent without a request; were they left there,
// they would be read as the answer to the next one.
func (cn *conn) look(now time.Time, maxAge time.Duration) verdict {
	if cn.br.Buffered() > 0 {
		return unsolicited
	}
	if now.Sub(cn.idleSince) > maxAge {
		return gone
	}
	if cn.tls != nil {
		return cn.tls.look()
	}
	if cn.src.askable() {
		cn.src.look = true
		return quiet // as far as is known: see source.ask
	}
	return cn.probe.look(cn)
}

// source is the io.Reader under a connection's buffer. It applies the deadline
// of the phase: in a body each read has one of its own, so a stream may last for
// ever as long as it moves; in a head the reader sets one for all of it.
type source struct {
	nc      net.Conn
	socket  syscall.RawConn // of nc, where bytes can be moved from it; see Body.Move
	pending []byte
	idle    time.Duration // 0: the deadline is set elsewhere
	got     bool          // a byte arrived since the exchange began
	look    bool          // the connection was pooled, and nobody has looked at it yet
	found   verdict       // of that look
	// The request that the first read sends, if there is one: see ask.
	request  []byte
	exchange nonblock.Exchange
	// The deadlines that are set, where that is known.
	readBy, writeBy time.Time
}

// arm sets both deadlines to d from now, unless they are about there: setting one costs
// more than most of what an exchange does.
func (s *source) arm(now time.Time, d time.Duration) error {
	if by, most := now.Add(d), now.Add(d+d/16); s.readBy.Before(by) || s.writeBy.Before(by) || s.readBy.After(most) || s.writeBy.After(most) {
		s.readBy, s.writeBy = most, most
		return s.nc.SetDeadline(most)
	}
	return nil
}

// readUntil sets the read deadline.
func (s *source) readUntil(t time.Time) error {
	s.readBy = t
	return s.nc.SetReadDeadline(t)
}

// extend gives the next read the idle time. A deadline that is about right stays, as in arm.
func (s *source) extend() error {
	if s.idle <= 0 {
		return nil
	}
	by := time.Now().Add(s.idle)
	if most := by.Add(s.idle / 16); s.readBy.Before(by) || s.readBy.After(most) {
		return s.readUntil(most)
	}
	return nil
}

// disarmed: the deadlines are somebody else's to set, for this exchange.
func (s *source) disarmed() { s.readBy, s.writeBy = time.Time{}, time.Time{} }

func (s *source) Read(p []byte) (int, error) {
	if len(s.pending) > 0 {
		n := copy(p, s.pending)
		s.pending = s.pending[n:]
		return n, nil
	}
	if err := s.extend(); err != nil {
		return 0, err
	}
	if s.request != nil {
		return s.ask(p)
	}
	n, err := s.nc.Read(p)
	if n > 0 {
		s.got = true
	}
	return n, err
}
