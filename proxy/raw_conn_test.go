package proxy_test

import (
	"fmt"
	"strings"
)

// expectCases are about Expect (RFC 9110 §10.1.1).
func expectCases() []rawCase {
	const expect = "Expect: 100-continue\r\n"
	return []rawCase{
		good("expect with a body", rawPost("Content-Length: 3\r\n"+expect, "abc"), "POST /x abc").without("Expect").continued(),
		good("expect with a chunked body", rawPost("Transfer-Encoding: chunked\r\n"+expect, "3\r\nabc\r\n"+lastChunk), "POST /x abc").without("Expect").continued(),
		good("expect in capitals", rawPost("Content-Length: 3\r\nEXPECT: 100-CONTINUE\r\n", "abc"), "POST /x abc").without("Expect").continued(),
		good("expect without a body", rawWith(expect), "GET /x").without("Expect").continued().anyInterim(),
		good("expect with a length of 0", rawPost("Content-Length: 0\r\n"+expect, ""), "POST /x").without("Expect").continued().anyInterim(),
		good("expect twice", rawPost("Content-Length: 3\r\n"+expect+expect, "abc"), "POST /x abc").or(400, 417).continued().anyInterim(),
		good("expect in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\n"+expect+"\r\nabc", "POST /x abc").closing().without("Expect"),
		good("expect, and a request behind it", rawPost("Content-Length: 3\r\n"+expect, "abc"+evil), "POST /x abc", "GET /evil").continued(),
		bad("expect something else", rawPost("Content-Length: 3\r\nExpect: 200-ok\r\n", "abc"), 417).inPieces(),
		bad("expect something else without a body", rawWith("Expect: x\r\n"), 417),
		bad("expect a list", rawPost("Content-Length: 3\r\nExpect: 100-continue, x\r\n", "abc"), 417, 400),
		bad("expect 100-continue and something else", rawPost("Content-Length: 3\r\n"+expect+"Expect: x\r\n", "abc"), 417, 400),
		bad("expect with a parameter", rawPost("Content-Length: 3\r\nExpect: 100-continue;x=y\r\n", "abc"), 417, 400),
		bad("expect with a body too large", rawPost("Content-Length: 65537\r\n"+expect, ""), 413).atOnce(),
		bad("expect with both framings", rawPost("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"+expect, lastChunk), 400).inPieces(),
		bad("expect with an unknown coding", rawPost("Transfer-Encoding: gzip\r\n"+expect, ""), 501, 400),
		bad("expect with a bad chunk", rawPost("Transfer-Encoding: chunked\r\n"+expect, "x\r\nabc\r\n"+lastChunk), 400),
	}
}

