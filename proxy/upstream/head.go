package upstream

import (
	"bytes"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// head is a strict reader of one response head. It decides the framing; the
// fields themselves are read by fasthttp afterwards, from bytes this reader has
// accepted. fasthttp alone would take bare LF, folded lines, a space in a name,
// Content-Length beside Transfer-Encoding, any version and bytes before the
// status line, and it waits for its timeout where the CRLF never comes.
//
// It works on a buffer that grows: feed is called with all bytes of the head so
// far and resumes at the line it had reached, so a head that arrives byte by
// byte costs one pass and a mistake is seen as soon as its line is complete.
type head struct {
	pos     int   // start of the first line not yet read
	seen    int   // bytes searched for the end of that line
	length  int64 // Content-Length, -1 when absent
	status  int
	http10  bool
	chunked bool
	close   bool // Connection: close
	trailer bool // a Trailer field is present
	lenient bool // Config.UntilClose
	unknown bool // a transfer coding that nobody knows: the body ends with the connection
}

func (h *head) reset(lenient bool) { *h = head{length: -1, lenient: lenient} }

// feed reads the complete lines of b. It returns the length of the head once it
// is complete, else 0.
func (h *head) feed(b []byte) (int, error) {
	for {
		i := bytes.IndexByte(b[h.seen:], '\n')
		if i < 0 {
			h.seen = len(b)
			return 0, h.early(b)
		}
		end := h.seen + i
		if end == h.pos || b[end-1] != '\r' {
			return 0, bad("a line of the head ends in LF without CR")
		}
		line := b[h.pos : end-1]
		h.pos, h.seen = end+1, end+1
		if len(line) == 0 && h.status != 0 {
			return h.pos, h.consistent()
		}
		if err := h.line(line); err != nil {
			return 0, err
		}
	}
}

// early refuses what cannot become a status line before its end has come, so
// that a peer that does not speak HTTP is not waited for.
func (h *head) early(b []byte) error {
	const version = "HTTP/1."
	if n := min(len(b), len(version)); h.status == 0 && string(b[:n]) != version[:n] {
		return bad("it begins with %q instead of HTTP/1.1", snippet(b))
	}
	return nil
}

func (h *head) line(line []byte) error {
	if bytes.IndexByte(line, '\r') >= 0 {
		return bad("a CR inside a line of the head")
	}
	if h.status == 0 {
		return h.statusLine(line)
	}
	return h.field(line)
}

// statusLine reads "HTTP/1.1 200 OK". The reason may be missing, with or without
// the space before it (RFC 9112 §4 asks for the space; some servers omit it).
func (h *head) statusLine(line []byte) error {
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[8] != ' ' ||
		(line[7] != '0' && line[7] != '1') {
		return bad("status line %q", snippet(line))
	}
	for _, ch := range line[9:12] {
		if ch < '0' || ch > '9' {
			return bad("status line %q", snippet(line))
		}
		h.status = h.status*10 + int(ch-'0')
	}
	if h.status < 100 || (len(line) > 12 && line[12] != ' ') || syntax.HasControl(line) {
		return bad("status line %q", snippet(line))
	}
	h.http10 = line[7] == '0'
	return nil
}

func (h *head) field(line []byte) error {
	name, value, found := bytes.Cut(line, []byte{':'})
	if !found {
		return bad("a line of the head has no colon: %q", snippet(line))
	}
	// RFC 9112 §5.1: a proxy removes whitespace between name and colon from a
	// response. fasthttp does so too. In front of the name it is obs-fold, which
	// RFC 9112 §5.2 lets a proxy refuse.
	for len(name) > 0 && name[len(name)-1] == ' ' {
		name = name[:len(name)-1]
	}
	if !syntax.Token(name) {
		return bad("field name %q", snippet(name))
	}
	switch len(name) {
	case len("trailer"):
		h.trailer = h.trailer || syntax.FoldEqual(name, "trailer")
	case len("connection"):
		if syntax.FoldEqual(name, "connection") {
			h.close = h.close || hasToken(value, "close")
		}
	case len("content-length"):
		if syntax.FoldEqual(name, "content-length") {
			return h.contentLength(trim(value))
		}
	case len("transfer-encoding"):
		if syntax.FoldEqual(name, "transfer-encoding") {
			return h.transferEncoding(trim(value))
		}
	}
	return nil
}

// contentLength accepts one field with one number. RFC 9112 §6.3 allows a list
// of equal numbers; nothing that is worth proxying sends it.
func (h *head) contentLength(v []byte) error {
	if h.length >= 0 {
		return bad("two Content-Length fields")
	}
	if len(v) == 0 || len(v) > 18 {
		return bad("Content-Length %q", snippet(v))
	}
	n := int64(0)
	for _, ch := range v {
		if ch < '0' || ch > '9' {
			return bad("Content-Length %q", snippet(v))
		}
		n = n*10 + int64(ch-'0')
	}
	h.length = n
	return nil
}

func (h *head) transferEncoding(v []byte) error {
	if h.chunked || h.unknown {
		return bad("two Transfer-Encoding fields")
	}
	if h.unknown = h.lenient && syntax.Token(v) && !registeredCoding(v); h.unknown {
		return nil
	}
	if !syntax.FoldEqual(v, "chunked") {
		return bad("Transfer-Encoding %q: only chunked is understood", snippet(v))
	}
	h.chunked = true
	return nil
}

// registeredCoding names the transfer codings that mean something (RFC 9112 §7): what
// is in them cannot be passed on as if it were not.
func registeredCoding(v []byte) bool {
	for _, name := range [...]string{"chunked", "gzip", "x-gzip", "compress", "x-compress", "deflate", "identity", "trailers"} {
		if syntax.FoldEqual(v, name) {
			return true
		}
	}
	return false
}

// consistent checks what only the whole head shows.
func (h *head) consistent() error {
	switch {
	case (h.chunked || h.unknown) && h.length >= 0:
		return bad("Content-Length beside Transfer-Encoding")
	case (h.chunked || h.unknown) && h.http10:
		return bad("Transfer-Encoding in an HTTP/1.0 response")
	}
	return nil
}

// bodiless reports a status that never has a body, whatever the fields say
// (RFC 9112 §6.3).
func (h *head) bodiless() bool { return h.status < 200 || h.status == 204 || h.status == 304 }

// keepAlive reports whether the connection may carry another exchange once this
// response has ended. A 204 that announces a body is followed by one often enough
// that its connection is not trusted.
func (h *head) keepAlive() bool {
	if h.close || h.http10 {
		return false
	}
	return h.status != 204 || (!h.chunked && h.length <= 0)
}

// cutFields moves the head without the fields to drop to the end of b and
// returns how many bytes at the start are now void. The fields announce what this
// client drops, and fasthttp refuses the response when they name certain fields.
func cutFields(b []byte, drop func(name []byte) bool) int {
	kept := make([]byte, 0, len(b))
	for rest := b; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n') + 1
		name, _, _ := bytes.Cut(rest[:n], []byte{':'})
		if !drop(bytes.TrimRight(name, " ")) {
			kept = append(kept, rest[:n]...)
		}
		rest = rest[n:]
	}
	void := len(b) - len(kept)
	copy(b[void:], kept)
	return void
}

func trim(v []byte) []byte { return bytes.Trim(v, " \t") }

func hasToken(list []byte, lower string) bool {
	for found := true; found; {
		var item []byte
		item, list, found = bytes.Cut(list, []byte{','})
		if syntax.FoldEqual(trim(item), lower) {
			return true
		}
	}
	return false
}

// snippet keeps an error message short; what follows is the application's data.
func snippet(b []byte) []byte { return b[:min(len(b), 48)] }
