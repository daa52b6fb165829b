package wire

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Outcome is what became of a request that was offered to Direct.
type Outcome uint8

// The outcomes.
const (
	// Passed: the request goes on to the server.
	Passed Outcome = iota
	// Answered: the answer has been written.
	Answered
	// Failed: it could not be written; the connection ends.
	Failed
	// unready: its body is waited for.
	unready
)

// Direct may answer a request without the server that reads from the Conn. It is
// offered each checked head as the server would get it, of a request without a body or
// with a small one that has come: Conn.Body gives that without waiting, and what was read
// of it when the request is passed is not given again. head, and what Conn.Request gives,
// stay valid until the next request of the connection, be the request answered or passed.
// at is when the answer was done.
//
// It must not read from the connection otherwise, and writes with Conn.Send alone.
type Direct func(c *Conn, head []byte) (did Outcome, at time.Time)

// cut ends the connection at once. To close the descriptor would wait for an answer of
// Direct that is under way, since that runs within a read: it is shut down instead, and
// closed when the answer has failed.
func (c *Conn) cut() {
	half, ok := c.Conn.(interface {
		CloseRead() error
		CloseWrite() error
	})
	if !ok || !c.state.CompareAndSwap(answering, closing) && c.state.Load() != closing {
		_ = c.Conn.Close()
		return
	}
	_ = c.Conn.SetDeadline(time.Unix(1, 0))
	_ = half.CloseRead()
	_ = half.CloseWrite()
}

// Parked is dropped when its connection ends before somebody has taken it.
type Parked interface{ Drop() }

func (c *Conn) drop() {
	if p := c.Parked; p != nil {
		c.Parked = nil
		p.Drop()
	}
}

// The states of a Conn, which tell Close and Drain what they would cut short.
const (
	serving   int32 = iota // or waiting in the server's own loop
	answering              // Direct runs, or the rest of a body for it is waited for
	waiting                // for the next request, after an answer of Direct
	closing                // Close came while Direct ran: the connection ends with its answer
)

// turn is what became of the bytes that are buffered.
type turn uint8

const (
	turnEmpty   turn = iota // all of them were answered
	turnPartial             // a head has begun
	turnBody                // a body for Direct has begun
	turnOut                 // c.out has something for the server
	turnEnd                 // the connection ends
)

// advance answers the requests that are buffered, up to one that the server must have.
func (c *Conn) advance() turn {
	for c.r < c.w {
		if c.head.end == 0 {
			end, refusal := c.head.feed(c.buf[:c.w], &c.msg, c.limits.MaxHeader)
			switch {
			case refusal != nil:
				_ = c.refuse(refusal)
				return turnOut
			case end == 0:
				return turnPartial
			}
			c.served++
			c.head.end = end
		}
		switch c.offer() {
		case Passed:
			c.deliver()
			return turnOut
		case Failed:
			return turnEnd
		case unready:
			return turnBody
		}
		c.r = c.head.end + int(c.msg.Size)
		if c.msg.Size > 0 {
			c.body.skip() // else the next request, without one, would have what is left of it
		}
		c.msg = Message{}
		c.head.reset(c.r)
		if c.answered {
			c.write.Lock()
			c.answered = false
			c.write.Unlock()
		}
	}
	c.release()
	c.head.reset(0)
	return turnEmpty
}

// offer lets Direct answer. While it does, Close waits for the answer.
func (c *Conn) offer() Outcome {
	if !c.suits() {
		if !c.state.CompareAndSwap(waiting, serving) {
			c.state.CompareAndSwap(answering, serving)
		}
		return Passed
	}
	if !c.state.CompareAndSwap(waiting, answering) && !c.state.CompareAndSwap(serving, answering) && c.state.Load() != answering {
		return Failed // closed
	}
	if c.msg.Size > 0 && !c.bodyCame() {
		return unready
	}
	did, at := c.ln.direct(c, c.buf[c.head.start:c.kept()])
	next := serving
	if did == Answered {
		next, c.idleSince = waiting, at
	}
	if !c.state.CompareAndSwap(answering, next) {
		c.drop() // Close came meanwhile
		return Failed
	}
	if did == Answered && c.ln.draining.Load() {
		return Failed
	}
	return did
}

// suits says whether a request is one for Direct. A body must fit into a buffer that is
// not grown, behind its head.
func (c *Conn) suits() bool {
	m := &c.msg
	return c.ln.direct != nil && !c.ln.draining.Load() && !m.expect && !m.http10 &&
		(m.Size == 0 || m.Size > 0 && m.Size <= int64(bufferSize-(c.head.end-c.head.start)))
}

