package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/proxy/wire"
)

// directPass is fetch for a GET in which the cache has no part: the application is asked,
// and its answer, when it is a plain one, goes from its head as it was read to the client.
// passed is false when Handle goes on: with the answer of the application, or the error,
// in x.fetched when that was asked.
func (x *exchange) directPass() (did wire.Outcome, at time.Time, passed bool) {
	o, ok := x.route.origin.(*upstreamOrigin)
	if !ok || !x.isGet() || !x.persistent() || x.route.dressed || x.route.cache.Post {
		return did, at, false
	}
	if x.fwd = x.bypass(); x.fwd == "" || x.fwd == cache.FwdMethod || x.hasKind(kindMaxForwards) {
		return did, at, false
	}
	c := x.h.calls.Get().(*call)
	if c.prepare(x, false) != nil {
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
// needs nothing but that.
func (x *exchange) appendPassed(body *upstream.Body) bool {
	if size := body.Size(); size < 0 || body.Status() == 204 || body.Status() == 304 {
		return false
	}
	head := body.Head()
	end := bytes.IndexByte(head, '\n') + 1
	// "HTTP/1.1 200 OK", of which the version is this hop's own.
	b := append(append(x.out[:0], "HTTP/1.1"...), head[len("HTTP/1.1"):end]...)
	if end <= len("HTTP/1.1 200 \r\n") { // without a reason, and maybe without the space
		b = appendStatusLine(b[:0], body.Status())
	}
	b, ok := x.appendPassedFields(b, head[end:])
	if x.out = b; !ok {
		return false
	}
	if e := x.route.responseEdit; e != nil {
		for i := range e.lines {
			b = appendLine(b, e.lines[i].name, e.lines[i].value)
		}
	}
	b = strconv.AppendInt(append(b, "Content-Length: "...), body.Size(), 10)
	b = append(b, "\r\nCache-Status: "...)
	st := x.statusOf(cache.Status{Fwd: x.fwd, Detail: x.detail}, false)
	b = append(cache.AppendStatus(b, &st), '\r', '\n')
	if id := x.requestID(); len(id) > 0 {
		b = appendLine(b, x.snap.requestField, id)
	}
	x.out = append(b, '\r', '\n')
	return true
}

// appendPassedFields appends the fields that go on. It is false when one of them asks for
// more than that.
func (x *exchange) appendPassedFields(b, rest []byte) (_ []byte, ok bool) {
	dated, typed := false, false
	for {
		end := bytes.IndexByte(rest, '\n')
		if end < 2 { // the empty line: upstream has checked the form of them all
			break
		}
		line := rest[:end-1]
		rest = rest[end+1:]
		colon := bytes.IndexByte(line, ':')
		name, value := bytes.TrimRight(line[:colon], " "), syntax.TrimOWS(line[colon+1:])
		switch fieldOf(name) {
		case fieldHop, fieldLength:
			continue
		case fieldConnection:
			if !syntax.FoldEqual(value, "keep-alive") && !syntax.FoldEqual(value, "close") {
				return b, false // it names further fields
			}
			continue
		case fieldDate:
			dated = true
		case fieldType:
			if typed {
				return b, false
			}
			typed = true
		}
		if syntax.HasControl(value) || x.h.lifecycle.IsHeader(name) || x.h.tasks.is(name) {
			return b, false
		}
		if !x.covers(name) {
			b = appendLine(b, name, value)
		}
	}
	if !dated {
		b = appendDate(b, x.now)
	}
	return b, true
}

// appendDate appends the field (RFC 9110 §6.6.1).
func appendDate(b []byte, now time.Time) []byte {
	b = append(b, "Date: "...)
	return append(now.UTC().AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 GMT"), '\r', '\n')
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
	is := func(lower string, f field) field {
		if syntax.FoldEqual(name, lower) {
			return f
		}
		return fieldOther
	}
	switch len(name) {
	case 2:
		return is("te", fieldHop)
	case 4:
		return is("date", fieldDate)
	case 7:
		return max(is("upgrade", fieldHop), is("trailer", fieldHop))
	case 10:
		return max(is("connection", fieldConnection), is("keep-alive", fieldHop))
	case 12:
		return is("content-type", fieldType)
	case 14:
		return is("content-length", fieldLength)
	case 16:
		return is("proxy-connection", fieldHop)
	case 17:
		return is("transfer-encoding", fieldHop)
	case 18:
		return is("proxy-authenticate", fieldHop)
	}
	return fieldOther
}

// passOn sends the head in x.out and the body. Of a small body it waits for all before it
// sends anything: with a truncated one the answer can still become a 502.
func (x *exchange) passOn(c *call) (did wire.Outcome, at time.Time) {
	body := c.body
	size, ahead := body.Size(), int64(0)
	body.Skip()
	var large *piece
	into := x.out[len(x.out):cap(x.out)]
	if size > int64(len(into)) && size <= maxJoined {
		x.out = append(make([]byte, 0, len(x.out)+maxJoined), x.out...)
		into = x.out[len(x.out):cap(x.out)]
	}
	if size > int64(len(into)) {
		if large, _ = x.h.pieces.Get().(*piece); large == nil {
			large = new(piece)
		}
		defer x.h.pieces.Put(large)
		into = large[:largePiece]
	}
	var err error
	until := x.now.Add(bufferWait)
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
	did = x.sendPassed(c, into[:ahead], large != nil)
	return did, x.finishPassed(c, did)
}

// sendPassed sends what is there, and then the rest as it comes.
func (x *exchange) sendPassed(c *call, first []byte, apart bool) wire.Outcome {
	var err error
	if apart {
		err = x.wire.Send(x.now, x.out, first)
	} else {
		err = x.wire.Send(x.now, x.out[:len(x.out)+len(first)], nil)
	}
	if err == nil && !c.body.Complete() {
		rest := outgoing{conn: x.wire, pool: &x.h.pieces, timeout: x.snap.server.WriteTimeout}
		_, err = rest.send(c.body)
	}
	if err != nil {
		x.wire.Abort() // the client must not take what it has for the whole
		return wire.Failed
	}
	return wire.Answered
}

// finishPassed ends the exchange with the application, counts and logs.
func (x *exchange) finishPassed(c *call, did wire.Outcome) time.Time {
	x.status, x.outcome = c.body.Status(), outcomePass
	size := c.body.Size()
	_ = c.Close()
	x.fetched = fetched{}
	if cap(x.out) > maxKept {
		x.out = nil
	}
	at := time.Now()
	took := at.Sub(x.began)
	x.h.stats.count(x.shard, x.outcome, x.status, took)
	if x.logs() {
		x.logAccess(took, size)
	}
	x.h.release(x)
	return at
}

var _ io.Reader = (*upstream.Body)(nil)
