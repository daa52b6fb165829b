package proxy

import (
	"bytes"
	"crypto/rand"
	"io"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// serveRange answers a request with Range from a complete stored response: 206 with
// one part or several, or 416 (RFC 9110 §14). It is false when the whole is to be
// sent.
func (x *exchange) serveRange(s *stored) bool {
	if !x.isGet() {
		return false
	}
	body := s.entry.Body
	plan := cache.PlanRange(x.conditions(), s.header, s.entry.Status, int64(len(body)), time.UnixMilli(s.entry.StoredAt))
	h := &x.ctx.Response.Header
	switch {
	case plan.Status == fasthttp.StatusOK:
		return false
	case plan.Status == fasthttp.StatusRequestedRangeNotSatisfiable:
		x.scratch = plan.AppendContentRange(x.scratch[:0], 0)
		cr := string(x.scratch)
		x.problem(plan.Status, "None of the ranges is within the response.", "Content-Range: "+cr+"\r\n")
		return true
	case plan.N == 1:
		x.scratch = plan.AppendContentRange(x.scratch[:0], 0)
		h.SetBytesV(fasthttp.HeaderContentRange, x.scratch)
		x.ctx.Response.SetBodyRaw(body[plan.Parts[0].Start:plan.Parts[0].End])
	default:
		boundary := rand.Text()
		segments, length := plan.Multipart(body, boundary, s.header.Get("Content-Type"))
		h.SetContentType(cache.MultipartType(boundary))
		readers := make([]io.Reader, len(segments))
		for i := range segments {
			readers[i] = bytes.NewReader(segments[i])
		}
		x.stream(io.MultiReader(readers...), int(length))
	}
	x.setStatus(plan.Status)
	return true
}
