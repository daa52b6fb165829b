//go:build linux && !race

package scale

import (
	"bytes"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

func TestVerifierSeesWhatIsWrong(t *testing.T) {
	const size = 4096
	good, err := io.ReadAll(iotest.OneByteReader(&pattern{size: size}))
	must(t, err)
	for _, c := range []struct {
		name string
		body []byte
		ok   bool
	}{
		{"whole", good, true},
		{"cut short", good[:size-8], false},
		{"cut within a word", good[:size-3], false},
		{"a missing piece", slices.Concat(good[:1000], good[1008:]), false},
		{"a doubled piece", slices.Concat(good[:1008], good[1000:]), false},
		{"swapped pieces", slices.Concat(good[:1024], good[2048:3072], good[1024:2048], good[3072:]), false},
		{"a changed byte", slices.Concat(good[:77], []byte{good[77] ^ 1}, good[78:]), false},
		{"too much", slices.Concat(good, good[:8]), false},
	} {
		for _, piece := range []int{1, 7, 64, size * 2} {
			v := new(verifier)
			_, err := io.CopyBuffer(struct{ io.Writer }{v}, struct{ io.Reader }{bytes.NewReader(c.body)}, make([]byte, piece))
			if err == nil {
				err = v.end(size)
			}
			if (err == nil) != c.ok {
				t.Errorf("%s, %d bytes at a time: %v", c.name, piece, err)
			}
		}
	}
}
