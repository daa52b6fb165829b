package proxy

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// Server is the HTTP listener in front of a Handler.
type Server struct {
	http *fasthttp.Server
}

// NewServer makes a server with the limits of cfg. It adds nothing to a response
// that the application did not send.
func NewServer(h *Handler, cfg ServerConfig, log zerolog.Logger) *Server {
	return &Server{http: &fasthttp.Server{
		Handler:                      h.Handle,
		ErrorHandler:                 h.malformed,
		ReadTimeout:                  cfg.ReadTimeout,
		WriteTimeout:                 cfg.WriteTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		ReadBufferSize:               int(cfg.MaxHeader),
		Concurrency:                  cfg.MaxConnections,
		StreamRequestBody:            true,
		MaxRequestBodySize:           1, // what is waited for before the handler runs; the bound is bodyReader's
		ExpectHandler:                h.expect,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		TCPKeepalive:                 true,
		TCPKeepalivePeriod:           30 * time.Second,
		SecureErrorLogMessage:        true,
		KeepHijackedConns:            true, // a tunnel outlives the call that takes it over
		Logger:                       quietLogger{log},
	}}
}

// Serve accepts connections until the listener is closed or Shutdown is called.
func (s *Server) Serve(ln net.Listener) error { return s.http.Serve(ln) }

// Shutdown stops accepting, lets requests in flight finish until ctx ends, and
// closes idle connections.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.ShutdownWithContext(ctx) }

// OpenConnections is the number of client connections now.
func (s *Server) OpenConnections() int { return int(s.http.GetOpenConnectionsCount()) }

// expect answers Expect: 100-continue before the client sends a body (RFC 9110
// §10.1.1): one that says that it is too large is not asked for.
func (h *Handler) expect(ctx *fasthttp.RequestCtx) int {
	if int64(ctx.Request.Header.ContentLength()) > int64(h.snap.Load().server.MaxBody) {
		h.stats.refused(refuseBody.reason)
		return fasthttp.StatusRequestEntityTooLarge
	}
	return fasthttp.StatusContinue
}

// malformed answers what fasthttp could not read as a request.
func (h *Handler) malformed(ctx *fasthttp.RequestCtx, err error) {
	x := h.acquire(ctx)
	defer h.finish(x)
	r := refusal{fasthttp.StatusBadRequest, "malformed", "The request is malformed."}
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.As(err, &small):
		r = refusal{fasthttp.StatusRequestHeaderFieldsTooLarge, "header_too_large", "The header is larger than server.max_header."}
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		r = refuseBody
	case errors.As(err, &timeout) && timeout.Timeout():
		r = refusal{fasthttp.StatusRequestTimeout, "timeout", "The request did not arrive in time."}
	case errors.Is(err, fasthttp.ErrUnsupportedTransferEncoding):
		r = refuseCoding
	}
	x.refuse(&r)
}

// quietLogger gives fasthttp's own lines, which are about single connections, the
// level debug.
type quietLogger struct{ log zerolog.Logger }

func (l quietLogger) Printf(format string, args ...any) { l.log.Debug().Msgf(format, args...) }
