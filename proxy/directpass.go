package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/proxy/wire"
)

// directPass is fetch for a request in which the cache has no part: the application is
// asked, and its answer, when it is a plain one, goes from its head as it was read to the
// client. passed is false when Handle goes on: with the answer of the application, or the
// error, in x.fetched when that was asked.
func (x *exchange) directPass() (did wire.Outcome, at time.Time, passed bool) {
	o, ok := x.route.origin.(*upstreamOrigin)
	if !ok || !x.persistent() || x.route.dressed || x.hasKind(kindMaxForwards) || x.postMayBeKept() {
		return did, at, false
	}
	if x.fwd = x.bypass(); x.fwd == "" {
		return did, at, false
	}
	c := x.h.calls.Get().(*call)
	if c.prepare(x, false) != nil { // the body is larger than is allowed: nothing was read of it
		c.release()
		return did, at, false
	}
	x.fetched.call = c
	c.req.Now = x.now
	c.body, x.fetched.err = o.client.Do(context.Background(), &c.req, nil)
	if x.snap.access > accessErrors || x.fetched.err != nil || c.body.Status() >= 500 {
		x.upstreamTook = time.Since(x.began) // for the line that it gets, or may get
	}
	if x.fetched.err != nil || !x.appendPassed(c.body) {
		return did, at, false
	}
	did, at = x.passOn(c)
	return did, at, did != wire.Passed
}

// fetched is what direct has of the application.
type fetched struct {
	call *call // it was asked
	err  error
}

// appendPassed writes the head of the answer into x.out, when the response is one that
// needs nothing but that, and then removes what the request has made obsolete.
func (x *exchange) appendPassed(body *upstream.Body) bool {
	if body.Size() < 0 {
		return false
	}
	x.status = body.Status()
	head := body.Head()
	end := bytes.IndexByte(head, '\n') + 1
	// "HTTP/1.1 200 OK", of which the version is this hop's own.
	b := append(append(x.out[:0], "HTTP/1.1"...), head[len("HTTP/1.1"):end]...)
	if end <= len("HTTP/1.1 200 \r\n") { // without a reason, and maybe without the space
		b = appendStatusLine(b[:0], x.status)
	}
	b, length, ok := x.appendPassedFields(b, head[end:])
	if ok {
		b, ok = x.appendPassedLength(x.appendAdded(b), length, body.Size())
	}
	if x.out = b; !ok {
		return false
	}
	if x.fwd == cache.FwdMethod {
		x.fields = appendHead(x.fields[:0], head[end:])
		x.invalidateBy(true)
	}
	b = append(b, "Cache-Status: "...)
	st := x.statusOf(cache.Status{Fwd: x.fwd, Detail: x.detail}, false)
	b = append(cache.AppendStatus(b, &st), '\r', '\n')
	if id := x.requestID(); len(id) > 0 {
		b = appendLine(b, x.snap.requestField, id)
	}
	x.out = append(b, '\r', '\n')
	return true
}

// appendPassedLength appends Content-Length. Where there is no body it is about one that
// could be, and only the application knows that (RFC 9110 §8.6).
func (x *exchange) appendPassedLength(b, said []byte, size int64) (_ []byte, ok bool) {
	switch {
	case x.status == fasthttp.StatusNoContent:
		return b, true
	case !x.isHead() && x.status != fasthttp.StatusNotModified:
		return x.appendLength(b, size), true
	case said == nil:
		return b, x.status == fasthttp.StatusNotModified
	}
	return appendLine(b, []byte("Content-Length"), said), true
}

// appendHead appends the fields of a response's head, whose form was checked.
func appendHead(dst cache.Header, lines []byte) cache.Header {
	for {
		end := bytes.IndexByte(lines, '\n')
		if end < 2 {
			return dst
		}
		name, value, _ := bytes.Cut(lines[:end-1], []byte{':'})
		dst = append(dst, cache.Field{Name: name, Value: syntax.TrimOWS(value)})
		lines = lines[end+1:]
	}
}

// appendPassedFields appends the fields that go on, and gives the Content-Length. It is
// false when one of them asks for more than that.
func (x *exchange) appendPassedFields(b, rest []byte) (_, length []byte, ok bool) {
	dated, typed := false, false
	from, at := 0, 0 // the lines from there up to here go on as they are
	for {
		end := bytes.IndexByte(rest[at:], '\n')
		if end < 2 { // the empty line: upstream has checked the form of them all
			break
		}
		line := rest[at : at+end-1]
		colon := bytes.IndexByte(line, ':')
		name, value, drop := line[:colon], line[colon+1:], false
		switch fieldOf(name) {
		case fieldHop:
			drop = true
		case fieldLength:
			length, drop = syntax.TrimOWS(value), true
		case fieldConnection:
			value = syntax.TrimOWS(value)
			if !syntax.FoldEqual(value, "keep-alive") && !syntax.FoldEqual(value, "close") {
				return b, nil, false // it names further fields
			}
			drop = true
		case fieldDate:
			dated = true
		case fieldType:
			if typed {
				return b, nil, false
			}
			typed = true
		}
		// A name with a space behind it (RFC 9112 §5.1) is not told from another one here.
		if name[colon-1] == ' ' || syntax.HasControl(value) || x.h.lifecycle.IsHeader(name) || x.h.tasks.is(name) {
			return b, nil, false
		}
		if drop || x.covers(name) {
			b = append(b, rest[from:at]...)
			from = at + end + 1
		}
		at += end + 1
	}
	b = append(b, rest[from:at]...)
	if !dated {
		b = x.appendDate(b)
	}
	return b, length, true
}

