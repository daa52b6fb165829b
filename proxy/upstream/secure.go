package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

// closeGrace bounds the wait to say close_notify to an application that takes no
// more bytes.
const closeGrace = 100 * time.Millisecond

// clientTLS builds the settings of the handshakes. There is no session cache: a
// resumed session would keep the client certificate that it began with.
func clientTLS(cfg TLS, host, at string) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if cfg.ServerName != "" {
		t.ServerName = cfg.ServerName
	}
	if cfg.MinVersion == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	var err error
	if cfg.CA != "" {
		if t.RootCAs, err = tlsfiles.Pool(cfg.CA); err != nil {
			return nil, fmt.Errorf("%s.tls.ca: %w", at, err)
		}
	}
	if cfg.Cert != "" || cfg.Key != "" {
		pair, err := tlsfiles.LoadPair(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, fmt.Errorf("%s.tls.cert and %s.tls.key: %w", at, at, err)
		}
		t.GetClientCertificate = pair.ForClient
	}
	return t, nil
}

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
	at := c.opt.setting
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("the certificate is of an authority that is not trusted: name the authority's file in %s.tls.ca", at)
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for another name than %q: set %s.tls.server_name to one that it has", c.tls.ServerName, at)
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate is not valid: renew it, or see %s.tls.ca and %s.tls.server_name", at, at)
	case errors.As(err, &record):
		return fmt.Sprintf("it does not speak TLS: write http:// in %s.url", at)
	case refusedHandshake(err):
		return fmt.Sprintf("it refused the TLS handshake: see %s.tls.cert, %s.tls.key and %s.tls.server_name", at, at, at)
	}
	return fmt.Sprintf("no TLS handshake: does it speak TLS, and is %s.url right?", at)
}

// refusedHandshake reports a TLS alert of the application.
func refusedHandshake(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
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
