package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/internal/splice"
)

// bufferSize is what a request's head usually fits in. A larger one gets a larger
// buffer for its own life.
const bufferSize = 4 << 10

// placeholder is what fasthttp reads in place of what was no request: the handler
// answers with Message.Refusal.
const placeholder = " / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n"

// Conn is one client connection. Read belongs to fasthttp and gives heads, Body to
// the request being served. One request is under way at a time: nothing of the next
// is handed out before the last was answered.
type Conn struct {
	net.Conn
	limits *Limits
	ln     *Listener
	born   time.Time
	fill   filler
	socket syscall.RawConn // nil where bytes cannot be moved to it; see Move
	one    [1]byte

	buf  []byte // nil while nothing is buffered
	r, w int    // what of buf was received and not yet used

	head  head
	out   []byte // what of the head fasthttp has not read yet
	msg   Message
	body  Body
	taken bool // a request was handed out: its body comes first
	raw   bool // the connection speaks another protocol now

	// Of the requests that Direct answers; see direct.go.
	Parked    Parked // what Direct leaves for who serves the request that it passed
	state     atomic.Int32
	served    uint64        // requests so far
	idleSince time.Time     // the last answer of Direct
	blind     bool          // the wait began without a look at the socket
	readBy    atomic.Int64  // the deadlines that are set, as times since born; 0 for none
	writeBy   time.Duration //
	parts     [2][]byte
	vec       net.Buffers

	write    sync.Mutex // orders the final response and what is said before it
	answered bool       // the final response has begun
	linger   atomic.Bool
	closed   atomic.Bool
}

func newConn(nc net.Conn, ln *Listener) *Conn {
	c := &Conn{Conn: nc, limits: &ln.limits, ln: ln, born: time.Now(), socket: splice.Socket(nc)}
	c.fill.init(c)
	c.body.c = c
	return c
}

// Request is what the framing says of the request being served. It is valid until
// the next one.
func (c *Conn) Request() *Message { return &c.msg }

// Body reads the body of the request being served.
func (c *Conn) Body() *Body { return &c.body }

// IsTLS says whether the connection is encrypted.
func (c *Conn) IsTLS() bool {
	_, ok := c.Conn.(*tls.Conn)
	return ok
}

// Raw hands the connection over to another protocol: Read gives every byte from here
// on, those first that came with the request. The Listener does not count it any more,
// and Cut leaves it to whoever has it.
func (c *Conn) Raw() {
	c.raw = true
	c.ln.remove(c)
}

// CloseAfter says that the connection is closed with the next answer, which the client
// gets the time to read.
func (c *Conn) CloseAfter() { c.linger.Store(true) }

// Expired says that the connection has reached its limit of age or of requests, the one
// being served included.
func (c *Conn) Expired(now time.Time) bool {
	return c.limits.MaxAge > 0 && now.Sub(c.born) > c.limits.MaxAge ||
		c.limits.MaxRequests > 0 && c.served >= uint64(c.limits.MaxRequests)
}

