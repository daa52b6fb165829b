package proxy

import "github.com/valyala/fasthttp"

// HandleOnly has all requests go through Handle, from now on.
func (s *Server) HandleOnly() { s.direct = nil }

// OnHandle has f called for each request that comes to Handle.
func (s *Server) OnHandle(f func()) {
	next := s.http.Handler
	s.http.Handler = func(ctx *fasthttp.RequestCtx) {
		f()
		next(ctx)
	}
}
