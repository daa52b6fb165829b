package proxy

import (
	"bytes"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/wire"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// direct is Handle for what memory can answer at once, offered by wire before fasthttp
// sees the request: fasthttp's own reading of the request and writing of the answer would
// cost more than all else that a hit costs. It takes the steps of Handle in their order,
// by the same functions, and leaves whatever is not plain to Handle, which goes on from
// the step that was reached.
func (h *Handler) direct(w *wire.Conn, head []byte) (did wire.Outcome, at time.Time) {
	x := h.begin(w)
	w.Parked = nil
	defer func() {
		if p := recover(); p != nil {
			h.panicked("answering from memory", p)
			did = wire.Failed // how much was written is not known
		}
	}()
	if !x.plain(head) || x.canonical() != nil || x.upgrade || x.wantsPurge() || x.match() != nil {
		h.release(x)
		return wire.Passed, at
	}
	if x.recallSession() {
		if s := x.recallEntry(); s != nil {
			return x.answer(s)
		}
		if did, at, ok := x.directPass(); ok {
			return did, at
		}
	}
	w.Parked = x // the lines stay in the connection's buffer, into which no body of a known length is read
	return wire.Passed, at
}

// plain takes the request apart. wire has checked the form of its first line.
func (x *exchange) plain(head []byte) bool {
	if x.wire.Expired(x.now) {
		return false
	}
	end := bytes.IndexByte(head, '\n')
	if end < 0 {
		return false
	}
	method, target, _ := bytes.Cut(head[:end], []byte{' '})
	if space := bytes.LastIndexByte(target, ' '); space >= 0 {
		target = target[:space]
	}
	x.method, x.target, x.raw = method, target, head[end+1:]
	return true
}

// recallSession is authenticate where that needs nothing but memory. What it finds counts
// for Handle too.
func (x *exchange) recallSession() bool {
	p := x.route.session
	if p.Mode() == sessioncheck.ModeNone || x.isPreflight() {
		return true
	}
	res, ok := x.h.sessions.Recall(x, x.now)
	if !ok {
		return false
	}
	x.checked, x.sessionStatus, x.recalled = true, res.Status, res
	if !x.mayBeFrom(&res) || !p.Allows(res.Session) {
		return false // Handle refuses it
	}
	x.session = res.Session
	return true
}

// recallEntry is lookup for the plain case, with the status of the answer in x.status: nil,
// without any effect, for every other.
func (x *exchange) recallEntry() *stored {
	if !x.isGet() && !x.isHead() || x.route.dressed || x.snap.noVarySearch && x.hasQuery || x.bypass() != "" || x.ranged || !x.persistent() || !x.setKey() {
		return nil
	}
	s := x.peek(x.redisKey)
	if s == nil || !bytes.Equal(s.entry.Key, x.keyText) {
		return nil
	}
	if s.index {
		if !x.setVariant(s.names, s.generation) {
			return nil
		}
		if s = x.peek(x.varyName); s == nil || s.index || !bytes.Equal(s.entry.Key, x.varyText) {
			return nil
		}
	}
	if !s.response() || !x.allowed(s) || !x.marksStand(s) || s.entry.Use(x.now, &x.directives) != cache.UseFresh {
		return nil
	}
	switch s.entry.Status {
	case 206, 304:
		return nil
	}
	x.status = s.entry.Status
	if x.isUnmodified(s) {
		x.status = fasthttp.StatusNotModified
	}
	return s
}

// persistent says that nothing is said about the connection but that it stays.
func (x *exchange) persistent() bool {
	for i := range x.lines {
		if x.lines[i].kind == kindConnection && !syntax.FoldEqual(x.lines[i].value, "keep-alive") {
			return false
		}
	}
	return true
}

// peek is load from memory alone. Of a response that goes out as it is stored it keeps
// no decoded form, only the note that it is one: to take it apart again costs less than a
// twentieth of the answer, and its decoded form more memory than a small response itself.
func (x *exchange) peek(key []byte) *stored {
	v := x.h.store.Peek(key, x.now)
	if v == nil || !v.Exists() {
		return nil
	}
	rest, body := v.Parts()
	was := v.Shared()
	switch f := was.Form().(type) {
	case *stored:
		return f
	case *form:
		if f == &x.route.verbatim && x.lean.entry.UnmarshalCutTrusted(rest, body) == nil {
			return x.lean
		}
	}
	s := x.lean
	if s.entry.UnmarshalCut(rest, body) != nil || s.entry.Kind != cache.KindResponse || !s.parse() || !x.isVerbatim(s) {
		return x.h.decode(v)
	}
	v.Share(was, x.route.shared)
	return s
}

// parse reads the header of a lean entry.
func (s *stored) parse() (ok bool) {
	s.header, ok = cache.ParseHeader(s.header[:0], s.entry.Header)
	return ok
}

// fields gives the parsed header, also of a lean entry.
func (s *stored) fields() cache.Header {
	if len(s.header) == 0 && len(s.entry.Header) > 0 {
		s.parse()
	}
	return s.header
}

// forget empties a lean entry, but for what can be used again.
func (s *stored) forget() {
	clear(s.header)
	clear(s.entry.Tags)
	s.header, s.entry = s.header[:0], cache.Entry{Tags: s.entry.Tags[:0]}
}

// isVerbatim says whether the stored fields go out as they are.
func (x *exchange) isVerbatim(s *stored) bool {
	if x.route.responseEdit != nil {
		return false
	}
	for i := range s.header {
		if x.leavesOut(s.header[i].Name) {
			return false
		}
	}
	return true
}

// marksStand says that no tag of the entry was purged, as far as memory knows all of
// their marks.
func (x *exchange) marksStand(s *stored) bool {
	for i := range s.entry.Tags {
		x.scratch = cache.AppendTagName(x.scratch[:0], x.h.prefix, s.entry.Tags[i].Tag)
		v := x.h.store.Peek(x.scratch, x.now)
		if v == nil || v.String() != string(s.entry.Tags[i].Mark) {
			return false
		}
	}
	return true
}

// maxJoined is the size up to which a body is copied behind its head, so that both go out
// in one plain write. maxKept bounds the buffer that is kept for that.
const (
	maxJoined = 8 << 10
	maxKept   = 16 << 10
)

// answer writes a hit, counts and logs it.
func (x *exchange) answer(s *stored) (did wire.Outcome, at time.Time) {
	x.outcome = outcomeHit
	b, body := x.appendHit(x.out[:0], s), s.entry.Body
	if x.isHead() || x.status == fasthttp.StatusNotModified {
		body = nil
	}
	size := len(body)
	if len(body) <= maxJoined {
		b, body = append(b, body...), nil
	}
	did = wire.Answered
	if x.wire.Send(x.now, b, body) != nil {
		did = wire.Failed
	}
	if x.out = b; cap(b) > maxKept {
		x.out = nil
	}
	at = time.Now()
	took := at.Sub(x.began)
	x.h.stats.count(x.shard, x.outcome, x.status, took)
	if x.logs() {
		x.logAccess(took, int64(size))
	}
	x.h.release(x)
	return did, at
}

// appendHit appends the head of the answer: that of serve and dress.
func (x *exchange) appendHit(b []byte, s *stored) []byte {
	b = appendStatusLine(b, x.status)
	if x.status == fasthttp.StatusNotModified {
		b = x.appendIn304(b, s)
	} else {
		b = append(b, x.formOf(s).fieldsOf(s)...)
	}
	b = x.appendLength(b, int64(len(s.entry.Body)))
	b = strconv.AppendInt(append(b, "Age: "...), int64(s.entry.Age(x.now)/time.Second), 10)
	b = append(b, "\r\nCache-Status: "...)
	st := x.statusOf(cache.Status{Hit: true, TTL: s.entry.TTL(x.now), HasTTL: true}, true)
	b = cache.AppendStatus(b, &st)
	b = append(b, '\r', '\n')
	if id := x.requestID(); len(id) > 0 {
		b = appendLine(b, x.snap.requestField, id)
	}
	return append(b, '\r', '\n')
}

// appendIn304 appends the fields of a 304, stored and the rule's own: what notModified and
// editResponse leave.
func (x *exchange) appendIn304(b []byte, s *stored) []byte {
	whole, header := x.formOf(s).block == nil, s.fields()
	hasETag := header.Has("ETag")
	for i := range header {
		if l := &header[i]; cache.In304(l.Name, hasETag) && (whole || !x.leavesOut(l.Name)) {
			b = appendLine(b, l.Name, l.Value)
		}
	}
	return x.appendAdded(b)
}

// appendAdded appends what the rule adds.
func (x *exchange) appendAdded(b []byte) []byte {
	if e := x.route.responseEdit; e != nil {
		for i := range e.lines {
			b = appendLine(b, e.lines[i].name, e.lines[i].value)
		}
	}
	return b
}

// appendLength says how long the body is. It is not said where there is never one
// (RFC 9110 §8.6), and not of the body that a 304 stands for.
func (x *exchange) appendLength(b []byte, size int64) []byte {
	if x.status == fasthttp.StatusNoContent || x.status == fasthttp.StatusNotModified {
		return b
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), size, 10)
	return append(b, '\r', '\n')
}