// connectionCases are about Connection and the fields it names (RFC 9110 §7.6.1).
func connectionCases() []rawCase {
	named := func(name, line string) rawCase {
		return good("connection names "+name, rawWith("Connection: "+name+crlf+line+crlf), "GET /x")
	}
	closes := func(name, lines string) rawCase {
		return good("connection: "+name, rawWith(lines), "GET /x").closing().without("Connection")
	}
	h2c := "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
	return []rawCase{
		closes("close", "Connection: close\r\n").inPieces(),
		closes("CLOSE", "Connection: CLOSE\r\n"),
		closes("close in a list", "Connection: keep-alive, close\r\n"),
		closes("close in a second field", "Connection: keep-alive\r\nConnection: close\r\n"),
		closes("close between empty elements", "Connection: , ,close ,\r\n"),
		good("connection: close after a body", rawPost("Content-Length: 3\r\nConnection: close\r\n", "abc"), "POST /x abc").closing().inPieces(),
		good("connection: close after chunks", rawPost("Transfer-Encoding: chunked\r\nConnection: close\r\n", "3\r\nabc\r\n"+lastChunk), "POST /x abc").closing(),
		good("connection: closed is another word", rawWith("Connection: closed\r\n"), "GET /x").without("Connection"),
		good("connection: HTTP/1.0", "GET /x HTTP/1.0\r\nHost: h\r\n\r\n"+rawGet("/evil"), "GET /x").closing(),
		good("connection: keep-alive and its field", rawWith("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"), "GET /x").without("Connection", "Keep-Alive"),
		good("connection: Proxy-Connection", rawWith("Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nProxy-Authenticate: Basic\r\n"), "GET /x").
			without("Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate"),
		good("connection: TE and Trailer", rawWith("Connection: TE\r\nTE: trailers\r\nTrailer: X-Sum\r\n"), "GET /x").without("TE", "Trailer", "Connection"),
		named("X-Secret", "X-Secret: 1").without("X-Secret"),
		named("x-SECRET", "X-Secret: 1\r\nX-SECRET: 2").without("X-Secret"),
		named("Host", "X-A: b").with("Host: h", "X-A: b").or(400),
		named("X-User-Id", "X-User-Id: 7").without("X-User-Id"),
		named("Cookie", "Cookie: a=b"),
		named("Authorization", "Authorization: Basic eA=="),
		named("X-Forwarded-For", "X-Forwarded-For: 192.0.2.7").with("X-Forwarded-Host: h"),
		named("Connection", "X-A: b").with("X-A: b"),
		good("connection names Content-Length", rawPost("Connection: Content-Length\r\nContent-Length: 3\r\n", "abc"), "POST /x abc").or(400).with("Content-Length: 3").inPieces(),
		good("connection names Transfer-Encoding", rawPost("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n"+lastChunk), "POST /x abc").or(400).inPieces(),
		good("connection names Expect", rawPost("Connection: Expect\r\nContent-Length: 3\r\nExpect: 100-continue\r\n", "abc"), "POST /x abc").or(400).continued().anyInterim(),
		good("connection: h2c", rawWith("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"+h2c), "GET /x").without("Upgrade", "HTTP2-Settings", "Connection").inPieces(),
		good("connection: h2c, its settings not named", rawWith("Connection: Upgrade\r\nUpgrade: h2c\r\n"+h2c), "GET /x").without("Upgrade", "HTTP2-Settings", "Connection"),
		good("connection: h2c in capitals, in a list", rawWith("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: foo, H2C\r\n"+h2c), "GET /x").without("HTTP2-Settings"),
		good("connection: h2c with a body", rawPost("Content-Length: 3\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"+h2c, "abc"), "POST /x abc").without("Upgrade", "HTTP2-Settings", "Connection"),
		good("connection: Upgrade that is not named", rawWith("Upgrade: websocket\r\n"), "GET /x").without("Upgrade", "Connection"),
		good("connection: Upgrade with a body", rawPost("Content-Length: 3\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", "abc"), "POST /x abc").without("Upgrade", "Connection"),
		good("connection: Upgrade in HTTP/1.0", "GET /x HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET /x").closing().without("Upgrade", "Connection"),
		good("connection: Upgrade that the application refuses, a request behind it", rawWith("Connection: Upgrade\r\nUpgrade: websocket\r\n")+evil, "GET /x", "GET /evil"),
	}
}

// pipelineCases are several requests on one connection (RFC 9112 §9.3.2).
func pipelineCases() []rawCase {
	const length, chunks = "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n"
	three := rawGet("/a") + rawPost(length, "abc") + rawPost(chunks, "3\r\ndef\r\n"+lastChunk)
	var many strings.Builder
	var all []string
	for i := range 60 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&many, "GET /p/%d HTTP/1.1\r\nHost: h\r\n\r\n", i)
			all = append(all, fmt.Sprintf("GET /p/%d", i))
		case 1:
			fmt.Fprintf(&many, "PUT /p/%d HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nb-%03d", i, i)
			all = append(all, fmt.Sprintf("PUT /p/%d b-%03d", i, i))
		case 2:
			fmt.Fprintf(&many, "POST /p/%d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nc-\r\n3;x\r\n%03d\r\n0\r\nX-Sum: 1\r\n\r\n", i, i)
			all = append(all, fmt.Sprintf("POST /p/%d c-%03d", i, i))
		}
	}
	big := strings.Repeat("x", 40000)
	return []rawCase{
		good("pipeline of each framing", three, "GET /a", "POST /x abc", "POST /x def").inPieces(),
		good("pipeline of sixty", many.String(), all...),
		good("pipeline with HEAD and OPTIONS", "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"+rawGet("/b"), "HEAD /a", "OPTIONS *", "GET /b"),
		good("pipeline of large bodies", rawPost("Content-Length: 40000\r\n", big)+rawChunked("9c40\r\n"+big+crlf+lastChunk)+rawGet("/b"), "POST /x "+big, "POST /x "+big, "GET /b"),
		good("pipeline ended by Connection: close", three+rawWith("Connection: close\r\n")+evil, "GET /a", "POST /x abc", "POST /x def", "GET /x").closing(),
		good("pipeline ended by HTTP/1.0", three+"GET /x HTTP/1.0\r\nHost: h\r\n\r\n"+evil, "GET /a", "POST /x abc", "POST /x def", "GET /x").closing(),
		bad("pipeline, then CL.TE", three+rawPost(length+chunks, "0\r\n\r\n")+evil, 400).after("GET /a", "POST /x abc", "POST /x def").inPieces(),
		bad("pipeline, then a bad chunk", three+rawChunked("0x3\r\nabc\r\n"+lastChunk)+evil, 400).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline, then a bare LF", three+"GET /x HTTP/1.1\nHost: h\r\n\r\n"+evil, 400).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline, then no Host", three+"GET /x HTTP/1.1\r\n\r\n"+evil, 400).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline, then a bad version", three+"GET /x HTTP/2.0\r\nHost: h\r\n\r\n"+evil, 505).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline, then a bad target", three+rawGet("/../x")+evil, 400).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline, then garbage", three+"\x00\x01\x02\r\n\r\n"+evil, 400, 501).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline, then a body too large", three+rawPost("Content-Length: 65537\r\n", "")+evil, 413).after("GET /a", "POST /x abc", "POST /x def"),
		bad("pipeline of bad ones", rawWith("X-A : b\r\n")+rawWith("X-B : b\r\n")+evil, 400),
		bad("pipeline, then a bad HEAD", rawGet("/a")+"HEAD /x HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n"+evil, 400).after("GET /a"),
	}
}

