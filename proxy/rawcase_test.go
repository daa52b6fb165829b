package proxy_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// marker is pipelined behind every raw request. It must reach the application where
// the requests before it end as expected, and nowhere else.
const marker = "GET /marker HTTP/1.1\r\nHost: marker\r\nConnection: close\r\n\r\n"

// rawCase is a byte stream of a client and what becomes of it.
type rawCase struct {
	name     string
	raw      string
	want     []string // what the application gets: "METHOD target body"
	statuses []int    // of the refusal that ends the connection; nil: nothing is refused
	either   bool     // both a refusal and forwarding are right
	local    bool     // answered by the pod itself, and the connection may go on
	closes   bool     // the connection ends though nothing is refused
	orNone   bool     // what is forwarded before a refusal may also be refused with it
	end      ending
	cut      bool     // the client ends within a request: no marker
	fields   []string // lines that the first forwarded request has
	absent   []string // names that no forwarded request has
	alone    bool     // also refused when nothing follows: no more is waited for
	pieces   bool     // sent in all sorts of pieces as well
	interim  []int    // interim responses that the client must get
	optional bool     // it need not get them
}

// bad is refused with one of the statuses. Requests before it are in want.
func bad(name, raw string, statuses ...int) rawCase {
	return rawCase{name: name, raw: raw, statuses: statuses}
}

// good is forwarded as these requests.
func good(name, raw string, want ...string) rawCase {
	return rawCase{name: name, raw: raw, want: want}
}

// cut is what a client sends before it goes away: none of it is a complete request.
func cut(name, raw string, end ending) rawCase {
	return rawCase{name: name, raw: raw, end: end, cut: true}
}

func (c rawCase) or(statuses ...int) rawCase      { c.statuses, c.either = statuses, true; return c }
func (c rawCase) after(want ...string) rawCase    { c.want = want; return c }
func (c rawCase) with(lines ...string) rawCase    { c.fields = lines; return c }
func (c rawCase) without(names ...string) rawCase { c.absent = names; return c }
func (c rawCase) closing() rawCase                { c.closes = true; return c }
func (c rawCase) orNothing() rawCase              { c.orNone = true; return c }
func (c rawCase) inPieces() rawCase               { c.pieces = true; return c }
func (c rawCase) atOnce() rawCase                 { c.alone = true; return c }
func (c rawCase) answeredHere() rawCase           { c.local = true; return c }

// continued wants 100 Continue, which may be left out when the content is here already
// (RFC 9110 §10.1.1).
func (c rawCase) continued() rawCase { c.interim, c.optional = []int{100}, true; return c }

// anyInterim leaves it to the pod whether it sends the interim responses.
func (c rawCase) anyInterim() rawCase { c.optional = true; return c }

func (c rawCase) stream() string {
	if c.cut {
		return c.raw
	}
	return c.raw + marker
}

// outcome of one run of a case.
type rawOutcome struct {
	answers
	app    apptest.Recording
	strict []apptest.Message // the complete requests
	last   apptest.Message   // what a strict reader has read of the one after them
	err    error             // of reading, other than the end of the stream
}

func (g *rawRig) run(t testing.TB, stream string, end ending) rawOutcome {
	t.Helper()
	var o rawOutcome
	o.strict, o.last = strictRequests(stream)
	var methods []string
	for _, m := range o.strict {
		methods = append(methods, m.Method)
	}
	methods = append(methods, o.last.Method)
	var got []byte
	got, o.err = g.talk(t, stream, end)
	g.settle(t)
	o.answers = readAnswers(got, methods)
	o.app = g.app.Take()
	return o
}

// forwarded gives what the application got, without the marker.
func (o rawOutcome) forwarded() (list []string, marked bool) {
	for _, q := range o.app.Requests {
		if q.Target == "/marker" {
			marked = true
			continue
		}
		list = append(list, q.String())
	}
	return list, marked
}

// refusal is the status of the answer that is not the application's, or 0.
func (o rawOutcome) refusal() int {
	for _, m := range o.final {
		if m.Value("X-Seq") == "" {
			return m.Status
		}
	}
	return 0
}

