package wire

import (
	"bytes"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// maxEmptyLines is how many empty lines are ignored before a request line (RFC 9112
// §2.2): old clients send one after a body.
const maxEmptyLines = 2

// head is how far the reading of a request's head has come. All positions are in the
// connection's buffer.
type head struct {
	start   int // of the request line
	line    int // of the line that is being read
	scanned int // up to here there is no further line end
	keep    int // up to here the head has been moved together; 0 while nothing was cut
	end     int // of a complete head that was not handed out: its body begins there
	first   bool
	armed   bool // the rest of it is waited for under its own deadline
	waits   bool // and so is its body
	empty   int
	lengths int
	codings int
}

func (h *head) reset(at int) { *h = head{start: at, line: at, scanned: at, first: true} }

// moved says that the buffer's content now begins n bytes earlier.
func (h *head) moved(n int) {
	h.start -= n
	h.line -= n
	h.scanned -= n
	if h.keep > 0 {
		h.keep -= n
	}
	if h.end > 0 {
		h.end -= n
	}
}

// feed reads the complete lines of b. It returns the end of the head once it is
// complete, else 0. Lines about framing are cut out of b.
func (h *head) feed(b []byte, m *Message, limit int) (end int, r *Refusal) {
	for {
		i := bytes.IndexByte(b[h.scanned:], '\n')
		if i < 0 {
			h.scanned = len(b)
			return 0, h.partial(b, limit)
		}
		end = h.scanned + i + 1
		h.scanned = end
		if end-h.start > limit {
			return 0, h.tooLong()
		}
		if end-h.line < 2 || b[end-2] != '\r' {
			return 0, &refuseLineEnd
		}
		done, cut, r := h.accept(b[h.line:end-2], m)
		if r != nil {
			return 0, r
		}
		h.place(b, end, cut)
		h.line = end
		if done {
			return end, nil
		}
	}
}

// accept looks at one line. done says that it was the empty one at the end, cut that
// fasthttp shall not see it.
func (h *head) accept(line []byte, m *Message) (done, cut bool, r *Refusal) {
	switch {
	case h.first && len(line) == 0:
		if h.empty++; h.empty > maxEmptyLines {
			return false, false, &refuseMalformed
		}
		h.start = h.scanned
		return false, false, nil
	case h.first:
		h.first = false
		return false, false, requestLine(line, m)
	case len(line) == 0:
		return true, false, h.framing(m)
	case line[0] == '\r':
		return false, false, &refuseLineEnd
	case line[0] == ' ' || line[0] == '\t':
		return false, false, &refuseFold
	}
	cut, r = h.field(line, m)
	return false, cut, r
}

// place moves a line to the end of what is kept, once something was cut before it.
func (h *head) place(b []byte, end int, cut bool) {
	switch {
	case cut && h.keep == 0:
		h.keep = h.line
	case !cut && h.keep > 0:
		h.keep += copy(b[h.keep:], b[h.line:end])
	}
}

// partial judges a line whose end has not come: one that can become nothing is not
// waited for, as when a client speaks TLS here.
func (h *head) partial(b []byte, limit int) *Refusal {
	if len(b)-h.start > limit {
		return h.tooLong()
	}
	if h.first && len(b) > h.line && b[h.line] != '\r' && !syntax.TokenByte(b[h.line]) {
		return &refuseMalformed
	}
	return nil
}

func (h *head) tooLong() *Refusal {
	if h.first {
		return &refuseTarget
	}
	return &refuseHeader
}

// requestLine checks the form "method SP target SP version" (RFC 9112 §3). What
// method and target may be is the handler's to say.
func requestLine(line []byte, m *Message) *Refusal {
	method := bytes.IndexByte(line, ' ')
	version := bytes.LastIndexByte(line, ' ')
	if method <= 0 || version <= method+1 {
		return &refuseMalformed
	}
	for _, c := range line[:method] {
		if !syntax.TokenByte(c) {
			return &refuseMalformed
		}
	}
	for _, c := range line[method+1 : version] {
		if c <= ' ' || c == 0x7f {
			return &refuseMalformed
		}
	}
	m.Head = isHead(line)
	return httpVersion(line[version+1:], m)
}

func httpVersion(v []byte, m *Message) *Refusal {
	if len(v) != len("HTTP/1.1") || string(v[:5]) != "HTTP/" || !digit(v[5]) || v[6] != '.' || !digit(v[7]) {
		return &refuseMalformed
	}
	if v[5] != '1' || v[7] > '1' {
		return &refuseVersion
	}
	m.http10 = v[7] == '0'
	return nil
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// field takes the fields that say how the body is framed. Every other line, also one
// that is no field, passes: the handler reads it from the same bytes, and a name that
// is not exactly one of these is not framing for it either.
func (h *head) field(line []byte, m *Message) (cut bool, r *Refusal) {
	switch line[0] | 0x20 {
	case 'c':
		if v, ok := valueOf(line, "content-length"); ok {
			return true, h.contentLength(v, m)
		}
	case 't':
		if v, ok := valueOf(line, "transfer-encoding"); ok {
			if h.codings++; !syntax.FoldEqual(v, "chunked") {
				return true, &refuseCoding
			}
			return true, nil
		}
		// fasthttp would refuse what it may not name; trailers are read here.
		if v, ok := valueOf(line, "trailer"); ok {
			if syntax.HasControl(v) {
				return true, &refuseValue
			}
			return true, nil
		}
	case 'e':
		if v, ok := valueOf(line, "expect"); ok {
			if !syntax.FoldEqual(v, "100-continue") {
				return true, &refuseExpect
			}
			m.expect = true
			return true, nil
		}
	}
	return false, nil
}

// contentLength accepts one field with one number. RFC 9112 §6.3 allows a list of
// equal numbers; nothing that is worth serving sends it.
func (h *head) contentLength(v []byte, m *Message) *Refusal {
	if h.lengths++; len(v) == 0 || len(v) > 18 {
		return &refuseFraming
	}
	n := int64(0)
	for _, c := range v {
		if !digit(c) {
			return &refuseFraming
		}
		n = n*10 + int64(c-'0')
	}
	m.Size, m.HasLength = n, true
	return nil
}

// framing checks what only the whole head shows (RFC 9112 §6.1, §6.3): this is where
// request smuggling begins.
func (h *head) framing(m *Message) *Refusal {
	switch {
	case h.lengths+h.codings > 1, h.codings > 0 && m.http10:
		return &refuseFraming
	case h.codings > 0:
		m.Size = -1
	}
	// RFC 9110 §10.1.1: not from HTTP/1.0, and not without a body.
	m.expect = m.expect && !m.http10 && m.Size != 0
	return nil
}

// valueOf gives the value of the line when its name is the one given, in lower case.
func valueOf(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || line[len(name)] != ':' || !syntax.FoldEqual(line[:len(name)], name) {
		return nil, false
	}
	return bytes.Trim(line[len(name)+1:], " \t"), true
}