// methodCases are methods beyond GET and POST (RFC 9110 §9, §7.6.2).
func methodCases() []rawCase {
	plain := func(method string) rawCase {
		return good("method "+method, method+" /x HTTP/1.1\r\nHost: h\r\n\r\n", method+" /x")
	}
	limited := func(name, request string, statuses ...int) rawCase {
		return bad("Max-Forwards "+name, request, statuses...).answeredHere()
	}
	return []rawCase{
		plain("HEAD").inPieces(), plain("DELETE"), plain("OPTIONS"), plain("PROPFIND"), plain("M-SEARCH"), plain("QUERY"), plain("PURGE"),
		good("method PUT without a body", "PUT /x HTTP/1.1\r\nHost: h\r\n\r\n", "PUT /x").with("Content-Length: 0"),
		good("method PATCH with a body", "PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "PATCH /x abc"),
		good("method REPORT with a chunked body", "REPORT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"+lastChunk, "REPORT /x abc"),
		good("method TRACE", "TRACE /x HTTP/1.1\r\nHost: h\r\n\r\n", "TRACE /x").or(405, 501),
		good("method TRACE with a body", "TRACE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "TRACE /x abc").or(400, 405, 501),
		limited("of 0 with OPTIONS", "OPTIONS /x HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", 200, 204),
		limited("of 0 with OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", 200, 204),
		limited("of 0 with TRACE", "TRACE /x HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n", 200, 405, 501),
		good("Max-Forwards of 5 with OPTIONS", "OPTIONS /x HTTP/1.1\r\nHost: h\r\nMax-Forwards: 5\r\n\r\n", "OPTIONS /x").with("Max-Forwards: 4"),
		good("Max-Forwards of 0 with GET", rawWith("Max-Forwards: 0\r\n"), "GET /x").with("Max-Forwards: 0"),
	}
}

// cutCases are clients that go away within a request. The application must never see
// a complete one.
func cutCases() (list []rawCase) {
	large := strings.Repeat("x", 50000)
	for _, c := range [][2]string{
		{"nothing sent", ""},
		{"in the method", "GE"},
		{"in the target", "GET /x"},
		{"after the request line", "GET /x HTTP/1.1\r\n"},
		{"in a field", "GET /x HTTP/1.1\r\nHost: h\r\nX-A"},
		{"before the empty line", "GET /x HTTP/1.1\r\nHost: h\r\n"},
		{"in the empty line", "GET /x HTTP/1.1\r\nHost: h\r\n\r"},
		{"before the body", rawPost("Content-Length: 3\r\n", "")},
		{"in the body", rawPost("Content-Length: 3\r\n", "ab")},
		{"in a large body", rawPost("Content-Length: 60000\r\n", large)},
		{"before the first chunk", rawChunked("")},
		{"in a chunk size", rawChunked("3")},
		{"in the line end of a size", rawChunked("3\r")},
		{"before a chunk", rawChunked("3\r\n")},
		{"in a chunk", rawChunked("3\r\nab")},
		{"after a chunk", rawChunked("3\r\nabc")},
		{"after a chunk's line end", rawChunked("3\r\nabc\r\n")},
		{"in the last chunk", rawChunked("3\r\nabc\r\n0")},
		{"after the last chunk", rawChunked("3\r\nabc\r\n0\r\n")},
		{"in the final line end", rawChunked("3\r\nabc\r\n0\r\n\r")},
		{"in a trailer", rawChunked("3\r\nabc\r\n0\r\nX-Sum: 1")},
		{"after a trailer", rawChunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\n")},
		{"in a large chunk", rawChunked("ea60\r\n" + large)},
		{"after large chunks", rawChunked("c350\r\n" + large + crlf)},
		{"in the body, continuing", rawPost("Content-Length: 3\r\nExpect: 100-continue\r\n", "a")},
		{"in the body of a PUT", "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"},
		{"in a body that holds a request", rawPost("Content-Length: 60\r\n", evil)},
	} {
		list = append(list,
			cut("client ends its side "+c[0], c[1], endHalf),
			cut("client goes away "+c[0], c[1], endClose),
			cut("client resets "+c[0], c[1], endReset))
	}
	return list
}
