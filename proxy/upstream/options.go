package upstream

import (
	"context"
	"net"
)

const (
	defaultSetting    = "upstream"
	defaultMaxHead    = 64 << 10
	defaultMaxWaiting = 4096
	// readBuffer is what an idle connection keeps. A larger response head gets a
	// larger buffer for its own exchange.
	readBuffer = 8 << 10
	// smallBody is the largest request body that is read in full before a
	// connection is taken, and sent together with its head in one write.
	smallBody = 32 << 10
	// maxInterim bounds the 1xx responses before the final one.
	maxInterim = 8
)

// DialFunc opens a connection. network is "tcp" or "unix".
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

type options struct {
	setting    string
	onChange   func(available bool, cause error)
	maxHead    int
	maxWaiting int
	dial       DialFunc
}

// Option changes what Config does not cover.
type Option func(*options)

// WithSetting says under which key the Config stands, for messages. The default is
// upstream.
func WithSetting(key string) Option { return func(o *options) { o.setting = key } }

// WithOnChange sets what is called when requests are refused from now on, with the
// cause, and when they are sent again. It is called in the goroutine that found out,
// must not block, and must not use the client.
func WithOnChange(f func(available bool, cause error)) Option {
	return func(o *options) { o.onChange = f }
}

// WithMaxHead bounds the bytes of one response head; a larger one is an
// ErrBadResponse. The default is 64 KiB.
func WithMaxHead(bytes int) Option { return func(o *options) { o.maxHead = bytes } }

// WithMaxWaiting bounds the requests that wait for a connection; one more gets
// ErrNoConnection at once. The default is 4096.
func WithMaxWaiting(n int) Option { return func(o *options) { o.maxWaiting = n } }

// WithDial replaces the dialler. The context ends after Timeouts.Connect. TLS is
// spoken over what it gives when the URL is https.
func WithDial(dial DialFunc) Option { return func(o *options) { o.dial = dial } }
