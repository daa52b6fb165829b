package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzRead gives random bytes to a connection, whole and in two pieces. It must read
// the same requests either way, none that a lenient reader ends elsewhere, and heads
// without framing.
func FuzzRead(f *testing.F) {
	for _, s := range []string{stream, "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", "GET / HTTP/1.0\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n"} {
		f.Add(s, uint(len(s)/2))
	}
	f.Fuzz(func(t *testing.T, in string, at uint) {
		at %= uint(len(in) + 1)
		whole := readAll(fed(in))
		split := readAll(fed(in[:at], in[at:]))
		if len(whole) != len(split) {
			t.Fatalf("%d requests whole, %d in two pieces", len(whole), len(split))
		}
		for i, r := range whole {
			if r.head != split[i].head || r.body != split[i].body || r.status != split[i].status || (r.bodyErr == nil) != (split[i].bodyErr == nil) {
				t.Fatalf("whole %+v, in two pieces %+v", r, split[i])
			}
			checkHead(t, r)
		}
		agree(t, in, whole)
	})
}

func checkHead(t *testing.T, r received) {
	if r.status != 0 {
		return
	}
	lines := strings.Split(strings.TrimSuffix(r.head, "\r\n\r\n"), "\r\n")
	for i, l := range lines {
		if strings.Contains(l, "\n") || i > 0 && (l == "" || l[0] == ' ' || l[0] == '\t') {
			t.Fatalf("line %d of %q", i, r.head)
		}
		name, _, field := strings.Cut(strings.ToLower(l), ":")
		if field && (name == "content-length" || name == "transfer-encoding" || name == "expect" || name == "trailer") {
			t.Fatalf("%q passed", l)
		}
	}
}

// agree reads the same bytes with net/http. As long as that reads what is no more
// lenient, both must find the same bodies.
func agree(t *testing.T, in string, got []received) {
	br := bufio.NewReader(strings.NewReader(in))
	for _, r := range got {
		if r.status != 0 || r.bodyErr != nil {
			return
		}
		req, err := http.ReadRequest(br)
		if err != nil {
			return // the handler refuses more than this package does
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || !bytes.Equal(body, []byte(r.body)) {
			t.Fatalf("body %q (%v) for net/http, %q here", body, err, r.body)
		}
	}
}
