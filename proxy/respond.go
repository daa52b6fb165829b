package proxy

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
)

// serve answers with a stored response: 304 when the client has it already. The
// body is not copied.
func (x *exchange) serve(s *stored, st cache.Status) {
	resp := &x.ctx.Response
	if p := s.prepared.Load(); p != nil {
		p.CopyTo(&resp.Header)
	} else {
		x.prepare(s)
	}
	h := &resp.Header
	x.scratch = strconv.AppendInt(x.scratch[:0], int64(s.entry.Age(x.now)/time.Second), 10)
	h.SetCanonical([]byte("Age"), x.scratch)
	x.status = s.entry.Status
	if x.isUnmodified(s) {
		x.notModified(s)
	} else if !x.ranged || !x.serveRange(s) {
		resp.SetBodyRaw(s.entry.Body)
	}
	x.addStatus(st)
}

// prepare parses the stored header into the response and, if it is not the first time,
// keeps a copy for the next hits. It is copied from a response of the server, since that carries the server's
// settings too.
func (x *exchange) prepare(s *stored) {
	head := appendStatusLine(make([]byte, 0, len(s.entry.Header)+64), s.entry.Status)
	head = append(head, s.entry.Header...)
	head = append(head, "Content-Length: 0\r\n\r\n"...)
	x.readHead(string(head))
	x.h.tasks.drop(&x.ctx.Response.Header) // of an entry from before enqueue was on
	if !s.parsed.Swap(true) {
		return
	}
	p := new(fasthttp.ResponseHeader)
	x.ctx.Response.Header.CopyTo(p)
	s.prepared.Store(p)
	s.grown()
}

func appendStatusLine(b []byte, status int) []byte {
	b = strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10)
	b = append(append(b, ' '), fasthttp.StatusMessage(status)...)
	return append(b, "\r\n"...)
}

// isUnmodified says whether the client has what is stored already: it gets a 304.
func (x *exchange) isUnmodified(s *stored) bool {
	c := x.conditions()
	return len(c) > 0 && cache.NotModified(c, s.fields(), s.entry.Status, time.UnixMilli(s.entry.StoredAt))
}

// notModified turns the response into a 304 (RFC 9110 §15.4.5).
func (x *exchange) notModified(s *stored) {
	h := &x.ctx.Response.Header
	hasETag := s.header.Has("ETag")
	for i := range s.header {
		if name := s.header[i].Name; !cache.In304(name, hasETag) {
			h.DelBytes(name)
		}
	}
	h.Del(fasthttp.HeaderContentLength)
	x.ctx.Response.ResetBody()
	x.setStatus(fasthttp.StatusNotModified)
}

// setStatus changes the status of a response that was parsed, which has kept its reason.
func (x *exchange) setStatus(status int) {
	x.ctx.Response.Header.SetStatusCode(status)
	x.ctx.Response.Header.SetStatusMessage(nil)
	x.status = status
}

// conditions gives the request's preconditions.
func (x *exchange) conditions() cache.Header {
	x.fields = x.fields[:0]
	for i := range x.lines {
		if l := &x.lines[i]; (l.kind == kindPass || l.kind == kindRange) && conditional(l.name) {
			x.fields = append(x.fields, cache.Field{Name: l.name, Value: l.value})
		}
	}
	return x.fields
}

// addStatus appends to Cache-Status (RFC 9211), after what caches behind us said.
func (x *exchange) addStatus(st cache.Status) {
	st = x.statusOf(st, x.keyed)
	x.scratch = cache.AppendStatus(x.scratch[:0], &st)
	x.ctx.Response.Header.AddBytesV("Cache-Status", x.scratch)
}

// statusOf adds who says it, and of which key.
func (x *exchange) statusOf(st cache.Status, keyed bool) cache.Status {
	st.Cache = "pillion"
	if x.snap.statusKey && keyed && x.scope == cache.ScopePublic {
		st.Key = x.keyText
	}
	return st
}