// form is what a rule makes of the stored fields of an entry. Most rules leave most
// entries as they are: then it is the rule's own, and all that memory keeps of a hit.
type form struct {
	snap  *snapshot
	route *route
	block []byte // nil: the fields as they are stored
}

func (f *form) fieldsOf(s *stored) []byte {
	if f.block != nil {
		return f.block
	}
	return s.entry.Header
}

// formOf gives the form for this request's rule, and makes it when the entry was last
// served by another, or before a reload.
func (x *exchange) formOf(s *stored) *form {
	if s == x.lean {
		return &x.route.verbatim
	}
	f := s.form.Load()
	if f == nil || f.snap != x.snap || f.route != x.route {
		f = x.makeForm(s)
		if s.form.Store(f); f.block != nil {
			s.grown()
		}
	}
	return f
}

// makeForm leaves out what the answer has anew or the rule takes away, and adds what the
// rule adds.
func (x *exchange) makeForm(s *stored) *form {
	e := x.route.responseEdit
	block := make([]byte, 0, len(s.entry.Header))
	for i := range s.header {
		if l := &s.header[i]; !x.leavesOut(l.Name) {
			block = appendLine(block, l.Name, l.Value)
		}
	}
	if e == nil && len(block) == len(s.entry.Header) {
		return &x.route.verbatim
	}
	return &form{snap: x.snap, route: x.route, block: x.appendAdded(block)}
}

// leavesOut says whether a stored field does not go out with a hit.
func (x *exchange) leavesOut(name []byte) bool {
	return foldEqualFold(name, "Content-Length") || foldEqualFold(name, "Age") || x.covers(name)
}

// covers says whether dress takes a field of the application's away: it sets it itself,
// lifecycle hides it, or the rule drops it.
func (x *exchange) covers(name []byte) bool {
	if foldEqualFold(name, x.snap.requestID) || x.h.lifecycle.IsHeader(name) || x.h.tasks.is(name) {
		return true
	}
	if e := x.route.responseEdit; e != nil {
		for _, drop := range e.drop {
			if bytes.EqualFold(name, drop) {
				return true
			}
		}
	}
	return false
}
