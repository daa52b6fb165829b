package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/internal/tlsfiles"
)

const (
	dialTimeout = 5 * time.Second
	// busyPause is the time from one try to the next at a Unix socket that is busy.
	busyPause = 5 * time.Millisecond
)

// dialError is a failure to connect: the request has not been sent, or not been read.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func (t *transport) dial(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	raw, err := t.connect(ctx)
	if err != nil {
		return dialFailed(ctx, err)
	}
	t.raw, t.conn = raw, raw
	if t.target.tls != nil {
		if err := t.handshake(ctx); err != nil {
			t.close()
			return dialFailed(ctx, t.explained(err))
		}
	}
	t.idle.watch(raw)
	t.ask.Watch(t.conn)
	t.br.Reset(t)
	return nil
}

// connect opens a connection. Where the kernel's queue of those that the application has
// not accepted yet is full, TCP waits for room; Linux refuses at once for a Unix socket.
func (t *transport) connect(ctx context.Context) (net.Conn, error) {
	for end := time.Now().Add(dialTimeout); ; {
		raw, err := t.dialer.DialContext(ctx, t.target.network, t.target.addr)
		if !errors.Is(err, syscall.EAGAIN) || t.target.network != "unix" || time.Now().After(end) {
			return raw, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(busyPause):
		}
	}
}

// handshake speaks TLS on the new connection.
func (t *transport) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	tc := tls.Client(t.raw, t.target.tls)
	t.conn = tc
	return tc.HandshakeContext(ctx)
}

// refused says whether err is the application's end of a handshake that was over for us:
// in TLS 1.3 it looks at the client certificate only then. On a connection without an
// answer so far, it says that nobody has read the request.
func (t *transport) refused(err error) bool { return t.target.tls != nil && tlsfiles.Refused(err) }

// explained says what to do about a handshake that failed.
func (t *transport) explained(err error) error {
	return fmt.Errorf("%s: %w", tlsfiles.Remedy(err, t.target.tls.ServerName, t.target.tlsAt, t.target.urlKey), err)
}

// dialFailed tells a failed dial from one that the caller has ended.
func dialFailed(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	return dialError{err}
}