// bodyCame says whether all of the body is here, and makes it ready to be read then.
func (c *Conn) bodyCame() bool {
	if int64(c.w-c.head.end) < c.msg.Size {
		return false
	}
	if c.head.waits {
		c.head.waits = false
		_ = c.SetReadDeadline(time.Time{})
	}
	c.r = c.head.end
	c.body.begin(&c.msg)
	return true
}

// bodyWait is for how long the rest of a small body is waited for before the server gets
// the request: it may have an answer that needs no body, and waits for that on its own.
const bodyWait = 100 * time.Millisecond

// armBody bounds that wait: once, from the first time that not all of the body was there.
func (c *Conn) armBody() {
	if c.head.waits {
		return
	}
	c.head.waits = true
	wait := bodyWait
	if limit := c.limits.Body; limit > 0 {
		wait = min(wait, limit)
	}
	_ = c.SetReadDeadline(time.Now().Add(wait))
}

// unwait gives the server a request whose body did not come at once, or never will.
func (c *Conn) unwait() error {
	if !c.state.CompareAndSwap(answering, serving) {
		return io.EOF // Close, or Cut, came meanwhile
	}
	_ = c.SetReadDeadline(time.Time{})
	c.deliver()
	return nil
}

// Send writes a part of an answer of Direct: head, then body, which may be empty. It
// moves the write deadline along only when half of it is gone: a timer for each answer
// would cost as much as a tenth of it.
func (c *Conn) Send(now time.Time, head, body []byte) error {
	if d := c.limits.Write; d > 0 {
		if at := now.Sub(c.born); c.writeBy < at+d {
			if err := c.SetWriteDeadline(now.Add(d + d/16)); err != nil {
				return err
			}
		}
	}
	if len(body) == 0 {
		rest, err := c.push(head)
		if err == nil && len(rest) > 0 {
			_, err = c.Conn.Write(rest)
		}
		return err
	}
	c.parts[0], c.parts[1] = head, body
	c.vec = c.parts[:]
	_, err := c.vec.WriteTo(c.Conn)
	c.parts = [2][]byte{}
	return err
}

// unseen bounds how long the end of a connection may go unseen; see rest.
const unseen = time.Second

// rest arms the deadline for the wait after an answer of Direct. drained says that the
// wait begins without a look at the socket, as nothing was in it when the last request
// was read and whatever came since wakes the reader. Only an end that came together with
// that request does not: so such a wait is short, and ends with a look. A deadline that
// is about right stays, since setting one costs more than most of what is done here.
func (c *Conn) rest(drained bool) {
	at, idle := c.idleSince.Sub(c.born), c.limits.Idle
	switch c.blind = drained; {
	case drained && (idle <= 0 || idle > unseen):
		if c.readBy.Load() < int64(at+unseen/2) || c.readBy.Load() > int64(at+unseen) {
			_ = c.SetReadDeadline(c.idleSince.Add(unseen))
		}
	case idle <= 0:
		_ = c.SetReadDeadline(time.Time{})
	case c.readBy.Load() < int64(at+idle) || c.readBy.Load() > int64(at+idle+idle/16):
		_ = c.SetReadDeadline(c.idleSince.Add(idle + idle/16))
	}
}

// look says whether a wait ended only because it was a blind one, and prepares the next,
// which begins with a look.
func (c *Conn) look(err error) bool {
	if !c.blind || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.rest(false)
	return true
}

// SetReadDeadline notes the deadline, for rest.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readBy.Store(int64(c.since(t)))
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline notes the deadline, for Send. It is called by who writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeBy = c.since(t)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline is both.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// since gives a deadline as Send and rest compare it; none is one that they replace.
func (c *Conn) since(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return t.Sub(c.born)
}

// Answer has the requests of connections that are accepted from now on offered to d
// first.
func (l *Listener) Answer(d Direct) { l.direct = d }

// Drain ends the connections that wait for a request after an answer of Direct, of which
// the server knows nothing, and offers Direct no more requests.
func (l *Listener) Drain() {
	l.draining.Store(true)
	l.mu.Lock()
	var idle []*Conn
	for c := range l.conns {
		if c.state.CompareAndSwap(waiting, closing) {
			idle = append(idle, c)
		}
	}
	l.mu.Unlock()
	for _, c := range idle {
		_ = c.Close()
	}
}

var (
	_ net.Conn  = (*Conn)(nil)
	_ io.Closer = (*Conn)(nil)
)
