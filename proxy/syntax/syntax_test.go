package syntax

import (
	"strings"
	"testing"
)

func TestTokenByteKnowsEveryCharacter(t *testing.T) {
	const tchars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		if want := c < 128 && strings.IndexByte(tchars, byte(c)) >= 0; TokenByte(byte(c)) != want {
			t.Errorf("%q: %v, want %v", byte(c), !want, want)
		}
	}
}

// Every character at every place of a value, beside every other kind of character.
func TestHasControlAtEveryPlace(t *testing.T) {
	for c := range 256 {
		want := c < ' ' && c != '\t' || c == 0x7f
		for _, around := range []byte{'a', '\t', 0x80, 0xff, 0x9f} {
			for length := 1; length < 20; length++ {
				for at := range length {
					b := []byte(strings.Repeat(string([]byte{around}), length))
					b[at] = byte(c)
					if HasControl(b) != want {
						t.Fatalf("%q: %v, want %v", b, !want, want)
					}
				}
			}
		}
	}
}

func BenchmarkHasControl(b *testing.B) {
	v := []byte("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	for b.Loop() {
		HasControl(v)
	}
}

func BenchmarkToken(b *testing.B) {
	v := []byte("Content-Security-Policy")
	for b.Loop() {
		Token(v)
	}
}
