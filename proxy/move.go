package proxy

import (
	"errors"
	"io"

	"github.com/pillion-proxy/pillion/internal/splice"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/proxy/wire"
)

const (
	// moveFrom is how much must be left of a body for a pipe to be worth it.
	moveFrom = 256 << 10
	// maxPipes bounds the answers that go through pipes at the same time: each that has a
	// slow client holds as much of the kernel's memory as a pipe does. Further ones are
	// copied.
	maxPipes = 32
)

// pipesTo gives the pipes, where they pay for this client. To one on this machine they do
// not: they spare this process about a third of its time, as measured over the loopback, but
// the client and the kernel's own threads take as much more, and a transfer is about a fifth
// slower than one that is copied in huge pieces.
func (h *Handler) pipesTo(c *wire.Conn) *splice.Pipes {
	if c == nil || c.Local() && !h.moveToLocal {
		return nil
	}
	return h.pipes
}

// movable is a body whose bytes can go from socket to socket; see upstream.Body.
type movable interface {
	Movable() int64
	Move(*splice.Pipe) (int, error)
}

// movable gives the body when what is left of it can go through a pipe and is worth that.
func (o *outgoing) movable(body io.Reader) movable {
	if o.pipes == nil || o.chunked || !o.conn.Movable() || !o.pipes.Free() {
		return nil
	}
	if m, ok := body.(movable); ok && m.Movable() >= moveFrom {
		return m
	}
	return nil
}

// move passes the body on through a pipe, until its end. done is false when there is none to
// be had or the kernel refuses, and when the application is slow: its small parts are copied,
// so that it keeps no pipe from others while it is waited for.
func (o *outgoing) move(body io.Reader) (total int64, done bool, err error) {
	m := o.movable(body)
	if m == nil {
		return 0, false, nil
	}
	pipe := o.pipes.Take()
	if pipe == nil {
		return 0, false, nil
	}
	defer o.pipes.Give(pipe)
	for {
		n, err := m.Move(pipe)
		if n > 0 {
			total += int64(n)
			if err = o.drain(pipe); err == nil && n < smallPiece/2 {
				return total, false, nil
			}
		}
		switch {
		case err == io.EOF:
			return total, true, nil
		case errors.Is(err, splice.ErrRefused):
			return total, false, nil
		case err != nil:
			return total, false, err
		}
	}
}

// drain sends what the pipe holds. Where the kernel refuses that, it sends it by copying it
// out, and gives splice.ErrRefused all the same.
func (o *outgoing) drain(pipe *splice.Pipe) error {
	refused := o.conn.Move(pipe, o.timeout)
	if !errors.Is(refused, splice.ErrRefused) {
		return refused
	}
	buf := make([]byte, largePiece)
	for pipe.Held() > 0 {
		n, err := pipe.Read(buf)
		if err == nil {
			err = o.conn.ExtendWrite(o.timeout)
		}
		if err == nil {
			_, err = o.conn.Write(buf[:n])
		}
		if err != nil {
			return err
		}
	}
	return refused
}

// Movable says how much is left that Move can give, as upstream.Body does.
func (a *answer) Movable() int64 {
	if c, ok := a.r.(*call); ok && len(c.first) == 0 {
		return c.body.Movable()
	}
	return 0
}

// Move gives the body to a pipe. Nothing in it can panic but what Read contains, too.
func (a *answer) Move(pipe *splice.Pipe) (int, error) {
	n, err := a.r.(*call).body.Move(pipe)
	a.n += int64(n)
	return n, err
}

var _, _ movable = (*answer)(nil), (*upstream.Body)(nil)
