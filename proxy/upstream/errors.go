package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// The kinds of failure. An error from this package wraps exactly one of them, or
// the error of the caller's context; test with errors.Is. ErrTimeout is a 504 to
// the client, ErrNoConnection and ErrUnavailable a 503, ErrRequestBody the client's own failure,
// everything else a 502.
var (
	// ErrConnect: no connection could be opened (refused, unreachable, timeout).
	ErrConnect = errors.New("cannot connect")
	// ErrNoConnection: every connection stayed busy, or the client is closed.
	ErrNoConnection = errors.New("no connection available")
	// ErrUnavailable: the breaker is open, and no connection was tried. The error is
	// an *UnavailableError.
	ErrUnavailable = errors.New("unavailable")
	// ErrTimeout: the application kept the connection but did not go on in time.
	ErrTimeout = errors.New("timeout")
	// ErrReset: the connection ended before the response, or the request, was complete.
	ErrReset = errors.New("connection closed by the application")
	// ErrBadResponse: the response breaks HTTP/1.1 or a limit of this client.
	ErrBadResponse = errors.New("malformed response")
	// ErrRequestBody: reading the request body failed; its cause is wrapped too.
	ErrRequestBody = errors.New("cannot read the request body")
	// ErrClosed: the client was closed. It wraps ErrNoConnection.
	ErrClosed = fmt.Errorf("%w: upstream client closed", ErrNoConnection)
)

// errBodyClosed is what a Body returns that is read after Close.
var errBodyClosed = errors.New("upstream: read of a closed body")

// bad makes an ErrBadResponse that says what is wrong.
func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrBadResponse, fmt.Sprintf(format, args...))
}

// fail names the application and the kind of failure. The caller's own context
// comes first: its end closes the connection, and what the connection reports
// then ("use of closed network connection") explains nothing.
func (c *Client) fail(ctx context.Context, kind error, what string, cause error) error {
	if err := ctx.Err(); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("upstream %s: %w: the request's own deadline passed: %w", c.url, ErrTimeout, err)
		}
		return fmt.Errorf("upstream %s: the request was given up: %w", c.url, err)
	}
	if cause == nil {
		return fmt.Errorf("upstream %s: %w: %s", c.url, kind, what)
	}
	return fmt.Errorf("upstream %s: %w: %s: %w", c.url, kind, what, cause)
}

// isTimeout reports a passed deadline, for net.Conn of any kind.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// truncated turns the end of the stream inside a message into the error that says so.
func truncated(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
