package proxy_test

import (
	"io"
	"strings"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

const okHello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

func chunkedAnswer(body string) string {
	return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
}

// awkwardResponses are in the order: fine, of odd length, truncated, refused.
func awkwardResponses() (all []awkward) {
	for _, table := range [][]awkward{fineResponses(), bodilessResponses(), endingResponses(), badHeads(), badChunkedBodies(), earlyResponses()} {
		all = append(all, table...)
	}
	return all
}

func fineResponses() []awkward {
	fine := func(name, send, body string, interim ...int) awkward {
		return awkward{name: name, send: send, status: 200, body: body, interim: interim}
	}
	large := strings.Repeat("0123456789abcdef", 12<<10) // 192 KiB
	return []awkward{
		fine("plain", okHello, "hello"),
		fine("empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
		fine("no reason phrase", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", "ok"),
		fine("space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", "ok"),
		fine("chunks", chunkedAnswer("2\r\nab\r\n3;x=\"y\"\r\ncde\r\n0\r\n\r\n"), "abcde"),
		fine("chunks, none", chunkedAnswer("0\r\n\r\n"), ""),
		fine("chunks with trailers", chunkedAnswer("2\r\nab\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\nContent-Length: 9\r\n\r\n"), "ab"),
		fine("a body that is a response", "HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n"+okHello, okHello),
		fine("100 before it", "HTTP/1.1 100 Continue\r\n\r\n"+okHello, "hello"),
		fine("102 before it", "HTTP/1.1 102 Processing\r\n\r\n"+okHello, "hello", 102),
		fine("103 before it", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+okHello, "hello", 103),
		fine("103 with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n"+okHello, "hello", 103),
		fine("100, 102 and two 103", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"+okHello, "hello", 102, 103, 103),
		fine("interim that nobody knows", "HTTP/1.1 199 Odd\r\n\r\n"+okHello, "hello", 199),
		fine("one field of 60 KiB", "HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("a", 60<<10)+"\r\nContent-Length: 2\r\n\r\nok", "ok"),
		fine("a thousand fields", "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: some value\r\n", 1000)+"Content-Length: 2\r\n\r\nok", "ok"),
		fine("large", "HTTP/1.1 200 OK\r\nContent-Length: 196608\r\n\r\n"+large, large),
		fine("large, chunked", chunkedAnswer("30000\r\n"+large+"\r\n0\r\n\r\n"), large),
		fine("Connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		fine("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		fine("HTTP/1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		fine("hop-by-hop fields", "HTTP/1.1 200 OK\r\nConnection: X-A\r\nX-A: b\r\nKeep-Alive: timeout=1\r\nTrailer: X-Sum\r\nContent-Length: 5\r\n\r\nhello", "hello"),
		fine("surplus byte", okHello+"x", "hello"),
		fine("surplus CRLF", okHello+"\r\n", "hello"),
		fine("a second response at once", okHello+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "hello"),
		fine("a second response after chunks", chunkedAnswer("0\r\n\r\n")+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", ""),
	}
}

// bodilessResponses never have a body, whatever their fields say (RFC 9112 §6.3).
func bodilessResponses() []awkward {
	none := func(name, method string, status int, send string) awkward {
		return awkward{name: name, method: method, status: status, send: send}
	}
	return []awkward{
		none("204", "", 204, "HTTP/1.1 204 No Content\r\n\r\n"),
		none("204 with a length of 0", "", 204, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
		none("204 with a body", "", 204, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
		none("204 with a response as its body", "", 204, "HTTP/1.1 204 No Content\r\nContent-Length: 43\r\n\r\n"+okHello),
		none("204 chunked", "", 204, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
		none("304 with a length", "", 304, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
		none("304 with a body", "", 304, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
		none("304 with a response as its body", "", 304, "HTTP/1.1 304 Not Modified\r\nContent-Length: 43\r\n\r\n"+okHello),
		none("304 chunked", "", 304, "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		none("HEAD with a length", "HEAD", 200, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
		none("HEAD without a length", "HEAD", 200, "HTTP/1.1 200 OK\r\n\r\n"),
		none("HEAD chunked", "HEAD", 200, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		none("HEAD with a body", "HEAD", 200, okHello),
		none("HEAD with a chunked body", "HEAD", 200, chunkedAnswer("5\r\nhello\r\n0\r\n\r\n")),
		none("HEAD of a 404 with a body", "HEAD", 404, "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello"),
		none("HEAD of a 204 with a body", "HEAD", 204, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
		none("205 with a length of 0", "", 205, "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
	}
}

// endingResponses end with their connection, as they should or not.
func endingResponses() []awkward {
	cut := func(name, send string, then apptest.Step) awkward {
		return awkward{name: name, send: send, then: then, cut: true}
	}
	half := strings.Repeat("h", 100<<10)
	return []awkward{
		{name: "close-delimited", send: "HTTP/1.1 200 OK\r\n\r\nhello", then: apptest.Close(), status: 200, body: "hello"},
		{name: "close-delimited, HTTP/1.0", send: "HTTP/1.0 200 OK\r\n\r\nhello", then: apptest.Close(), status: 200, body: "hello"},
		{name: "close-delimited, half close", send: "HTTP/1.1 200 OK\r\n\r\nhello", then: apptest.CloseWrite(), status: 200, body: "hello"},
		{name: "close-delimited, empty", send: "HTTP/1.1 200 OK\r\n\r\n", then: apptest.Close(), status: 200},
		{name: "close-delimited, large", send: "HTTP/1.1 200 OK\r\n\r\n" + half, then: apptest.Close(), status: 200, body: half},
		{name: "complete, then a reset", send: okHello, then: apptest.Reset(), status: 200, body: "hello", maybe: true},
		{name: "complete, then closed", send: okHello, then: apptest.Close(), status: 200, body: "hello"},
		cut("close-delimited, reset", "HTTP/1.1 200 OK\r\n\r\nhello", apptest.Reset()),
		cut("close-delimited, large, reset", "HTTP/1.1 200 OK\r\n\r\n"+half, apptest.Reset()),
		cut("nothing, closed", "", apptest.Close()),
		cut("nothing, reset", "", apptest.Reset()),
		cut("body closed early", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", apptest.Close()),
		cut("body reset early", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", apptest.Reset()),
		cut("large body closed early", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"+half, apptest.Close()),
		cut("large body reset early", "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"+half, apptest.Reset()),
		cut("chunks closed early", chunkedAnswer("5\r\nhello\r\n"), apptest.Close()),
		cut("chunks reset early", chunkedAnswer("5\r\nhello\r\n"), apptest.Reset()),
		cut("chunks closed before the last CRLF", chunkedAnswer("5\r\nhello\r\n0\r\n"), apptest.Close()),
		cut("large chunks closed early", chunkedAnswer("19000\r\n"+half+"\r\n"), apptest.Close()),
		cut("large chunk closed in its middle", chunkedAnswer("30000\r\n"+half), apptest.Close()),
		cut("interim, then closed", "HTTP/1.1 103 Early Hints\r\n\r\n", apptest.Close()),
		cut("interim, then reset", "HTTP/1.1 100 Continue\r\n\r\n", apptest.Reset()),
	}
}

// badHeads have no meaning, or two.
func badHeads() []awkward {
	bad := func(name, send string) awkward { return awkward{name: name, send: send, status: 502} }
	length := func(name, value string) awkward {
		return bad("length "+name, "HTTP/1.1 200 OK\r\nContent-Length: "+value+"\r\n\r\nhello")
	}
	field := func(name, line string) awkward {
		return bad(name, "HTTP/1.1 200 OK\r\n"+line+"\r\nContent-Length: 5\r\n\r\nhello")
	}
	return []awkward{
		bad("101 unasked", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw"),
		bad("101, then 200", "HTTP/1.1 101 Switching Protocols\r\n\r\n"+okHello),
		bad("interims without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 1000)),
		bad("head of 100 KiB", "HTTP/1.1 200 OK\r\nX-A: "+strings.Repeat("a", 100<<10)+"\r\nContent-Length: 2\r\n\r\nok"),
		bad("head without end", "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-A: y\r\n", 20<<10)),
		bad("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
		length("list", "5, 5"), length("with a sign", "+5"), length("negative", "-5"), length("hexadecimal", "0x5"),
		length("of 2^64+5", "18446744073709551621"), length("empty", ""),
		bad("length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		bad("two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		bad("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
		bad("unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
		bad("chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		bad("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
		bad("another protocol", "SSH-2.0-OpenSSH_9.9\r\n"),
		bad("HTTP/0.9", "<html>hello</html>"),
		bad("an empty line in front", "\r\n"+okHello),
		bad("two-digit status", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"),
		bad("four-digit status", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello"),
		bad("status with a letter", "HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello"),
		bad("bare LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
		bad("bare LF as the end of the head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello"),
		field("bare LF after a field", "X-A: b\nX-B: c"),
		field("bare CR in a value", "X-A: b\rX-B: c"),
		field("NUL in a value", "X-A: b\x00c"),
		field("folded line", "X-A: b\r\n c"),
		field("line without a colon", "X-A"),
		field("empty name", ": b"),
		field("space in a name", "X A: b"),
	}
}

// badChunkedBodies break off within the body, when the head has been passed on.
func badChunkedBodies() []awkward {
	bad := func(name, body string) awkward {
		return awkward{name: name, send: chunkedAnswer(body), cut: true}
	}
	return []awkward{
		bad("chunk longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
		bad("chunk size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
		bad("chunk size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
		bad("chunk size that overflows", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
		bad("chunk size that is empty", "\r\nhello\r\n0\r\n\r\n"),
		bad("bare LF after a chunk size", "5\nhello\r\n0\r\n\r\n"),
		bad("bare LF after a chunk", "5\r\nhello\n0\r\n\r\n"),
		bad("bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
		bad("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
		bad("a long extension", "5;"+strings.Repeat("a", 64<<10)+"\r\nhello\r\n0\r\n\r\n"),
		bad("trailers without end", "0\r\n"+strings.Repeat("X-A: y\r\n", 10<<10)),
		bad("a response for a trailer", "0\r\nHTTP/1.1 200 OK\r\n\r\n"),
		bad("a second chunk that is bad", "5\r\nhello\r\nzz\r\n0\r\n\r\n"),
	}
}

// earlyResponses come before the request's body was read.
func earlyResponses() []awkward {
	const kept = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
	const last = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
	// An application that closes in good order reads on for a while: a reset would void
	// what it has said.
	linger := func(c *apptest.Conn) error {
		if err := apptest.CloseWrite()(c); err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, c.Conn)
		return io.EOF
	}
	early := func(name, send string, upload int, then apptest.Step) awkward {
		return awkward{name: name, method: "POST", upload: upload, early: true, send: send, then: then, status: 413, body: "big"}
	}
	again := func(a awkward) awkward { a.status, a.body = 200, "hello"; return a }
	unsure := func(a awkward) awkward { a.maybe = true; return a }
	return []awkward{
		early("early 413 to a small upload", kept, 1000, nil),
		early("early 413 to a large upload", kept, 400_000, nil),
		early("early 413 to a large upload, closing", last, 400_000, linger),
		early("early 413 to a small upload, closing", last, 1000, linger),
		early("early 413 to a large upload, closing without saying so", kept, 400_000, linger),
		unsure(early("early 413 to a large upload, reset", last, 400_000, apptest.Reset())),
		again(early("early 200 to a large upload", okHello, 400_000, nil)),
		again(early("early chunked 200 to a large upload", chunkedAnswer("5\r\nhello\r\n0\r\n\r\n"), 400_000, nil)),
		again(early("early 200 to an upload, a second response behind it", okHello+"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 400_000, linger)),
		{name: "no answer to a large upload", method: "POST", upload: 400_000, early: true, then: apptest.Close(), status: 502},
		{name: "reset in a large upload", method: "POST", upload: 400_000, early: true, then: apptest.Reset(), status: 502},
		{name: "garbage to a large upload", method: "POST", upload: 400_000, early: true, send: "garbage\r\n\r\n", then: linger, status: 502},
		{name: "100 and 200 to a large upload", method: "POST", upload: 400_000, early: true, send: "HTTP/1.1 100 Continue\r\n\r\n" + okHello, status: 200, body: "hello"},
	}
}
