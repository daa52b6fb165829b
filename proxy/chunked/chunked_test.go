package chunked

import (
	"errors"
	"strings"
	"testing"
)

// decode gives the decoder the body in pieces of the given size.
func decode(d *Decoder, in string, piece int) (data string, rest int, err error) {
	var buf []byte
	for {
		n, err := d.Next(buf)
		buf = buf[n:]
		if err != nil || d.Done() {
			return data, len(buf) + len(in), err
		}
		if m := int(min(d.Data(), int64(len(buf)))); m > 0 {
			data += string(buf[:m])
			buf = buf[m:]
			d.Took(m)
			continue
		}
		if in == "" {
			return data, len(buf), errors.New("cut")
		}
		m := min(piece, len(in))
		buf, in = append(buf, in[:m]...), in[m:]
	}
}

func TestDecoder(t *testing.T) {
	for _, tc := range []struct {
		name, in, data, trailers string
		kind                     error
		lenient                  bool
	}{
		{name: "chunks", in: "2\r\nab\r\n3;x=\"y\"\r\ncde\r\n0\r\n\r\n", data: "abcde"},
		{name: "trailers", in: "0\r\nA: b\r\nC:d\r\n\r\n", trailers: "A: b\r\nC:d\r\n"},
		{name: "space before the extension", in: "1 ;a\r\nx\r\n0\r\n\r\n", kind: ErrSyntax},
		{name: "the same, lenient", in: "1 ;a\r\nx\r\n0 \t;b\r\n\r\n", data: "x", lenient: true},
		{name: "space without extension, lenient", in: "1 \r\nx\r\n0\r\n\r\n", kind: ErrSyntax, lenient: true},
		{name: "too large", in: "1000000000000000\r\n", kind: ErrSyntax},
		{name: "not hexadecimal", in: "xyz", kind: ErrSyntax},
		{name: "long line", in: "1;" + strings.Repeat("a", MaxLine), kind: ErrSyntax},
		{name: "too much data", in: "1\r\nxy", data: "x", kind: ErrSyntax},
		{name: "trailer without colon", in: "0\r\nA\r\n", kind: ErrTrailer},
		{name: "large trailers", in: "0\r\n" + strings.Repeat("A: bcdefgh\r\n", MaxTrailers/12+1), kind: ErrTrailer},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 7, 1 << 20} {
				d := Decoder{Lenient: tc.lenient}
				data, rest, err := decode(&d, tc.in+"next", piece)
				if !errors.Is(err, tc.kind) || data != tc.data || tc.kind == nil && (rest != len("next") || string(d.Trailers()) != tc.trailers) {
					t.Errorf("in pieces of %d: %q, %q, %d left, %v", piece, data, d.Trailers(), rest, err)
				}
			}
		})
	}
}
