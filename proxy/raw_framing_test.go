package proxy_test

import "strings"

const crlf = "\r\n"

// rawGet is a GET of the target.
func rawGet(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// rawWith is a GET with more lines, each with its line end.
func rawWith(lines string) string { return "GET /x HTTP/1.1\r\nHost: h\r\n" + lines + crlf }

// rawPost is a POST with more lines and what follows the header.
func rawPost(lines, body string) string {
	return "POST /x HTTP/1.1\r\nHost: h\r\n" + lines + crlf + body
}

// rawChunked is a POST with a chunked body.
func rawChunked(body string) string { return rawPost("Transfer-Encoding: chunked\r\n", body) }

// evil is a request that nobody sent: it hides in the body of another.
const evil = "GET /evil HTTP/1.1\r\nHost: h\r\n\r\n"

// lengthCases are about Content-Length alone (RFC 9110 §8.6, RFC 9112 §6.3).
func lengthCases() []rawCase {
	length := func(name, value string, statuses ...int) rawCase {
		return bad("length "+name, rawPost("Content-Length: "+value+crlf, "abc"), statuses...)
	}
	return []rawCase{
		good("length", rawPost("Content-Length: 3\r\n", "abc"), "POST /x abc").with("Content-Length: 3").inPieces(),
		good("length without space", rawPost("Content-Length:3\r\n", "abc"), "POST /x abc"),
		good("length in small letters", rawPost("content-length: 3\r\n", "abc"), "POST /x abc"),
		good("length between tabs", rawPost("Content-Length:\t3\t \r\n", "abc"), "POST /x abc").with("Content-Length: 3"),
		good("length of 0", rawPost("Content-Length: 0\r\n", ""), "POST /x").with("Content-Length: 0").inPieces(),
		good("length of 0, a request behind it", rawPost("Content-Length: 0\r\n", evil), "POST /x", "GET /evil"),
		good("no length", rawPost("", ""), "POST /x").with("Content-Length: 0"),
		good("no length, a request behind it", rawPost("", evil), "POST /x", "GET /evil"),
		good("length with zeros in front", rawPost("Content-Length: 003\r\n", "abc"), "POST /x abc").or(400).with("Content-Length: 3"),
		bad("no length, bytes behind it", rawPost("", "abc"), 400, 501).after("POST /x"),
		bad("length too short", rawPost("Content-Length: 2\r\n", "abc"), 400, 501).after("POST /x ab"),
		bad("length twice, equal", rawPost("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400).inPieces(),
		bad("length twice, different", rawPost("Content-Length: 3\r\nContent-Length: 0\r\n", "abc"), 400).inPieces(),
		bad("length twice, different, in other letters", rawPost("Content-Length: 0\r\ncontent-LENGTH: 3\r\n", "abc"), 400),
		bad("length twice, one far away", rawPost("Content-Length: 3\r\nX-A: b\r\nX-B: c\r\nContent-Length: 44\r\n", "abc"), 400),
		length("list, equal", "3, 3", 400),
		length("list, different", "3, 0", 400).inPieces(),
		length("list with an empty element", "3,", 400),
		length("list of empty elements", ",", 400),
		length("with plus", "+3", 400).inPieces(),
		length("with minus", "-3", 400),
		length("minus zero", "-0", 400),
		length("hexadecimal", "0x3", 400),
		length("hexadecimal digit", "a", 400),
		length("exponent", "3e0", 400),
		length("fraction", "3.0", 400),
		length("underscore", "0_3", 400),
		length("two numbers", "3 3", 400),
		length("parameter", "3;x", 400),
		length("quoted", `"3"`, 400),
		length("empty", "", 400).inPieces(),
		length("only space", "   ", 400),
		length("vertical tab", "\x0b3", 400),
		length("form feed behind", "3\x0c", 400),
		length("NUL behind", "3\x00", 400),
		length("no-break space", "\xa03", 400),
		length("Arabic digit", "\xd9\xa3", 400),
		length("full-width digit", "\xef\xbc\x93", 400),
		length("2^31+3", "2147483651", 413),
		length("2^63", "9223372036854775808", 400, 413),
		length("2^64", "18446744073709551616", 400, 413),
		length("2^64+3", "18446744073709551619", 400, 413).inPieces(),
		length("of 100 digits", strings.Repeat("9", 100), 400, 413),
		good("HTTP/1.0 with length", "POST /x HTTP/1.0\r\nContent-Length: 3\r\nHost: h\r\n\r\nabc", "POST /x abc").closing(),
		bad("HTTP/1.0 with two lengths", "POST /x HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 0\r\nHost: h\r\n\r\nabc", 400),
		good("GET with a body", "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "GET /x abc").inPieces(),
		good("GET with a request as its body", "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n"+evil, "GET /x "+evil).inPieces(),
		good("HEAD with a body", "HEAD /x HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n"+evil, "HEAD /x "+evil),
		good("DELETE with a body", "DELETE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n"+evil, "DELETE /x "+evil),
		good("OPTIONS with a body", "OPTIONS /x HTTP/1.1\r\nHost: h\r\nContent-Length: 31\r\n\r\n"+evil, "OPTIONS /x "+evil),
		good("OPTIONS * with a body", "OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "OPTIONS * abc"),
		good("GET with a length of 0", "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"+evil, "GET /x", "GET /evil"),
		good("HEAD with a length of 0", "HEAD /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"+evil, "HEAD /x", "GET /evil"),
		good("DELETE with a length of 0", "DELETE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"+evil, "DELETE /x", "GET /evil"),
		good("OPTIONS with a length of 0", "OPTIONS /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"+evil, "OPTIONS /x", "GET /evil"),
		good("GET with an empty chunked body", "GET /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET /x"),
		good("GET with a chunked body", "GET /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n"+evil+"\r\n0\r\n\r\n", "GET /x "+evil),
		good("HEAD with a chunked body", "HEAD /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n"+evil+"\r\n0\r\n\r\n", "HEAD /x "+evil),
		good("DELETE with a chunked body", "DELETE /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "DELETE /x abc"),
	}
}

// codingCases are spellings of Transfer-Encoding that some readers take for chunked
// and others do not (RFC 9112 §6.1). The body is written so that either reading
// would leave a request behind.
func codingCases() []rawCase {
	const body = "0\r\n\r\n" + evil
	coding := func(name, line string, statuses ...int) rawCase {
		return bad("coding "+name, rawPost(line+crlf, body), statuses...)
	}
	return []rawCase{
		good("coding", rawPost("Transfer-Encoding: chunked\r\n", body), "POST /x", "GET /evil").with("Transfer-Encoding: chunked").inPieces(),
		good("coding without space", rawPost("Transfer-Encoding:chunked\r\n", body), "POST /x", "GET /evil"),
		good("coding in capitals", rawPost("TRANSFER-ENCODING: CHUNKED\r\n", body), "POST /x", "GET /evil").with("Transfer-Encoding: chunked"),
		good("coding in mixed letters", rawPost("tRANSFER-eNCODING: cHuNkEd\r\n", body), "POST /x", "GET /evil"),
		good("coding between tabs", rawPost("Transfer-Encoding:\tchunked \t\r\n", body), "POST /x", "GET /evil"),
		coding("xchunked", "Transfer-Encoding: xchunked", 501, 400).inPieces(),
		coding("chunkedx", "Transfer-Encoding: chunkedx", 501, 400),
		coding("chunk", "Transfer-Encoding: chunk", 501, 400),
		coding("identity", "Transfer-Encoding: identity", 501, 400),
		coding("gzip", "Transfer-Encoding: gzip", 501, 400),
		coding("gzip, chunked", "Transfer-Encoding: gzip, chunked", 501),
		coding("chunked, identity", "Transfer-Encoding: chunked, identity", 501, 400).inPieces(),
		coding("identity, chunked", "Transfer-Encoding: identity, chunked", 501, 400),
		coding("chunked, gzip", "Transfer-Encoding: chunked, gzip", 501, 400),
		coding("chunked, chunked", "Transfer-Encoding: chunked, chunked", 501, 400),
		coding("chunked chunked", "Transfer-Encoding: chunked chunked", 501, 400),
		coding("trailing comma", "Transfer-Encoding: chunked,", 501, 400),
		coding("comma in front", "Transfer-Encoding: ,chunked", 501, 400),
		coding("parameter", "Transfer-Encoding: chunked;q=1", 501, 400),
		coding("empty parameter", "Transfer-Encoding: chunked;", 501, 400),
		coding("quoted", `Transfer-Encoding: "chunked"`, 501, 400),
		coding("in single quotes", "Transfer-Encoding: 'chunked'", 501, 400),
		coding("empty", "Transfer-Encoding:", 501, 400),
		coding("vertical tab in front", "Transfer-Encoding: \x0bchunked", 501, 400).inPieces(),
		coding("vertical tab behind", "Transfer-Encoding: chunked\x0b", 501, 400),
		coding("form feed", "Transfer-Encoding: \x0cchunked", 501, 400),
		coding("NUL behind", "Transfer-Encoding: chunked\x00", 501, 400),
		coding("NUL within", "Transfer-Encoding: chun\x00ked", 501, 400),
		coding("backspace", "Transfer-Encoding: chunked\x08", 501, 400),
		coding("DEL", "Transfer-Encoding: \x7fchunked", 501, 400),
		coding("8-bit space", "Transfer-Encoding: \xa0chunked", 501, 400),
		coding("Kelvin sign", "Transfer-Encoding: chun\xe2\x84\xaaed", 501, 400),
		coding("long s in the name", "Tran\xc5\xbffer-Encoding: chunked", 400),
		coding("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501, 400).inPieces(),
		coding("chunked and identity in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 501, 400),
		coding("identity and chunked in two fields", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", 501, 400),
		coding("chunked and an empty field", "Transfer-Encoding: chunked\r\nTransfer-Encoding:", 501, 400),
		coding("folded", "Transfer-Encoding:\r\n chunked", 400, 501).inPieces(),
		coding("folded with a tab", "Transfer-Encoding:\r\n\tchunked", 400, 501),
		coding("folded within", "Transfer-Encoding: chun\r\n ked", 400, 501),
		coding("folded behind another field", "X-A: b\r\n Transfer-Encoding: chunked", 400),
		coding("space before the colon", "Transfer-Encoding : chunked", 400).inPieces(),
		coding("tab before the colon", "Transfer-Encoding\t: chunked", 400),
		coding("vertical tab before the colon", "Transfer-Encoding\x0b: chunked", 400),
		coding("NUL before the colon", "Transfer-Encoding\x00: chunked", 400),
		coding("space in front of the name", " Transfer-Encoding: chunked", 400),
		coding("without a colon", "Transfer-Encoding chunked", 400),
		coding("behind a bare CR", "X-A: b\rTransfer-Encoding: chunked", 400),
		coding("behind a bare LF", "X-A: b\nTransfer-Encoding: chunked", 400).inPieces(),
		coding("twin", "Transfer_Encoding: chunked", 400).inPieces(),
		bad("coding in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+body, 400, 501).inPieces(),
		bad("coding in HTTP/1.0 with keep-alive", "POST /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"+body, 400, 501),
	}
}

// mixedFramingCases have both fields, or a disguised one beside the other: CL.TE,
// TE.CL and TE.TE.
func mixedFramingCases() []rawCase {
	const cl6, cl4 = "Content-Length: 6\r\n", "Content-Length: 4\r\n"
	const te = "Transfer-Encoding: chunked\r\n"
	const clte, tecl = "0\r\n\r\nG", "5c\r\nGPOST /evil HTTP/1.1\r\n\r\n0\r\n\r\n"
	mixed := func(name, lines, body string, statuses ...int) rawCase {
		return bad("mixed "+name, rawPost(lines, body), statuses...)
	}
	return []rawCase{
		mixed("CL.TE", cl6+te, clte, 400).inPieces().atOnce(),
		mixed("TE.CL", te+cl4, tecl, 400).inPieces(),
		mixed("CL.TE with a length of 0", "Content-Length: 0\r\n"+te, clte, 400),
		mixed("CL.TE that agree", "Content-Length: 5\r\n"+te, "0\r\n\r\n", 400),
		mixed("CL.TE far apart", cl6+"X-A: b\r\nX-B: c\r\n"+te, clte, 400),
		mixed("CL.TE in small letters", "content-length: 6\r\ntransfer-encoding: chunked\r\n", clte, 400),
		mixed("two lengths and a coding", cl6+cl4+te, clte, 400),
		mixed("a length and two codings", cl6+te+te, clte, 400, 501),
		mixed("xchunked", cl6+"Transfer-Encoding: xchunked\r\n", clte, 400, 501).inPieces(),
		mixed("identity", cl6+"Transfer-Encoding: identity\r\n", clte, 400, 501),
		mixed("empty coding", cl6+"Transfer-Encoding:\r\n", clte, 400, 501),
		mixed("space before the colon", cl6+"Transfer-Encoding : chunked\r\n", clte, 400),
		mixed("coding behind a bare LF", cl6+"X-A: b\nTransfer-Encoding: chunked\r\n", clte, 400),
		mixed("length behind a bare CR", te+"X-A: b\rContent-Length: 4\r\n", tecl, 400),
		mixed("folded coding", cl6+"Transfer-Encoding:\r\n chunked\r\n", clte, 400, 501),
		mixed("coding folded into another", cl6+"X-A: b\r\n Transfer-Encoding: chunked\r\n", clte, 400),
		mixed("twin of the coding", cl6+"Transfer_Encoding: chunked\r\n", clte, 400),
		mixed("twin of the length", te+"Content_Length: 4\r\n", tecl, 400),
		mixed("twin of the length in capitals", "CONTENT_LENGTH: 4\r\n", "", 400),
		mixed("twins of both", "Content_length: 6\r\ntransfer_Encoding: chunked\r\n", clte, 400),
		mixed("coding named by Connection", cl6+te+"Connection: Transfer-Encoding\r\n", clte, 400).inPieces(),
		mixed("length named by Connection", te+cl4+"Connection: Content-Length\r\n", tecl, 400),
		mixed("length with plus and a coding", "Content-Length: +6\r\n"+te, clte, 400),
		bad("mixed in HTTP/1.0", "POST /x HTTP/1.0\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"+clte, 400, 501),
		bad("mixed in a GET", "GET /x HTTP/1.1\r\nHost: h\r\n"+cl6+te+crlf+clte, 400),
	}
}
