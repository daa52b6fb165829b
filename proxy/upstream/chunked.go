package upstream

import (
	"bufio"
	"bytes"
	"io"
)

const (
	// maxChunkLine bounds one chunk-size line, extensions included.
	maxChunkLine = 1 << 10
	// maxChunkExcess bounds the bytes of framing beyond what the data justify, so
	// that one-byte chunks with long extensions do not keep a reader busy.
	maxChunkExcess = 16 << 10
	// maxTrailers bounds the trailer section.
	maxTrailers = 8 << 10
)

// chunked decodes the chunked coding (RFC 9112 §7.1), strictly: CRLF only, no
// sign or space around a size, sizes below 2^60, bounded extensions and trailers.
// Extensions are dropped.
type chunked struct {
	state  chunkState
	err    error
	left   int64 // bytes of the current chunk still to come
	excess int64
	trail  int // bytes of the trailer section so far
	// lines are the trailer fields that may be passed on.
	lines []byte
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd
	chunkTrailer
	chunkDone
)

// read fills p with data as far as it can without waiting once it has some: an
// event is passed on when it arrives, and many small chunks that arrived
// together are passed on together. After the end it gives io.EOF.
func (d *chunked) read(br *bufio.Reader, p []byte) (n int, err error) {
	for d.err == nil && d.state != chunkDone && n < len(p) {
		if n > 0 && d.wouldWait(br) {
			return n, nil
		}
		var m int
		m, d.err = d.step(br, p[n:])
		n += m
	}
	// The last bytes of the message often lie in the buffer already; reading them
	// now frees the connection without another call.
	for n > 0 && d.err == nil && d.state != chunkDone && d.state != chunkData && !d.wouldWait(br) {
		_, d.err = d.step(br, nil)
	}
	switch {
	case n > 0:
		return n, nil // an error is kept for the next call
	case d.err != nil:
		return 0, d.err
	case d.state == chunkDone:
		return 0, io.EOF
	}
	return 0, nil // len(p) is 0
}

// wouldWait reports whether the next step needs bytes that have not arrived.
func (d *chunked) wouldWait(br *bufio.Reader) bool {
	switch d.state {
	case chunkData:
		return br.Buffered() == 0
	case chunkEnd:
		return br.Buffered() < 2
	}
	b, _ := br.Peek(br.Buffered())
	return bytes.IndexByte(b, '\n') < 0
}

func (d *chunked) step(br *bufio.Reader, p []byte) (int, error) {
	switch d.state {
	case chunkSize:
		return 0, d.readSize(br)
	case chunkData:
		n, err := br.Read(p[:min(int64(len(p)), d.left)])
		if d.left -= int64(n); d.left == 0 {
			d.state = chunkEnd
		}
		return n, truncated(err)
	case chunkEnd:
		return 0, d.readEnd(br)
	}
	return 0, d.readTrailer(br)
}

func (d *chunked) readSize(br *bufio.Reader) error {
	line, err := crlfLine(br, maxChunkLine)
	if err != nil {
		return err
	}
	digits := 0
	size := int64(0)
	for ; digits < len(line); digits++ {
		v, ok := hexDigit(line[digits])
		if !ok {
			break
		}
		if digits >= 15 {
			return bad("chunk size %q is too large", snippet(line))
		}
		size = size<<4 | int64(v)
	}
	if digits == 0 || !extensionOK(line[digits:]) {
		return bad("chunk size %q", snippet(line))
	}
	// 16 bytes of framing per chunk are normal, and data justify more.
	if d.excess = max(0, d.excess+int64(len(line))-16-2*size); d.excess > maxChunkExcess {
		return bad("more chunk framing than data")
	}
	if d.left, d.state = size, chunkData; size == 0 {
		d.state = chunkTrailer
	}
	return nil
}

// extensionOK accepts nothing, or what begins with a semicolon, with the white
// space that RFC 9112 §7.1.1 tolerates in front of it, and has no control bytes.
func extensionOK(ext []byte) bool {
	if len(ext) == 0 {
		return true
	}
	rest := bytes.TrimLeft(ext, " \t")
	return len(rest) > 0 && rest[0] == ';' && !hasControl(rest)
}

func (d *chunked) readEnd(br *bufio.Reader) error {
	b, err := br.Peek(2)
	if err != nil {
		return truncated(err)
	}
	if b[0] != '\r' || b[1] != '\n' {
		return bad("a chunk is longer than its size, or ends without CRLF")
	}
	_, _ = br.Discard(2)
	d.state = chunkSize
	return nil
}

func (d *chunked) readTrailer(br *bufio.Reader) error {
	line, err := crlfLine(br, maxTrailers)
	if err != nil {
		return err
	}
	if len(line) == 0 {
		d.state = chunkDone
		return nil
	}
	if d.trail += len(line) + 2; d.trail > maxTrailers {
		return bad("the trailer section exceeds %d bytes", maxTrailers)
	}
	name, value, found := bytes.Cut(line, []byte{':'})
	if !found || !isToken(name) || hasControl(value) {
		return bad("trailer line %q", snippet(line))
	}
	if MayTrail(name) {
		d.lines = appendField(d.lines, name, trim(value))
	}
	return nil
}

// crlfLine reads a line and removes its CRLF. The result is valid until the next
// read. A line longer than the read buffer is longer than any limit here.
func crlfLine(br *bufio.Reader, limit int) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if err == bufio.ErrBufferFull || len(line) > limit {
		return nil, bad("a line of the chunked coding exceeds %d bytes", limit)
	}
	if err != nil {
		return nil, truncated(err)
	}
	line = line[:len(line)-1]
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return nil, bad("a line of the chunked coding ends in LF without CR")
	}
	if line = line[:len(line)-1]; bytes.IndexByte(line, '\r') >= 0 {
		return nil, bad("a CR inside a line of the chunked coding")
	}
	return line, nil
}

func hexDigit(ch byte) (byte, bool) {
	switch {
	case '0' <= ch && ch <= '9':
		return ch - '0', true
	case 'a' <= ch && ch <= 'f':
		return ch - 'a' + 10, true
	case 'A' <= ch && ch <= 'F':
		return ch - 'A' + 10, true
	}
	return 0, false
}
