// Package chunked reads the chunked coding (RFC 9112 §7.1), of clients and of
// applications, from whatever has arrived. It is strict: CR LF only, no sign or space
// around a size, sizes below 2^60, bounded extensions, which are dropped, and trailers.
package chunked

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

const (
	// MaxLine bounds one chunk-size line, extensions included.
	MaxLine = 1 << 10
	// maxExcess bounds the bytes of framing beyond what the data justify, so that
	// one-byte chunks with long extensions do not keep a reader busy.
	maxExcess = 16 << 10
	// MaxTrailers bounds the trailer section, and thus the bytes that Next may need at
	// once.
	MaxTrailers = 8 << 10
)

// The kinds of mistake. An error of Next wraps one of them.
var (
	ErrSyntax  = errors.New("malformed chunked coding")
	ErrTrailer = errors.New("malformed or oversize trailer section")
)

// Decoder follows one body. The zero value is ready for one.
type Decoder struct {
	// Lenient accepts white space in front of an extension, which RFC 9112 §7.1.1 calls
	// bad and lets a recipient accept.
	Lenient bool

	state    state
	left     int64 // bytes of the current chunk still to come
	excess   int64
	section  int    // bytes of the trailer section so far
	trailers []byte // its lines, each with its CR LF
}

type state uint8

const (
	inSize state = iota
	inData
	inEnd
	inTrailer
	done
)

// Reset makes the decoder ready for another body. It keeps its memory.
func (d *Decoder) Reset() { *d = Decoder{Lenient: d.Lenient, trailers: d.trailers[:0]} }

// Data is how many bytes of data come next; 0 when something else does.
func (d *Decoder) Data() int64 {
	if d.state != inData {
		return 0
	}
	return d.left
}

// Done says that the body has ended, trailers included.
func (d *Decoder) Done() bool { return d.state == done }

// Trailers gives the lines of the trailer section so far, as they came.
func (d *Decoder) Trailers() []byte { return d.trailers }

// Took says that n bytes of data were read.
func (d *Decoder) Took(n int) {
	if d.left -= int64(n); d.left == 0 {
		d.state = inEnd
	}
}

// Next reads what is in b before data: up to data, the end, or where more bytes are
// needed. It returns how much it has read. What can become nothing is an error before
// its end has come.
func (d *Decoder) Next(b []byte) (n int, err error) {
	for d.state != inData && d.state != done {
		m, err := d.step(b[n:])
		if m == 0 || err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

func (d *Decoder) step(b []byte) (int, error) {
	switch d.state {
	case inSize:
		return d.size(b)
	case inEnd:
		return d.end(b)
	}
	return d.trailer(b)
}

func (d *Decoder) size(b []byte) (int, error) {
	line, n, ok := cutLine(b, MaxLine)
	if !ok {
		return 0, bad(ErrSyntax, "chunk size", b)
	}
	if n == 0 {
		return 0, d.partialSize(b)
	}
	digits, size, ok := hexSize(line)
	if !ok || digits == 0 || !d.extensionOK(line[digits:]) {
		return 0, bad(ErrSyntax, "chunk size", line)
	}
	// 16 bytes of framing per chunk are normal, and data justify more.
	if d.excess = max(0, d.excess+int64(n)-16-2*size); d.excess > maxExcess {
		return 0, fmt.Errorf("%w: more framing than data", ErrSyntax)
	}
	if d.left, d.state = size, inData; size == 0 {
		d.state = inTrailer
	}
	return n, nil
}

// hexSize reads the digits that the line begins with.
func hexSize(line []byte) (digits int, size int64, ok bool) {
	for ; digits < len(line); digits++ {
		v, is := syntax.HexDigit(line[digits])
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

func (d *Decoder) partialSize(b []byte) error {
	digits, _, ok := hexSize(b)
	rest := b[digits:]
	if !ok || len(rest) > 0 && (digits == 0 || rest[0] != ';' && rest[0] != '\r' && !d.space(rest[0])) {
		return bad(ErrSyntax, "chunk size", b)
	}
	return nil
}

func (d *Decoder) space(c byte) bool { return d.Lenient && (c == ' ' || c == '\t') }

// extensionOK accepts nothing, or what begins with a semicolon and has no control bytes.
func (d *Decoder) extensionOK(ext []byte) bool {
	if len(ext) == 0 {
		return true
	}
	for len(ext) > 0 && d.space(ext[0]) {
		ext = ext[1:]
	}
	return len(ext) > 0 && ext[0] == ';' && !syntax.HasControl(ext)
}

func (d *Decoder) end(b []byte) (int, error) {
	switch {
	case len(b) > 0 && b[0] != '\r', len(b) > 1 && b[1] != '\n':
		return 0, fmt.Errorf("%w: a chunk is longer than its size, or ends without CR LF", ErrSyntax)
	case len(b) < 2:
		return 0, nil
	}
	d.state = inSize
	return 2, nil
}

func (d *Decoder) trailer(b []byte) (int, error) {
	line, n, ok := cutLine(b, MaxTrailers)
	if !ok {
		return 0, bad(ErrTrailer, "line", b)
	}
	if d.section += n; d.section > MaxTrailers {
		return 0, fmt.Errorf("%w: more than %d bytes", ErrTrailer, MaxTrailers)
	}
	if n == 0 {
		return 0, nil
	}
	if len(line) == 0 {
		d.state = done
		return n, nil
	}
	name, value, found := bytes.Cut(line, []byte{':'})
	if !found || !syntax.Token(name) || syntax.HasControl(value) {
		return 0, bad(ErrTrailer, "line", line)
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

// bad quotes a part of what is wrong.
func bad(kind error, what string, b []byte) error {
	return fmt.Errorf("%w: %s %q", kind, what, b[:min(len(b), 48)])
}
