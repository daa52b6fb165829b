//go:build linux && !race

package scale

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// pattern is a body whose every eight bytes are their own position, so that a piece
// that is missing, doubled or in the wrong place is seen. Sizes are multiples of 8.
type pattern struct {
	size int64
	done atomic.Int64 // bytes that were given out
}

// Read implements io.Reader.
func (p *pattern) Read(b []byte) (int, error) {
	at := p.done.Load()
	b = b[:min(int64(len(b)), p.size-at)]
	if len(b) == 0 {
		return 0, io.EOF
	}
	var word [8]byte
	i := 0
	for ; i < len(b) && (at+int64(i))%8 != 0; i++ { // the rest of a word
		binary.LittleEndian.PutUint64(word[:], uint64(at+int64(i))/8)
		b[i] = word[(at+int64(i))%8]
	}
	for ; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], uint64(at+int64(i))/8)
	}
	for ; i < len(b); i++ {
		binary.LittleEndian.PutUint64(word[:], uint64(at+int64(i))/8)
		b[i] = word[(at+int64(i))%8]
	}
	p.done.Add(int64(len(b)))
	return len(b), nil
}

// verifier is the reader's side of a pattern: what is written to it must be the
// pattern from its beginning.
type verifier struct {
	got  int64
	rest []byte // of a word that is not complete
}

// Write implements io.Writer.
func (v *verifier) Write(b []byte) (int, error) {
	n := len(b)
	if len(v.rest) > 0 {
		take := min(8-len(v.rest), len(b))
		v.rest = append(v.rest, b[:take]...)
		if b = b[take:]; len(v.rest) < 8 {
			return n, nil
		}
		if err := v.words(v.rest); err != nil {
			return 0, err
		}
		v.rest = v.rest[:0]
	}
	whole := len(b) &^ 7
	if err := v.words(b[:whole]); err != nil {
		return 0, err
	}
	v.rest = append(v.rest, b[whole:]...)
	return n, nil
}

func (v *verifier) words(b []byte) error {
	for i := 0; i < len(b); i += 8 {
		if got, want := binary.LittleEndian.Uint64(b[i:]), uint64(v.got)/8; got != want {
			return fmt.Errorf("at byte %d is what belongs to byte %d", v.got, got*8)
		}
		v.got += 8
	}
	return nil
}

// end says whether all of size bytes came.
func (v *verifier) end(size int64) error {
	if len(v.rest) > 0 {
		return errors.New("the body ends within a word")
	}
	if v.got != size {
		return fmt.Errorf("%d bytes came, want %d", v.got, size)
	}
	return nil
}
