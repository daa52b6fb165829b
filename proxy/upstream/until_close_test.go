package upstream

import (
	"errors"
	"io"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// With until_close a coding that nobody knows leaves the body to end with its
// connection; one that means something, or a length beside it, is refused as before.
func TestUntilClose(t *testing.T) {
	for _, tc := range []struct {
		coding     string
		untilClose bool
		ok         bool
	}{
		{"Transfer-Encoding: nonsense\r\n", true, true},
		{"Transfer-Encoding: nonsense\r\n", false, false},
		{"Transfer-Encoding: gzip\r\n", true, false},
		{"Transfer-Encoding: gzip, chunked\r\n", true, false},
		{"Transfer-Encoding: nonsense\r\nTransfer-Encoding: chunked\r\n", true, false},
		{"Transfer-Encoding: nonsense\r\nContent-Length: 4\r\n", true, false},
	} {
		app := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send("HTTP/1.1 200 OK\r\n"+tc.coding+"X-A: b\r\n\r\nbody"), apptest.Close()))
		cfg := Default()
		cfg.URL, cfg.UntilClose = app.URL(), tc.untilClose
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		var h fasthttp.ResponseHeader
		body, err := c.Do(t.Context(), &Request{Head: []byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")}, &h)
		switch {
		case !tc.ok:
			if !errors.Is(err, ErrBadResponse) {
				t.Errorf("%q: %v, want ErrBadResponse", tc.coding, err)
			}
		case err != nil:
			t.Errorf("%q: %v", tc.coding, err)
		default:
			b, err := io.ReadAll(body)
			if string(b) != "body" || err != nil || !body.CloseDelimited() || len(h.Peek("Transfer-Encoding")) > 0 || string(h.Peek("X-A")) != "b" {
				t.Errorf("%q: %q %v %s", tc.coding, b, err, &h)
			}
			_ = body.Close()
		}
		_ = c.Close()
	}
}