// dateLine is the field Date of a second. An exchange keeps its last one.
type dateLine struct {
	second int64
	text   []byte
}

// appendDate appends the field (RFC 9110 §6.6.1).
func (x *exchange) appendDate(b []byte) []byte {
	d := &x.date
	if second := x.now.Unix(); d.second != second {
		d.second = second
		d.text = x.now.UTC().AppendFormat(append(d.text[:0], "Date: "...), "Mon, 02 Jan 2006 15:04:05 GMT\r\n")
	}
	return append(b, d.text...)
}

// field says what a field of a response is to a proxy.
type field uint8

const (
	fieldOther field = iota
	fieldHop         // hop-by-hop (RFC 9110 §7.6.1)
	fieldConnection
	fieldLength
	fieldDate
	fieldType
)

// fieldOf tells by the length first, so that most names are compared with none.
func fieldOf(name []byte) field {
	switch len(name) {
	case 2:
		return fieldIf(name, "te", fieldHop)
	case 4:
		return fieldIf(name, "date", fieldDate)
	case 7:
		return max(fieldIf(name, "upgrade", fieldHop), fieldIf(name, "trailer", fieldHop))
	case 10:
		return max(fieldIf(name, "connection", fieldConnection), fieldIf(name, "keep-alive", fieldHop))
	case 12:
		return fieldIf(name, "content-type", fieldType)
	case 14:
		return fieldIf(name, "content-length", fieldLength)
	case 16:
		return fieldIf(name, "proxy-connection", fieldHop)
	case 17:
		return fieldIf(name, "transfer-encoding", fieldHop)
	case 18:
		return fieldIf(name, "proxy-authenticate", fieldHop)
	}
	return fieldOther
}

func fieldIf(name []byte, lower string, f field) field {
	if syntax.FoldEqual(name, lower) {
		return f
	}
	return fieldOther
}

// passOn sends the head in x.out and the body. Of a small body it waits for all before it
// sends anything: with a truncated one the answer can still become a 502.
func (x *exchange) passOn(c *call) (did wire.Outcome, at time.Time) {
	body, now := c.body, time.Now() // the application may have taken its time
	size, ahead := body.Size(), int64(0)
	body.Skip(now)
	var large *piece
	into := x.out[len(x.out):cap(x.out)]
	if size > int64(len(into)) && size <= maxJoined {
		x.out = append(make([]byte, 0, len(x.out)+maxJoined), x.out...)
		into = x.out[len(x.out):cap(x.out)]
	}
	if size > int64(len(into)) {
		large = x.h.pieces.takeLarge()
		defer x.h.pieces.large.Put(large)
		into = large[:largePiece]
	}
	var err error
	until := now.Add(bufferWait)
	for ahead < min(size, int64(len(into))) && err == nil && (size <= bufferUpTo || ahead == 0) {
		var n int
		n, err = body.ReadBy(into[ahead:min(size, int64(len(into)))], until)
		ahead += int64(n)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil // it is slow with it: the client shall have what there is
	}
	if err != nil && size <= bufferUpTo {
		x.fetched.err = err
		return wire.Passed, x.began
	}
	did, sent := x.sendPassed(c, now, into[:ahead], large != nil)
	return did, x.finishPassed(c, sent)
}

// sendPassed sends what is there, and then the rest as it comes. sent is what there was of
// the body.
func (x *exchange) sendPassed(c *call, now time.Time, first []byte, apart bool) (did wire.Outcome, sent int64) {
	var err error
	sent = int64(len(first))
	if apart {
		err = x.wire.Send(now, x.out, first)
	} else {
		err = x.wire.Send(now, x.out[:len(x.out)+len(first)], nil)
	}
	if err == nil && !c.body.Complete() {
		rest := x.outgoing()
		var n int64
		n, err = rest.send(c.body)
		sent += n
	}
	if err != nil {
		x.wire.Abort() // the client must not take what it has for the whole
		return wire.Failed, sent
	}
	return wire.Answered, sent
}

// finishPassed ends the exchange with the application, counts and logs.
func (x *exchange) finishPassed(c *call, sent int64) time.Time {
	x.outcome = outcomePass
	_ = c.Close()
	x.fetched = fetched{}
	if cap(x.out) > maxKept {
		x.out = nil
	}
	at := time.Now()
	took := at.Sub(x.began)
	x.h.stats.count(x.shard, x.outcome, x.status, took)
	if x.logs() {
		x.logAccess(took, sent)
	}
	x.h.release(x)
	return at
}

var _ io.Reader = (*upstream.Body)(nil)
