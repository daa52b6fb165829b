package wire

import "bytes"

const (
	// maxChunkLine bounds one chunk-size line, extensions included.
	maxChunkLine = 1 << 10
	// maxChunkExcess bounds the bytes of framing beyond what the data justify, so
	// that one-byte chunks with long extensions do not keep a reader busy.
	maxChunkExcess = 16 << 10
	// maxTrailers bounds the trailer section.
	maxTrailers = 8 << 10
)

// chunked decodes the chunked coding (RFC 9112 §7.1) from whatever has arrived,
// strictly: CR LF only, no sign or space around a size, sizes below 2^60, bounded
// extensions, which are dropped, and trailers, which are kept.
type chunked struct {
	state    chunkState
	left     int64 // bytes of the current chunk still to come
	excess   int64
	trailers []byte // complete lines, each with its CR LF
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd
	chunkTrailer
	chunkDone
)

func (d *chunked) reset() { *d = chunked{trailers: d.trailers[:0]} }

// next reads framing from the start of b until data, the end, or more bytes are
// needed. It returns how much it has read.
func (d *chunked) next(b []byte) (n int, r *Refusal) {
	for d.state != chunkData && d.state != chunkDone {
		m, r := d.step(b[n:])
		if m == 0 || r != nil {
			return n, r
		}
		n += m
	}
	return n, nil
}

// took says that n bytes of data were passed on.
func (d *chunked) took(n int) {
	if d.left -= int64(n); d.left == 0 {
		d.state = chunkEnd
	}
}

func (d *chunked) step(b []byte) (int, *Refusal) {
	switch d.state {
	case chunkSize:
		return d.size(b)
	case chunkEnd:
		return d.end(b)
	}
	return d.trailer(b)
}

func (d *chunked) size(b []byte) (int, *Refusal) {
	line, n, ok := cutLine(b, maxChunkLine)
	if !ok {
		return 0, &refuseChunk
	}
	if n == 0 { // what can become no size is not waited for
		return 0, partialSize(b)
	}
	digits, size, ok := hexSize(line)
	if !ok || digits == 0 || !extensionOK(line[digits:]) {
		return 0, &refuseChunk
	}
	// 16 bytes of framing per chunk are normal, and data justify more.
	if d.excess = max(0, d.excess+int64(n)-16-2*size); d.excess > maxChunkExcess {
		return 0, &refuseChunk
	}
	if d.left, d.state = size, chunkData; size == 0 {
		d.state = chunkTrailer
	}
	return n, nil
}

// hexSize reads the digits that the line begins with.
func hexSize(line []byte) (digits int, size int64, ok bool) {
	for ; digits < len(line); digits++ {
		v, is := hexDigit(line[digits])
		if !is {
			break
		}
		if digits >= 15 {
			return 0, 0, false
		}
		size = size<<4 | int64(v)
	}
	return digits, size, true
}

func partialSize(b []byte) *Refusal {
	digits, _, ok := hexSize(b)
	if rest := b[digits:]; !ok || len(rest) > 0 && (digits == 0 || rest[0] != ';' && rest[0] != '\r') {
		return &refuseChunk
	}
	return nil
}

// extensionOK accepts nothing, or what begins with a semicolon and has no control
// bytes. The white space that RFC 9112 §7.1.1 calls bad is not accepted of a client.
func extensionOK(ext []byte) bool {
	return len(ext) == 0 || ext[0] == ';' && !hasControl(ext)
}

func (d *chunked) end(b []byte) (int, *Refusal) {
	switch {
	case len(b) > 0 && b[0] != '\r', len(b) > 1 && b[1] != '\n':
		return 0, &refuseChunk
	case len(b) < 2:
		return 0, nil
	}
	d.state = chunkSize
	return 2, nil
}

func (d *chunked) trailer(b []byte) (int, *Refusal) {
	line, n, ok := cutLine(b, maxTrailers)
	switch {
	case !ok, len(d.trailers)+n > maxTrailers:
		return 0, &refuseTrailer
	case n == 0:
		return 0, nil
	case len(line) == 0:
		d.state = chunkDone
		return n, nil
	}
	name, value, found := bytes.Cut(line, []byte{':'})
	if !found || !isToken(name) || hasControl(value) {
		return 0, &refuseTrailer
	}
	d.trailers = append(d.trailers, b[:n]...)
	return n, nil
}

// cutLine takes a line off b, without its CR LF; n is its length with it, 0 when its
// end has not come. It is not ok when it is too long or has a CR or LF of its own.
func cutLine(b []byte, limit int) (line []byte, n int, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		// A CR is good only as the last byte so far.
		cr := bytes.IndexByte(b, '\r')
		return nil, 0, len(b) <= limit && (cr < 0 || cr == len(b)-1)
	}
	if i == 0 || i > limit || bytes.IndexByte(b[:i], '\r') != i-1 {
		return nil, 0, false
	}
	return b[:i-1], i + 1, true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// hasControl reports a byte that no line of HTTP may carry, tab excepted.
func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !isTokenByte(c) {
			return false
		}
	}
	return len(b) > 0
}
