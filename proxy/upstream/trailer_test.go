package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/proxy/chunked"
)

// TestTrailers: what of a response's trailer section is passed on, and when.
func TestTrailers(t *testing.T) {
	for _, tt := range []struct{ name, chunks, want string }{
		{"none", "5\r\nhello\r\n0\r\n\r\n", ""},
		{"one", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", "X-Sum: 1\r\n"},
		{"white space", "5\r\nhello\r\n0\r\nX-Sum:\t 1 2 \r\nempty:\r\n\r\n", "X-Sum: 1 2\r\nempty: \r\n"},
		{"order and repetition", "5\r\nhello\r\n0\r\nB: 1\r\nA: 2\r\nB: 3\r\n\r\n", "B: 1\r\nA: 2\r\nB: 3\r\n"},
		{"forbidden", "5\r\nhello\r\n0\r\nSet-Cookie: a\r\nContent-Length: 3\r\nX-Sum: 1\r\nTRANSFER-ENCODING: chunked\r\n\r\n", "X-Sum: 1\r\n"},
		{"empty body", "0\r\nX-Sum: 1\r\n\r\n", "X-Sum: 1\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.Each(apptest.Loop(apptest.Expect(), apptest.Send(chunkedResponse(tt.chunks)), apptest.EchoOnce(""))))
			c := newClient(t, testConfig(raw.URL()))
			r, h := &Request{Head: reqHead("GET", "/")}, new(fasthttp.ResponseHeader)
			for range 2 { // the second time in the memory of the first
				body, err := c.Do(context.Background(), r, h)
				if err != nil {
					t.Fatal(err)
				}
				if got := body.Trailers(); got != nil && !body.Complete() {
					t.Errorf("%q before the end", got)
				}
				if _, err := io.Copy(io.Discard, body); err != nil {
					t.Fatal(err)
				}
				if got := body.Trailers(); string(got) != tt.want || (got == nil) != (tt.want == "") {
					t.Errorf("%q, want %q", got, tt.want)
				}
				_ = body.Close()
				if got := body.Trailers(); string(got) != tt.want {
					t.Errorf("after Close %q", got)
				}
				// The next response has none: the old ones must not show.
				if body, err = c.Do(context.Background(), r, h); err != nil {
					t.Fatal(err)
				}
				if got := body.Trailers(); got != nil {
					t.Errorf("%q of an earlier response", got)
				}
				if _, err := io.Copy(io.Discard, body); err != nil || body.Trailers() != nil {
					t.Errorf("%v, %q", err, body.Trailers())
				}
				_ = body.Close()
			}
			if raw.Conns() != 1 {
				t.Errorf("%d connections", raw.Conns())
			}
		})
	}
}

// TestTrailersOfACutBody: half a trailer section is none.
func TestTrailersOfACutBody(t *testing.T) {
	for _, chunks := range []string{"1\r\na\r\n0\r\nX-Sum: 1\r\n", "1\r\na\r\n0\r\nX-Sum: 1\r\nbad\x01: 1\r\n\r\n", "1\r\na\r\n0\r\nX-Sum: 1\r\nX: \x00\r\n\r\n"} {
		raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Send(chunkedResponse(chunks)), apptest.Close()))
		c := newClient(t, testConfig(raw.URL()))
		var h fasthttp.ResponseHeader
		body, err := c.Do(context.Background(), &Request{Head: reqHead("GET", "/")}, &h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err == nil || body.Trailers() != nil || body.Complete() {
			t.Errorf("%q: %v, %q", chunks, err, body.Trailers())
		}
		_ = body.Close()
	}
}

func TestMayTrail(t *testing.T) {
	for _, name := range []string{
		"Transfer-Encoding", "content-length", "Host", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Proxy-Connection",
		"Content-Type", "Content-Encoding", "Content-Range", "Content-Security-Policy", "Authorization", "Proxy-Authorization",
		"WWW-Authenticate", "Set-Cookie", "COOKIE", "Cache-Control", "Date", "Age", "Expires", "Location", "Retry-After", "Vary",
		"Expect", "If-Match", "Range", "Max-Forwards", "X-Forwarded-For", "Forwarded", "CDN-Cache-Control", "Access-Control-Allow-Origin",
	} {
		if MayTrail([]byte(name)) {
			t.Errorf("%s may trail", name)
		}
	}
	for _, name := range []string{"X-Sum", "ETag", "Server-Timing", "Digest", "Content-Digest", "Repr-Digest", "grpc-status", "Hosts", strings.Repeat("a", 100)} {
		if !MayTrail([]byte(name)) {
			t.Errorf("%s may not trail", name)
		}
	}
}

// TestRequestTrailers: the application gets them behind a chunked body that ended
// cleanly, and behind no other.
func TestRequestTrailers(t *testing.T) {
	cause := errors.New("client gone")
	for _, tt := range []struct {
		name     string
		size     int64
		body     io.Reader
		trailers string
		want     http.Header
		err      error
	}{
		{"one", -1, strings.NewReader("hello"), "X-Sum: 1\r\n", http.Header{"X-Sum": {"1"}}, nil},
		{"none", -1, strings.NewReader("hello"), "", nil, nil},
		{"empty body", -1, strings.NewReader(""), "X-Sum: 1\r\nY: 2\r\n", http.Header{"X-Sum": {"1"}, "Y": {"2"}}, nil},
		{"large body", -1, strings.NewReader(strings.Repeat("b", 3*uploadPiece)), "X-Sum: " + strings.Repeat("1", 4000) + "\r\n", http.Header{"X-Sum": {strings.Repeat("1", 4000)}}, nil},
		{"body with a length", 5, strings.NewReader("hello"), "X-Sum: 1\r\n", nil, nil},
		{"body that fails", -1, io.MultiReader(strings.NewReader("hello"), errorReader{cause}), "X-Sum: 1\r\n", nil, cause},
		{"another request", -1, strings.NewReader("hello"), "\r\nGET /evil HTTP/1.1\r\n", nil, ErrRequestBody},
		{"no end of line", -1, strings.NewReader("hello"), "X-Sum: 1", nil, ErrRequestBody},
		{"too many", -1, strings.NewReader("hello"), "X-Sum: " + strings.Repeat("1", chunked.MaxTrailers) + "\r\n", nil, ErrRequestBody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.Each(apptest.Echo()))
			c := newClient(t, testConfig(raw.URL()))
			r := post(tt.size, tt.body)
			r.Trailers = func() []byte { return []byte(tt.trailers) }
			if a := do(c, r); !errors.Is(a.err, tt.err) {
				t.Fatalf("%v, want %v", a.err, tt.err)
			}
			if tt.err != nil {
				raw.Await(t, 0)
			}
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw.Received(0))))
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, req.Body)
			if (err != nil) != (tt.err != nil) {
				t.Errorf("the application's end of the body: %v", err)
			}
			if tt.err == nil && len(req.Trailer)+len(tt.want) > 0 && !reflect.DeepEqual(req.Trailer, tt.want) {
				t.Errorf("trailers %v, want %v", req.Trailer, tt.want)
			}
			wantOwn(t, c, "/next")
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