// CloseWrite ends the sending direction.
func (c *Conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Read gives the head of the next request, once all of it is there and its framing
// is understood.
func (c *Conn) Read(p []byte) (int, error) {
	if c.raw {
		return c.readRaw(p)
	}
	if len(c.out) == 0 {
		if err := c.next(); err != nil {
			c.release()
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

func (c *Conn) readRaw(p []byte) (int, error) {
	if c.r == c.w {
		c.release()
		return c.Conn.Read(p)
	}
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	return n, nil
}

// next waits for a head. io.EOF ends the connection without an answer.
func (c *Conn) next() error {
	if c.msg.Refusal != nil || c.taken && !c.body.finish() {
		return io.EOF
	}
	c.begin()
	for {
		switch c.advance() {
		case turnOut:
			return nil
		case turnEnd:
			return io.EOF
		case turnPartial:
			c.armHeader()
		case turnBody:
			c.armBody()
		case turnEmpty:
			if c.state.Load() == waiting {
				c.rest(false)
			}
		}
		if err := c.more(); err != nil {
			switch {
			case c.head.end > 0:
				return c.unwait()
			case !c.look(err):
				return c.ended(err)
			}
		}
		if len(c.out) > 0 {
			return nil
		}
	}
}

// begin forgets the last request.
func (c *Conn) begin() {
	if c.r == c.w {
		c.release()
	}
	c.msg, c.taken = Message{}, false
	c.head.reset(c.r)
	c.write.Lock()
	c.answered = false
	c.write.Unlock()
}

// deliver hands a checked head out.
func (c *Conn) deliver() {
	c.out = c.buf[c.head.start:c.kept()]
	c.taken = true
	if c.r < c.head.end { // else the body was made ready for Direct
		c.r = c.head.end
		c.body.begin(&c.msg)
	}
	c.head.end = 0
}

// kept is where a complete head ends, without the lines that were cut.
func (c *Conn) kept() int {
	if c.head.keep > 0 {
		return c.head.keep
	}
	return c.head.end
}

func (c *Conn) refuse(r *Refusal) error {
	c.msg = Message{Refusal: r, Head: isHead(c.buf[min(c.head.start, c.w):c.w])}
	method := "GET"
	if c.msg.Head {
		method = "HEAD"
	}
	c.out = []byte(method + placeholder)
	c.linger.Store(true)
	return nil
}

func isHead(line []byte) bool { return bytes.HasPrefix(line, []byte("HEAD ")) }

// ended judges the end of the connection, or of patience. Where a request had begun
// and did not arrive in time, the client is told.
func (c *Conn) ended(err error) error {
	var plain tls.RecordHeaderError
	switch {
	case c.head.start < c.w && errors.Is(err, os.ErrDeadlineExceeded):
		return c.refuse(&refuseTimeout)
	case errors.As(err, &plain) && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader[:]):
		_, _ = io.WriteString(plain.Conn, plainResponse)
	}
	return io.EOF
}

// looksLikeHTTP says whether a TLS record's header is the begin of a request line.
func looksLikeHTTP(b []byte) bool {
	for _, c := range b {
		if (c < 'A' || c > 'Z') && c != ' ' && c != '/' {
			return false
		}
	}
	return true
}

// plainResponse answers a client that does not speak TLS where it is spoken.
const plainResponse = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: 91\r\n\r\n" +
	`{"type":"about:blank","title":"Bad Request","status":400,"detail":"This is an HTTPS port."}`

// armHeader bounds the wait for the rest of a head: once, from its first byte.
func (c *Conn) armHeader() {
	if c.head.armed || c.limits.Header <= 0 {
		return
	}
	c.head.armed = true
	_ = c.SetReadDeadline(time.Now().Add(c.limits.Header))
}

// more waits for bytes, with room for them.
func (c *Conn) more() error {
	if c.buf != nil {
		c.room()
	}
	return c.fill.read(c)
}

// room makes place at the end of the buffer.
func (c *Conn) room() {
	if c.w < len(c.buf) {
		return
	}
	from := c.r
	if !c.taken {
		from = c.head.start
		c.head.moved(from)
		c.r = from
	}
	if from == 0 || c.w-from > len(c.buf)/2 {
		old := c.buf
		c.buf = make([]byte, 2*len(old))
		copy(c.buf, old[from:c.w])
		c.ln.give(old)
	} else {
		copy(c.buf, c.buf[from:c.w])
	}
	c.w -= from
	c.r -= from
}

// release gives the buffer back while nothing is in it: an idle connection has none.
func (c *Conn) release() {
	if c.buf != nil {
		c.ln.give(c.buf)
	}
	c.buf, c.r, c.w = nil, 0, 0
}

// Write sends a part of the final response.
func (c *Conn) Write(p []byte) (int, error) {
	c.write.Lock()
	defer c.write.Unlock()
	c.answered = true
	return c.Conn.Write(p)
}

// WriteInterim sends a 1xx response, unless the final one has begun.
func (c *Conn) WriteInterim(p []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	if c.answered {
		return nil
	}
	_, err := c.Conn.Write(p)
	return err
}

// Abort has Close reset the connection: the client must not take what it got for the
// whole.
func (c *Conn) Abort() {
	nc := c.Conn
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.linger.Store(false)
}

// Close ends the connection. When the client may still be sending, it gets the time to
// read the answer first: closing with unread bytes would reset the connection and
// could take the answer away (RFC 9112 §9.6).
func (c *Conn) Close() error {
	if c.state.CompareAndSwap(answering, closing) {
		return nil // an answer of Direct is under way: the connection ends with it
	}
	if c.closed.Swap(true) {
		return nil
	}
	c.ln.remove(c)
	c.drop()
	if c.linger.Load() {
		c.lingerOn()
	}
	return c.Conn.Close()
}

const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

func (c *Conn) lingerOn() {
	if c.CloseWrite() != nil || c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	buf := c.ln.take()
	defer c.ln.give(buf)
	for left := lingerBytes; left > 0; {
		n, err := c.Conn.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}