// invariants hold for whatever a client sends.
func (o rawOutcome) invariants(gone bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, err := range o.app.Faults {
		say("%v", err)
	}
	if n := len(o.app.Requests); n > len(o.strict) {
		say("%d requests reached the application, a strict reader finds %d", n, len(o.strict))
	}
	if len(o.final) > len(o.strict)+1 {
		say("%d responses to %d requests", len(o.final), len(o.strict))
	}
	if !o.inOrder() {
		say("the application got %q, which is not what was sent, in order", o.app.Requests)
	}
	if n := len(o.app.Partial); n > 1 || n == 1 && !o.mayBeBegun() {
		say("the application got a part of a request: %.300q", o.app.Partial)
	}
	seqs := make([]string, 0, len(o.app.Requests))
	for _, q := range o.app.Requests {
		seqs = append(seqs, fmt.Sprint(q.Seq))
	}
	var answered []string
	for i, m := range o.final {
		switch {
		case m.Value("X-Seq") != "":
			answered = append(answered, m.Value("X-Seq"))
		case i < len(o.final)-1 && m.Value("Connection") == "close":
			say("the connection went on after the refusal %d", m.Status)
		}
	}
	if !slices.Equal(answered, seqs) && !(gone && len(answered) <= len(seqs) && slices.Equal(answered, seqs[:len(answered)])) {
		say("the application gave the answers %v, the client got %v", seqs, answered)
	}
	var timeout net.Error
	if errors.As(o.err, &timeout) && timeout.Timeout() {
		say("the connection was left open")
	}
	if o.rest != "" && !gone {
		say("no response: %.300q", o.rest)
	}
	return wrong
}

// mayBeBegun says whether the request after those that were forwarded may have reached
// the application in part: bodies are streamed, so their beginning may be out before
// their mistake has come. Nothing is sent of a request whose head is refused.
func (o rawOutcome) mayBeBegun() bool {
	next := o.last
	if n := len(o.app.Requests); n < len(o.strict) {
		next = o.strict[n]
	}
	return next.Head > 0 && (next.Chunked || next.Length > 0)
}

// inOrder says whether the application's requests are those that a strict reader
// finds, without changes to method and body. Some may be missing: they were answered
// by the pod, or came after the end.
func (o rawOutcome) inOrder() bool {
	i := 0
	for _, q := range o.app.Requests {
		for i < len(o.strict) && (o.strict[i].Method != q.Method || o.strict[i].Body != q.Body) {
			if !answeredByProxies(&o.strict[i]) {
				return false
			}
			i++
		}
		if i == len(o.strict) {
			return false
		}
		i++
	}
	return true
}

// answeredByProxies names what RFC 9110 §7.6.2 has a proxy answer.
func answeredByProxies(m *apptest.Message) bool {
	return (m.Method == "TRACE" || m.Method == "OPTIONS") && m.Value("Max-Forwards") != ""
}

func (c rawCase) check(o rawOutcome) []string {
	wrong := o.invariants(c.cut)
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	got, marked := o.forwarded()
	status := o.refusal()
	refused := c.statuses != nil && (!c.either || status != 0)
	switch {
	case c.cut:
	case c.local, refused:
		if !slices.Contains(c.statuses, status) {
			say("status %d, want one of %v", status, c.statuses)
		}
		if marked && !c.local {
			say("what follows a refused request was forwarded")
		}
	case status != 0:
		say("refused with %d", status)
	case marked == c.closes:
		say("the request that follows was forwarded: %v", marked)
	}
	want := c.want
	if refused && (c.either || c.orNone && len(got) == 0) {
		want = nil
	}
	if !slices.Equal(got, want) {
		say("forwarded %.300q, want %.300q", got, want)
	}
	if !slices.Equal(o.interim, c.interim) && !refused && !c.cut && !(c.optional && o.interim == nil) {
		say("interim responses %v, want %v", o.interim, c.interim)
	}
	return append(wrong, c.checkFields(o)...)
}

func (c rawCase) checkFields(o rawOutcome) (wrong []string) {
	for i, q := range o.app.Requests {
		if q.Target == "/marker" {
			continue
		}
		for _, line := range c.fields {
			name, value, _ := strings.Cut(line, ": ")
			if i == 0 && !slices.Contains(q.Values(name), value) {
				wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", name, q.Values(name), value))
			}
		}
		for _, name := range c.absent {
			if v := q.Values(name); len(v) > 0 {
				wrong = append(wrong, fmt.Sprintf("%s was forwarded: %q", name, v))
			}
		}
	}
	return wrong
}

// report gives one error for all that is wrong with a run.
func (c rawCase) report(t *testing.T, how string, o rawOutcome) {
	t.Helper()
	if wrong := c.check(o); len(wrong) > 0 {
		got, _ := o.forwarded()
		t.Errorf("%s: %s\n\tclient: %v (%v); application: %.200q", how, strings.Join(wrong, "; "), o.answers, o.err, got)
	}
}
