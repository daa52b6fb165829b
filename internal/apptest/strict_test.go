package apptest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestReadRequest(t *testing.T) {
	post := func(lines, body string) string { return "POST /x HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n" + body }
	for _, tc := range []struct {
		name, in string
		body     string
		left     int  // bytes after the request
		bad      bool // it is refused
	}{
		{"no body", "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET", "", 3, false},
		{"length", post("content-length:3\r\n", "abcd"), "abc", 1, false},
		{"chunks", post("Transfer-Encoding: Chunked\r\n", "2\r\nab\r\n01 ;x=\"y\"\r\nc\r\n0\r\nX: y\r\n\r\n!"), "abc", 1, false},
		{"both", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), "", 0, true},
		{"two lengths", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), "", 0, true},
		{"sign", post("Content-Length: +3\r\n", "abc"), "", 0, true},
		{"list of codings", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), "", 0, true},
		{"bare LF", "GET / HTTP/1.1\nHost: h\r\n\r\n", "", 0, true},
		{"bare CR", "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", "", 0, true},
		{"CR CR LF", "GET / HTTP/1.1\r\nX: a\r\r\n\r\n", "", 0, true},
		{"folded", "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", "", 0, true},
		{"space before the colon", "GET / HTTP/1.1\r\nX : a\r\n\r\n", "", 0, true},
		{"NUL", "GET / HTTP/1.1\r\nX: a\x00\r\n\r\n", "", 0, true},
		{"two spaces", "GET  / HTTP/1.1\r\n\r\n", "", 0, true},
		{"empty line in front", "\r\nGET / HTTP/1.1\r\n\r\n", "", 0, true},
		{"version", "GET / HTTP/1.2\r\n\r\n", "", 0, true},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 0, true},
		{"chunk size", post("Transfer-Encoding: chunked\r\n", "0x2\r\nab\r\n0\r\n\r\n"), "", 0, true},
		{"empty chunk size", post("Transfer-Encoding: chunked\r\n", "\r\nab\r\n0\r\n\r\n"), "", 0, true},
		{"chunk too long", post("Transfer-Encoding: chunked\r\n", "1\r\nab\r\n0\r\n\r\n"), "", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, n, err := ReadRequest([]byte(tc.in))
			if (err != nil) != tc.bad || errors.Is(err, ErrIncomplete) {
				t.Fatalf("%+v, %v", m, err)
			}
			if err != nil {
				return
			}
			if m.Body != tc.body || len(tc.in)-n != tc.left || string(m.Raw()) != tc.in[:n] {
				t.Errorf("body %q, %d left, raw %q", m.Body, len(tc.in)-n, m.Raw())
			}
			for cut := range n {
				if _, _, err := ReadRequest([]byte(tc.in[:cut])); !errors.Is(err, ErrIncomplete) {
					t.Errorf("of %q: %v", tc.in[:cut], err)
				}
			}
		})
	}
}

func TestReadResponse(t *testing.T) {
	for _, tc := range []struct {
		in, method string
		closed     bool
		body       string
		err        error
	}{
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", false, "ok", nil},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", false, "", nil},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "GET", false, "", nil},
		{"HTTP/1.0 200 OK\r\n\r\nall", "GET", true, "all", nil},
		{"HTTP/1.0 200 OK\r\n\r\nall", "GET", false, "all", ErrIncomplete},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "GET", true, "ok", ErrIncomplete},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "GET", true, "ok", ErrIncomplete},
	} {
		if m, _, err := ReadResponse([]byte(tc.in), tc.method, tc.closed); m.Body != tc.body || !errors.Is(err, tc.err) {
			t.Errorf("%q: %+v, %v", tc.in, m, err)
		}
	}
}

// FuzzReadRequest: what the strict reader accepts means the same to net/http.
func FuzzReadRequest(f *testing.F) {
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nGET"))
	f.Add([]byte("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabGET"))
	f.Fuzz(func(t *testing.T, in []byte) {
		m, n, err := ReadRequest(in)
		if err != nil {
			return
		}
		br := bufio.NewReaderSize(bytes.NewReader(in), len(in)+16)
		req, err := http.ReadRequest(br)
		if err != nil {
			return // for reasons of its own
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		left, _ := io.ReadAll(br)
		if req.Method != m.Method || string(body) != m.Body || len(left) != len(in)-n {
			t.Fatalf("%+v with %d left, net/http: %s, body %q, %d left", m, len(in)-n, req.Method, body, len(left))
		}
	})
}

func TestRecorderJudges(t *testing.T) {
	for _, tc := range []struct{ name, in, fault string }{
		{"good", "GET /x HTTP/1.1\r\nHost: h\r\n\r\nPOST /y HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nb", ""},
		{"upgrade", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", ""},
		{"two hosts", "GET /x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "Host"},
		{"hop-by-hop", "GET /x HTTP/1.1\r\nHost: h\r\nKeep-Alive: 1\r\n\r\n", "Keep-Alive"},
		{"h2c", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "upgrade"},
		{"twin", "GET /x HTTP/1.1\r\nHost: h\r\nContent_Length: 1\r\n\r\n", "Content_Length"},
		{"trailer", "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: h\r\n\r\n", "trailer"},
		{"HTTP/1.0", "GET /x HTTP/1.0\r\nHost: h\r\n\r\n", "version"},
		{"garbage", "\x00\r\n", "request line"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := StartRecorder(t)
			nc, err := net.Dial("tcp", strings.TrimPrefix(r.URL(), "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := io.WriteString(nc, tc.in); err != nil {
				t.Fatal(err)
			}
			if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(nc); err != nil {
				t.Fatal(err)
			}
			got := r.Take()
			if tc.fault == "" {
				if len(got.Faults) > 0 || len(got.Requests) == 0 {
					t.Errorf("%+v", got)
				}
			} else if len(got.Faults) != 1 || !strings.Contains(got.Faults[0].Error(), tc.fault) {
				t.Errorf("faults %v, want one about %s", got.Faults, tc.fault)
			}
		})
	}
}
