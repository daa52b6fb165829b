package upstream

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/tlstest"
)

// awkward is one response that a first connection gives to its first request.
// Whatever it is, the second request must get its own answer.
type awkward struct {
	name  string
	send  string       // sent after the request
	then  apptest.Step // what the connection does next; nil: it goes on as an echo
	head  bool         // the request is HEAD
	err   error        // expected of Do
	body  string       // expected body
	cut   error        // expected of reading the body
	code  int          // expected status, when err is nil
	reuse bool         // the connection is expected to carry the next request
	// surplus: bytes follow a complete response. Dribbled, they could arrive after
	// the next request, and then nothing in HTTP/1.1 tells them from its answer.
	surplus bool
}

const ok5 = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func chunkedResponse(s string) string {
	return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + s
}

func clean(name, send, body string) awkward {
	return awkward{name: name, send: send, code: 200, body: body, reuse: true}
}

func refused(name, send string) awkward {
	return awkward{name: name, send: send, err: ErrBadResponse}
}

func badChunks(name, send, body string) awkward {
	return awkward{name: name, send: chunkedResponse(send), code: 200, body: body, cut: ErrBadResponse}
}

var awkwards = []awkward{
	clean("plain", ok5, "hello"),
	clean("empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
	clean("no reason phrase", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok"),
	clean("no space after the status", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok"),
	clean("no other field", "HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok", "ok"),
	clean("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", "ok"),
	clean("chunks", chunkedResponse("2\r\nab\r\n3;x=\"y\"\r\ncde\r\n0\r\n\r\n"), "abcde"),
	clean("chunks, space before the extension", chunkedResponse("2 ; x\r\nab\r\n0\r\n\r\n"), "ab"),
	clean("chunks, upper case and zeros", chunkedResponse("00A\r\n0123456789\r\n000\r\n\r\n"), "0123456789"),
	clean("chunks with trailers", chunkedResponse("2\r\nab\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n"), "ab"),
	clean("Trailer names a forbidden field", "HTTP/1.1 200 OK\r\nTrailer: Set-Cookie\r\nTransfer-Encoding: Chunked\r\nTRAILER: Location\r\n\r\n0\r\n\r\n", ""),
	clean("interim responses", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+ok5, "hello"),
	clean("interim with framing fields", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n"+ok5, "hello"),
	clean("eight interims", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim)+ok5, "hello"),
	clean("large head within the limit", "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("a", 60<<10)+"\r\nContent-Length: 2\r\n\r\nok", "ok"),
	{name: "204", send: "HTTP/1.1 204 No Content\r\n\r\n", code: 204, reuse: true},
	{name: "204 with a length of 0", send: "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", code: 204, reuse: true},
	{name: "204 with a length and a body", surplus: true, send: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", code: 204},
	{name: "204 with a length and no body", send: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", code: 204},
	{name: "204 chunked", surplus: true, send: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", code: 204},
	{name: "304 with a length", send: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", code: 304, reuse: true},
	{name: "304 with a body", surplus: true, send: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", code: 304},
	{name: "304 with a response as its body", surplus: true, send: "HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n" + ok5, code: 304},
	{name: "HEAD", send: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", head: true, code: 200, reuse: true},
	{name: "HEAD, chunked", send: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", head: true, code: 200, reuse: true},
	{name: "HEAD with a body", surplus: true, send: ok5, head: true, code: 200},
	{name: "surplus byte", surplus: true, send: ok5 + "x", code: 200, body: "hello"},
	{name: "surplus CRLF", surplus: true, send: ok5 + "\r\n", code: 200, body: "hello"},
	{name: "second response at once", surplus: true, send: ok5 + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", code: 200, body: "hello"},
	{name: "second response after chunks", surplus: true, send: chunkedResponse("0\r\n\r\n") + ok5, code: 200},
	{name: "Connection: close", send: "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello", code: 200, body: "hello"},
	{name: "HTTP/1.0", send: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", code: 200, body: "hello"},
	{name: "HTTP/1.0 keep-alive", send: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", code: 200, body: "hello"},
	{name: "close-delimited", send: "HTTP/1.1 200 OK\r\n\r\nhello", then: apptest.Close(), code: 200, body: "hello"},
	{name: "HTTP/1.0 close-delimited", send: "HTTP/1.0 200 OK\r\n\r\nhello", then: apptest.Close(), code: 200, body: "hello"},
	{name: "close-delimited, reset", send: "HTTP/1.1 200 OK\r\n\r\nhello", then: apptest.Reset(), code: 200, body: "hello", cut: ErrReset},
	{name: "close-delimited, half close", send: "HTTP/1.1 200 OK\r\n\r\nhello", then: apptest.CloseWrite(), code: 200, body: "hello"},
	{name: "nothing", then: apptest.Close(), err: ErrReset},
	{name: "reset", then: apptest.Reset(), err: ErrReset},
	{name: "body cut", send: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", then: apptest.Close(), code: 200, body: "hello", cut: io.ErrUnexpectedEOF},
	{name: "body reset", send: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", then: apptest.Reset(), code: 200, body: "hello", cut: io.ErrUnexpectedEOF},
	{name: "chunks cut", send: chunkedResponse("5\r\nhello\r\n"), then: apptest.Close(), code: 200, body: "hello", cut: io.ErrUnexpectedEOF},
	{name: "chunks cut before the last CRLF", send: chunkedResponse("5\r\nhello\r\n0\r\n"), then: apptest.Close(), code: 200, body: "hello", cut: io.ErrUnexpectedEOF},
	refused("101 unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw"),
	refused("101 then 200", "HTTP/1.1 101 Switching Protocols\r\n\r\n"+ok5),
	refused("nine interims", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInterim+1)+ok5),
	refused("interims without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000)),
	refused("head above the limit", "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("a", 64<<10)+"\r\nContent-Length: 2\r\n\r\nok"),
	refused("head without end", "HTTP/1.1 200 OK\r\n"+strings.Repeat("X: y\r\n", 20<<10)),
	refused("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
	refused("two equal lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello"),
	refused("list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
	refused("length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
	refused("negative length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"),
	refused("hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello"),
	refused("length that overflows", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
	refused("empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello"),
	refused("length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	refused("chunks and length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
	refused("two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	refused("list of codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
	refused("identity coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello"),
	refused("unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
	refused("empty coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n"),
	refused("HTTP/1.0 chunked", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
	refused("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("not HTTP", "SSH-2.0-OpenSSH_9.9\r\n"),
	refused("HTTP/0.9", "<html>hello</html>"),
	refused("bytes before the status line", "\r\n"+ok5),
	refused("space before the status line", " "+ok5),
	refused("two-digit status", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("four-digit status", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("status with a letter", "HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello"),
	refused("bare LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
	refused("bare LF after a field", "HTTP/1.1 200 OK\r\nContent-Length: 5\n\r\n\r\nhello"),
	refused("bare LF after a harmless field", "HTTP/1.1 200 OK\r\nX: yz\nContent-Length: 5\r\n\r\nhello"),
	refused("bare LF as the empty line", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello"),
	refused("bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 5\r\n\r\n"),
	refused("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello"),
	refused("NUL in the reason", "HTTP/1.1 200 O\x00K\r\nContent-Length: 5\r\n\r\nhello"),
	refused("folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello"),
	refused("folded first line", "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 5\r\n\r\nhello"),
	refused("line without a colon", "HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\nhello"),
	refused("empty name", "HTTP/1.1 200 OK\r\n: 5\r\nContent-Length: 5\r\n\r\nhello"),
	refused("space in a name", "HTTP/1.1 200 OK\r\nX Y: 5\r\nContent-Length: 5\r\n\r\nhello"),
	badChunks("chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n", "hello"),
	badChunks("chunk without a size", "\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("chunk size with a sign", "+5\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("negative chunk size", "-5\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("chunk size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("chunk size with a space before", " 5\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("chunk size with a space after", "5 \r\nhello\r\n0\r\n\r\n", ""),
	badChunks("chunk size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("largest chunk size of 64 bits", "ffffffffffffffff\r\nhello", ""),
	badChunks("bare LF after a chunk size", "5\nhello\r\n0\r\n\r\n", ""),
	badChunks("bare LF after a chunk", "5\r\nhello\n0\r\n\r\n", "hello"),
	badChunks("bare LF at the end", "5\r\nhello\r\n0\r\n\n", "hello"),
	badChunks("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("NUL in an extension", "5;a\x00b\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("long extension", "5;"+strings.Repeat("a", 2<<10)+"\r\nhello\r\n0\r\n\r\n", ""),
	badChunks("endless size line", strings.Repeat("0", 64<<10), ""),
	badChunks("endless trailers", "0\r\n"+strings.Repeat("X: y\r\n", 10<<10), ""),
	badChunks("trailer without a colon", "0\r\nHTTP/1.1 200 OK\r\n\r\n", ""),
	badChunks("folded trailer", "0\r\nX: a\r\n b\r\n\r\n", ""),
	badChunks("more extensions than data", strings.Repeat("1;"+strings.Repeat("e", 1000)+"\r\na\r\n", 40)+"0\r\n\r\n", strings.Repeat("a", 16)),
}

func TestAwkwardResponses(t *testing.T) {
	t.Logf("%d responses", len(awkwards))
	authority := tlstest.New(t)
	for _, a := range awkwards {
		t.Run(a.name, func(t *testing.T) { a.run(t, nil, apptest.Send(a.send)) })
		t.Run(a.name+", TLS", func(t *testing.T) { a.run(t, authority, apptest.Send(a.send)) })
		if len(a.send) < 300 && !a.surplus { // byte by byte, each in a packet of its own
			t.Run(a.name+", dribbled", func(t *testing.T) { a.run(t, nil, apptest.Dribble(a.send)) })
		}
	}
}

func (a awkward) run(t *testing.T, authority *tlstest.Authority, send apptest.Step) {
	then := a.then
	if then == nil {
		then = apptest.Echo()
	}
	script := apptest.InTurn([]apptest.Step{apptest.Expect(), send, then}, []apptest.Step{apptest.Echo()})
	start := apptest.Start
	if authority != nil {
		start = func(tb testing.TB, script func(int) []apptest.Step) *apptest.Raw {
			return apptest.StartTLS(tb, authority.Server(tb, "127.0.0.1"), script)
		}
	}
	raw := start(t, script)
	cfg := testConfig(raw.URL())
	if authority != nil {
		cfg.TLS.CA = authority.File
	}
	c := newClient(t, cfg)
	r := &Request{Head: reqHead("GET", "/first"), Replayable: true}
	if a.head {
		r.Head, r.HeadMethod = reqHead("HEAD", "/first"), true
	}
	got := do(c, r)
	a.compare(t, got)
	for i := range 3 {
		wantOwn(t, c, fmt.Sprintf("/next/%d", i))
	}
	if reused := raw.Conns() == 1; reused != a.reuse {
		t.Errorf("the connection was reused: %v, want %v", reused, a.reuse)
	}
	wantSound(t, c)
	if s := c.Stats(); s.Open != s.Idle || s.Open != 1 || s.Stale != 0 {
		t.Errorf("connections left: %+v", s)
	}
	if n := c.Stats().Retries; n != 0 {
		t.Errorf("%d retries of a request on a fresh connection", n)
	}
}

func (a awkward) compare(t *testing.T, got answer) {
	t.Helper()
	if a.err != nil {
		if !errors.Is(got.err, a.err) {
			t.Fatalf("got %+v, want the error %v", got, a.err)
		}
		return
	}
	if a.cut != nil && errors.Is(got.err, ErrReset) {
		return // a reset may void bytes sent before it, the head too
	}
	if got.err != nil || got.status != a.code || !errors.Is(got.bodyErr, a.cut) || got.complete != (a.cut == nil) {
		t.Fatalf("got %+v, want status %d and the body error %v", got, a.code, a.cut)
	}
	if got.body != a.body && !(a.cut != nil && strings.HasPrefix(a.body, got.body)) {
		t.Errorf("body %q, want %q", got.body, a.body)
	}
}

// TestTruncatedAtEveryByte cuts responses everywhere, by an orderly close and by
// a reset: nothing short of the whole may look complete.
func TestTruncatedAtEveryByte(t *testing.T) {
	for name, whole := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
		"chunks":  chunkedResponse("5\r\nhello\r\n1;e\r\n!\r\n0\r\nX: y\r\n\r\n"),
		"interim": "HTTP/1.1 100 Continue\r\n\r\n" + ok5,
	} {
		t.Run(name, func(t *testing.T) {
			for cut := range len(whole) {
				truncatedAt(t, whole[:cut], apptest.Close())
				truncatedAt(t, whole[:cut], apptest.Reset())
			}
		})
	}
}

func truncatedAt(t *testing.T, part string, end apptest.Step) {
	t.Helper()
	raw := apptest.Start(t, apptest.InTurn(
		[]apptest.Step{apptest.Expect(), apptest.Send(part), end}, []apptest.Step{apptest.Echo()}))
	c, err := New(testConfig(raw.URL()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := get(c, "/first")
	if got.err == nil && got.bodyErr == nil || got.complete {
		t.Fatalf("%q was taken for a whole response: %+v", part, got)
	}
	if got.err == nil && !errors.Is(got.bodyErr, io.ErrUnexpectedEOF) {
		t.Fatalf("%q: body error %v, want io.ErrUnexpectedEOF", part, got.bodyErr)
	}
	if got.err != nil && !errors.Is(got.err, ErrReset) {
		t.Fatalf("%q: %v, want ErrReset", part, got.err)
	}
	wantOwn(t, c, "/next")
}
