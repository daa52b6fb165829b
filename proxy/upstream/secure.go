package upstream

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

// closeGrace bounds the wait to say close_notify to an application that takes no
// more bytes.
const closeGrace = 100 * time.Millisecond

// handshake speaks TLS on a new connection, which it closes on failure.
func (c *Client) handshake(ctx context.Context, nc net.Conn) (net.Conn, error) {
	w := &wire{Conn: nc}
	w.probe.init(nc)
	s := &secure{Conn: tls.Client(w, c.tls), wire: w}
	if err := s.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return s, nil
}

// handshakeRemedy says what to do about a handshake that failed.
func (c *Client) handshakeRemedy(err error) string {
	return tlsfiles.Remedy(err, c.tls.ServerName, c.opt.setting, c.opt.setting+".url")
}

// secure is a TLS connection that can be looked at without waiting.
type secure struct {
	*tls.Conn
	wire  *wire
	spare [1]byte
}

// Read tells a connection that was cut from one that ended: only the latter has a
// close_notify, and a body that ends with it is complete (RFC 9112 §9.8).
func (s *secure) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err == io.EOF && s.wire.ended {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// look decides as conn.look does. Bytes in the socket are no proof of anything:
// a TLS 1.3 server sends its session tickets after the handshake, often with the
// first response. So TLS itself reads them, from a wire that gives what has arrived
// and does not wait for more. That also finds what TLS has deciphered but nobody
// has read, and what it has not deciphered yet.
func (s *secure) look() verdict {
	// TLS may have to answer, to a key update; the last exchange's deadline has
	// passed. The next exchange sets its own.
	if s.SetWriteDeadline(time.Time{}) != nil {
		return gone
	}
	s.wire.dry = true
	n, err := s.Conn.Read(s.spare[:])
	s.wire.dry = false
	switch {
	case n > 0:
		return unsolicited
	case err != errQuiet:
		return gone
	case s.wire.records.partial():
		// What it will be is not known before its end. Were it data, it would be
		// read as the answer to the next request.
		return unsolicited
	}
	return quiet
}

// Close says close_notify, where that takes no long wait: the pool closes under
// its mutex.
func (s *secure) Close() error {
	s.wire.closing.Store(true)
	return s.Conn.Close()
}

// wire is the connection under TLS.
type wire struct {
	net.Conn
	probe   prober
	dry     bool // do not wait for bytes
	ended   bool // it ended, whether or not TLS had said so
	closing atomic.Bool
	records records
}

func (w *wire) Read(p []byte) (n int, err error) {
	if w.dry {
		n, err = w.probe.read(w.Conn, p)
	} else {
		n, err = w.Conn.Read(p)
	}
	w.records.see(p[:n])
	w.ended = w.ended || err == io.EOF
	return n, err
}

func (w *wire) SetWriteDeadline(t time.Time) error {
	if w.closing.Load() {
		if soon := time.Now().Add(closeGrace); t.IsZero() || t.After(soon) {
			t = soon
		}
	}
	return w.Conn.SetWriteDeadline(t)
}

// records follows the TLS records in the bytes that arrive (RFC 8446 §5.1): a type,
// a version and a length, then the content.
type records struct {
	head [5]byte
	n    int // bytes of head seen
	left int // bytes of the content still to come
}

func (r *records) see(p []byte) {
	for len(p) > 0 {
		if r.left > 0 {
			n := min(r.left, len(p))
			r.left -= n
			p = p[n:]
			continue
		}
		n := copy(r.head[r.n:], p)
		r.n += n
		p = p[n:]
		if r.n == len(r.head) {
			r.n, r.left = 0, int(r.head[3])<<8|int(r.head[4])
		}
	}
}

// partial says that a record has begun and not ended.
func (r *records) partial() bool { return r.n > 0 || r.left > 0 }
