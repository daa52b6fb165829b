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
		case fieldHop, fieldLength:
			drop = true
		case fieldConnection:
			value = syntax.TrimOWS(value)
			if !syntax.FoldEqual(value, "keep-alive") && !syntax.FoldEqual(value, "close") {
				return b, false // it names further fields
			}
			drop = true
		case fieldDate:
			dated = true
		case fieldType:
			if typed {
				return b, false
			}
			typed = true
		}
		// A name with a space behind it (RFC 9112 §5.1) is not told from another one here.
		if name[colon-1] == ' ' || syntax.HasControl(value) || x.h.lifecycle.IsHeader(name) || x.h.tasks.is(name) {
			return b, false
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
	return b, true
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
		large = x.h.pieces.takeLarge()
		defer x.h.pieces.large.Put(large)
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
		rest := x.outgoing()
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
