package proxy

import (
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/splice"
)

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

// UsePipes has large bodies go through at most max pipes, by call. local is for clients on
// this machine, too.
func (h *Handler) UsePipes(max int, call splice.Call, local bool) {
	h.pipes, h.moveToLocal = splice.New(max, call), local
}

// PipesLeft is how many pipes are not in use.
func (h *Handler) PipesLeft() int { return h.pipes.Left() }

const (
	MaxPipes = maxPipes
	MoveFrom = moveFrom
)
