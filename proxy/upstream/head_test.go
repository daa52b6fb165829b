package upstream

import (
	"errors"
	"testing"

	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// TestFeedAlone: what must be refused here, not only by fasthttp behind it.
func TestFeedAlone(t *testing.T) {
	for _, in := range []string{
		"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "HTTP/1.1 200 OK\r\r\n\r\n", "HTTP/1.1 200 OK\r\nX\r: a\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\n", "\n", "\r\n", "X", "HTTP/2", "HTTP/1.1 200 OK\r\nK\u212a: a\r\n\r\n",
	} {
		h := head{length: -1}
		if n, err := h.feed([]byte(in)); !errors.Is(err, ErrBadResponse) {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
}

func TestEqualFold(t *testing.T) {
	for in, want := range map[string]bool{"Chunked": true, "CHUNKED": true, "chunked": true, "chunke": false, "chun\u212aed": false, "chunkeD": true, "[hunked": false, "\x03hunked": false} {
		if got := syntax.FoldEqual([]byte(in), "chunked"); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
	for in, want := range map[string]bool{"close": true, "a, Close ,b": true, "closed": false, "": false, "a,,close": true, "x-close": false} {
		if got := hasToken([]byte(in), "close"); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}
