package proxy

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/proxy/wire"
)

// Server is the HTTP listener in front of a Handler.
type Server struct {
	http   *fasthttp.Server
	limits wire.Limits
	full   func()
	direct wire.Direct

	mu        sync.Mutex
	listeners []*wire.Listener
}

// NewServer makes a server with the limits of cfg. It adds nothing to a response
// that the application did not send.
func NewServer(h *Handler, cfg ServerConfig, log zerolog.Logger) *Server {
	limits := wire.Limits{
		Header: cfg.HeaderTimeout, Body: cfg.ReadTimeout, MaxHeader: int(cfg.MaxHeader),
		MaxConnections: cfg.MaxConnections, MaxAge: cfg.MaxConnectionAge, MaxRequests: cfg.MaxRequests,
		Idle: cfg.IdleTimeout, Write: cfg.WriteTimeout,
	}
	return &Server{limits: limits, direct: h.direct, full: func() { h.stats.refused("connections") }, http: &fasthttp.Server{
		Handler:      h.Handle,
		ErrorHandler: h.malformed,
		// For the first byte of a connection, which is also that of a TLS handshake.
		ReadTimeout:    cfg.HeaderTimeout,
		WriteTimeout:   cfg.WriteTimeout,
		IdleTimeout:    cfg.IdleTimeout,
		ReadBufferSize: int(cfg.MaxHeader) + 64, // a whole head: wire gives no part of one
		// Header and body of most responses in one write: fasthttp's own way to that, writev,
		// is for bare TCP connections. Only responses under way have such a buffer.
		WriteBufferSize: 32 << 10,
		// One more than wire lets in: it turns the others away with a reason.
		Concurrency: cfg.MaxConnections + 1,
		// Idle connections hold no buffers. Without it, wire's reading ahead would
		// keep one of ReadBufferSize for each.
		ReduceMemoryUsage:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		KeepHijackedConns:            true, // a tunnel outlives the call that takes it over
		Logger:                       quietLogger{log},
	}}
}

// Serve accepts connections until the listener is closed or Shutdown is called.
func (s *Server) Serve(ln net.Listener) error {
	l := wire.Listen(ln, s.limits, s.full)
	l.Answer(s.direct)
	s.mu.Lock()
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	return s.http.Serve(l)
}

// Shutdown stops accepting, lets requests in flight finish until ctx ends, and
// closes idle connections. With the end of ctx the others are closed too.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, l := range s.all() {
		l.Drain()
	}
	err := s.http.ShutdownWithContext(ctx)
	if err != nil {
		for _, l := range s.all() {
			l.Cut()
		}
	}
	return err
}

func (s *Server) all() []*wire.Listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listeners
}

// OpenConnections is the number of client connections now.
func (s *Server) OpenConnections() (n int) {
	for _, l := range s.all() {
		n += l.Open()
	}
	return n
}

// malformed answers what fasthttp could not read as a request.
func (h *Handler) malformed(ctx *fasthttp.RequestCtx, err error) {
	x := h.acquire(ctx)
	defer h.finish(x)
	r := refusal{fasthttp.StatusBadRequest, "malformed", "The request is malformed."}
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		r = refusal{fasthttp.StatusRequestHeaderFieldsTooLarge, "header_too_large", "The header is larger than server.max_header."}
	case errors.Is(err, fasthttp.ErrUnsupportedTransferEncoding):
		r = refuseCoding
	}
	x.refuse(&r)
	ctx.Response.SkipBody = x.wire != nil && x.wire.Request().Head
}

// quietLogger gives fasthttp's own lines, which are about single connections, the
// level debug.
type quietLogger struct{ log zerolog.Logger }

func (l quietLogger) Printf(format string, args ...any) { l.log.Debug().Msgf(format, args...) }
