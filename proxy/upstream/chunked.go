package upstream

import (
	"bufio"
	"bytes"
	"io"

	"github.com/pillion-proxy/pillion/proxy/chunked"
)

// chunks reads a chunked body from a connection's buffer.
type chunks struct {
	dec chunked.Decoder
	err error
}

// reset keeps what memory there is for trailers.
func (d *chunks) reset() {
	d.err = nil
	d.dec.Lenient = true
	d.dec.Reset()
}

// read fills p with data as far as it can without waiting once it has some: an
// event is passed on when it arrives, and many small chunks that arrived
// together are passed on together. After the end it gives io.EOF.
func (d *chunks) read(br *bufio.Reader, p []byte) (n int, err error) {
	for d.err == nil && n < len(p) {
		if d.err = d.frame(br); d.err != nil || d.dec.Done() {
			break
		}
		if n > 0 && (d.dec.Data() == 0 || br.Buffered() == 0) {
			return n, nil // what is next has not arrived
		}
		if d.dec.Data() == 0 {
			d.err = wait(br)
			continue
		}
		var m int
		m, err = br.Read(p[n : n+int(min(int64(len(p)-n), d.dec.Data()))])
		d.dec.Took(m)
		d.err = truncated(err)
		n += m
	}
	// The last bytes of the message often lie in the buffer already; reading them
	// now frees the connection without another call.
	if n > 0 && d.err == nil {
		d.err = d.frame(br)
	}
	switch {
	case n > 0:
		return n, nil // an error is kept for the next call
	case d.err != nil:
		return 0, d.err
	case d.dec.Done():
		return 0, io.EOF
	}
	return 0, nil // len(p) is 0
}

// frame reads the framing that has arrived.
func (d *chunks) frame(br *bufio.Reader) error {
	b, _ := br.Peek(br.Buffered())
	n, err := d.dec.Next(b)
	_, _ = br.Discard(n)
	if err != nil {
		return bad("%v", err)
	}
	return nil
}

// wait waits for more framing. A line that fills the read buffer is longer than any
// limit of the decoder.
func wait(br *bufio.Reader) error {
	_, err := br.Peek(br.Buffered() + 1)
	if err == bufio.ErrBufferFull {
		return bad("%v: a line exceeds %d bytes", chunked.ErrSyntax, br.Size())
	}
	return truncated(err)
}

// trailers appends the fields that may be passed on.
func (d *chunks) trailers(dst []byte) []byte {
	for line := range bytes.Lines(d.dec.Trailers()) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		if MayTrail(name) {
			dst = appendField(dst, name, trim(bytes.TrimRight(value, "\r\n")))
		}
	}
	return dst
}
