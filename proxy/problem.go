package proxy

import (
	"bufio"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

// problem answers with RFC 9457 problem details. extra are further field lines,
// each "Name: value\r\n".
func (x *exchange) problem(status int, detail, extra string) {
	extra += x.corsLines(status)
	title := fasthttp.StatusMessage(status)
	body := make([]byte, 0, 160)
	body = append(body, `{"type":"about:blank","title":`...)
	body = strconv.AppendQuote(body, title)
	body = append(body, `,"status":`...)
	body = strconv.AppendInt(body, int64(status), 10)
	body = append(body, `,"detail":`...)
	body = strconv.AppendQuote(body, detail)
	body = append(body, "}\n"...)

	head := "HTTP/1.1 " + strconv.Itoa(status) + " " + title +
		"\r\nDate: " + httpDate(x.now) +
		"\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\nContent-Length: 0\r\n" + extra + "\r\n"
	x.ctx.Response.Reset()
	x.readHead(head)
	x.ctx.Response.SetBody(body)
	x.status = status
}

// readHead parses a header block into the response. It is the only way to give
// fasthttp a Date: its Set ignores that field.
func (x *exchange) readHead(head string) {
	h := &x.ctx.Response.Header
	if err := h.Read(bufio.NewReaderSize(strings.NewReader(head), len(head)+16)); err != nil {
		// Only text of our own comes here; an error is a mistake in this file.
		h.SetStatusCode(fasthttp.StatusInternalServerError)
	}
}

func httpDate(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") }

// refuse answers a request that the guard did not let pass, and closes the
// connection: where the next request begins is not certain.
func (x *exchange) refuse(r *refusal) {
	x.h.stats.refused(r.reason)
	x.outcome = outcomeRefused
	x.problem(r.status, r.detail, "")
	x.closeAfter()
}

// closeAfter ends the client's connection with this answer.
func (x *exchange) closeAfter() {
	x.ctx.SetConnectionClose()
	if x.wire != nil {
		x.wire.CloseAfter()
	}
}
