package wire

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
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

// FuzzDirect has some of the requests answered by Direct, in two pieces too. All of them
// together must be those that there are without it.
func FuzzDirect(f *testing.F) {
	f.Add("POST /body HTTP/1.1\r\nContent-Length:5\r\nHosa\r\n\r\nhelloPOST /b HTTP/1.1\r\nCot: a\r\n\r\n", uint(48))
	for at, s := range []string{stream, post("/body", "hello") + post("/b", "x") + getDirect, getDirect + post("/body", "hello")[:50], post("/", strings.Repeat("x", bufferSize))} {
		f.Add(s, uint(at*len(s)/4))
	}
	f.Fuzz(func(t *testing.T, in string, at uint) {
		at %= uint(len(in) + 1)
		want := readAll(fed(in))
		for _, pieces := range [][]string{{in}, {in[:at], in[at:]}} {
			var got []received
			c := fed(pieces...)
			c.ln.Answer(func(c *Conn, head []byte) (Outcome, time.Time) {
				if len(head)%3 == 0 {
					return Passed, time.Time{}
				}
				r := received{head: string(head)}
				if len(head)%3 == 1 {
					body, err := io.ReadAll(c.Body())
					r.body, r.bodyErr = string(body), err
				} else if n := c.Request().Size; n > 0 { // it leaves the body
					r.body = string(c.buf[c.r : c.r+int(n)])
				}
				got = append(got, r)
				return Answered, time.Now()
			})
			readInto(&got, c)
			if len(got) != len(want) {
				t.Fatalf("%d requests without Direct, %d with it: %+v", len(want), len(got), got)
			}
			for i, r := range want {
				if r.head != got[i].head || r.body != got[i].body || r.status != got[i].status || (r.bodyErr == nil) != (got[i].bodyErr == nil) {
					t.Fatalf("%+v without Direct, %+v with it", r, got[i])
				}
			}
		}
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
