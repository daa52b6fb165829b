package proxy_test

import "strings"

const lastChunk = "0\r\n\r\n"

// chunkCases are about the sizes of chunks and their extensions (RFC 9112 §7.1).
func chunkCases() []rawCase {
	size := func(name, size string, statuses ...int) rawCase {
		return bad("chunk size "+name, rawChunked(size+"\r\nabc\r\n"+lastChunk), statuses...)
	}
	ext := func(name, ext string) rawCase {
		return good("chunk extension "+name, rawChunked("3"+ext+"\r\nabc\r\n0"+ext+"\r\n\r\n"), "POST /x abc")
	}
	badExt := func(name, ext string, statuses ...int) rawCase {
		return bad("chunk extension "+name, rawChunked("3"+ext+"\r\nabc\r\n"+lastChunk), statuses...)
	}
	return []rawCase{
		good("chunks", rawChunked("3\r\nabc\r\n2\r\nde\r\n"+lastChunk), "POST /x abcde").inPieces(),
		good("chunks, none", rawChunked(lastChunk), "POST /x").inPieces(),
		good("chunk size with a letter", rawChunked("A\r\n0123456789\r\n"+lastChunk), "POST /x 0123456789"),
		good("chunk size with a small letter", rawChunked("a\r\n0123456789\r\n"+lastChunk), "POST /x 0123456789"),
		good("chunk size with zeros", rawChunked("0003\r\nabc\r\n000\r\n\r\n"), "POST /x abc").or(400),
		good("chunk size with very many zeros", rawChunked(strings.Repeat("0", 60)+"3\r\nabc\r\n"+lastChunk), "POST /x abc").or(400, 413),
		good("chunk of CRLF", rawChunked("2\r\n\r\n\r\n"+lastChunk), "POST /x \r\n"),
		good("chunk that holds a last chunk", rawChunked("5\r\n"+lastChunk+"\r\n"+lastChunk), "POST /x "+lastChunk),
		good("chunks of one byte", rawChunked(strings.Repeat("1\r\nx\r\n", 200)+lastChunk), "POST /x "+strings.Repeat("x", 200)),
		good("chunks of 60000 bytes", rawChunked("ea60\r\n"+strings.Repeat("y", 60000)+crlf+lastChunk), "POST /x "+strings.Repeat("y", 60000)),
		size("0x", "0x3", 400).inPieces(),
		size("with plus", "+3", 400).inPieces(),
		size("with minus", "-3", 400),
		size("space in front", " 3", 400),
		size("tab in front", "\t3", 400),
		size("space behind", "3 ", 400),
		size("tab behind", "3\t", 400),
		size("space within", "0 3", 400),
		size("underscore", "0_3", 400),
		size("empty", "", 400).inPieces(),
		size("quoted", `"3"`, 400),
		size("no digit", "g", 400),
		size("no digit behind", "3g", 400),
		size("h behind", "3h", 400),
		size("NUL behind", "3\x00", 400),
		size("NUL in front", "\x003", 400),
		size("full-width digit", "\xef\xbc\x93", 400),
		size("comma", "3,3", 400),
		size("only an extension", ";a=b", 400),
		size("2^31", "80000000", 413, 400),
		size("2^63-1", "7fffffffffffffff", 400, 413),
		size("2^63", "8000000000000000", 400, 413),
		size("2^64-1", "ffffffffffffffff", 400, 413),
		size("2^64", "10000000000000000", 400, 413),
		size("2^64+3", "10000000000000003", 400, 413).inPieces(),
		size("2^32+3 with more digits", "0000000100000003", 400, 413),
		size("of 100 digits", strings.Repeat("f", 100), 400, 413),
		ext("without value", ";a").inPieces(),
		ext("with value", ";a=b"),
		ext("quoted", `;a="b c"`),
		ext("quoted semicolon", `;a="b;c"`),
		ext("two", ";a=b;c=d"),
		ext("space before the semicolon", " ;a=b").or(400),
		ext("space after the semicolon", "; a=b").or(400),
		ext("that looks like a size", ";3"),
		ext("without a name", ";").or(400),
		ext("with an open quote", `;a="b`).or(400),
		badExt("with a bare LF", ";a\nb", 400).inPieces(),
		badExt("with a bare CR", ";a\rb", 400).inPieces(),
		badExt("with a bare LF at its end", ";\n", 400),
		badExt("with a quoted LF", ";a=\"\nxx\"", 400),
		badExt("with a quoted CRLF", ";a=\"\r\nabc\r\n0\r\n\r\n\"", 400).after("POST /x abc").orNothing(),
		badExt("with a NUL", ";a=\x00", 400),
		badExt("with a DEL", ";a=\x7f", 400),
		badExt("of 100 KiB", ";a="+strings.Repeat("b", 100<<10), 400, 413, 431),
		badExt("endless", ";"+strings.Repeat("b", 1<<20), 400, 413, 431),
		bad("chunk extensions by the megabyte", rawChunked(strings.Repeat("1;"+strings.Repeat("e", 1000)+"\r\nx\r\n", 2000)+lastChunk), 400, 413, 431),
	}
}

// chunkLineCases break the lines of a chunked body. TERM.EXT and EXT.TERM attacks
// live of readers that end a chunk line at another byte.
func chunkLineCases() []rawCase {
	return []rawCase{
		bad("bare LF after a chunk size", rawChunked("3\nabc\r\n"+lastChunk), 400).inPieces().atOnce(),
		bad("bare CR after a chunk size", rawChunked("3\rabc\r\n"+lastChunk), 400).atOnce(),
		bad("CR CR LF after a chunk size", rawChunked("3\r\r\nabc\r\n"+lastChunk), 400),
		bad("LF CR after a chunk size", rawChunked("3\n\rabc\r\n"+lastChunk), 400),
		bad("bare LF after a chunk", rawChunked("3\r\nabc\n"+lastChunk), 400).inPieces().atOnce(),
		bad("bare CR after a chunk", rawChunked("3\r\nabc\r"+lastChunk), 400),
		bad("nothing after a chunk", rawChunked("3\r\nabc"+lastChunk), 400),
		bad("two bytes instead of CRLF after a chunk", rawChunked("3\r\nabcXX"+lastChunk), 400).inPieces().atOnce(),
		bad("chunk longer than its size", rawChunked("3\r\nabcd\r\n"+lastChunk), 400),
		bad("chunk shorter than its size", rawChunked("4\r\nabc\r\n"+lastChunk), 400),
		bad("CRLF twice after a chunk", rawChunked("3\r\nabc\r\n\r\n"+lastChunk), 400),
		bad("bare LF after the last chunk size", rawChunked("3\r\nabc\r\n0\n\r\n"), 400).inPieces().atOnce(),
		bad("bare LF as the end of the body", rawChunked("3\r\nabc\r\n0\r\n\n"), 400).inPieces().atOnce(),
		bad("two bare LFs as the end", rawChunked("3\r\nabc\r\n0\n\n"), 400).atOnce(),
		bad("bare CR as the end", rawChunked("3\r\nabc\r\n0\r\n\r"), 400),
		bad("CR CR LF as the end", rawChunked("3\r\nabc\r\n0\r\n\r\r\n"), 400),
		bad("no end after the last chunk", rawChunked("3\r\nabc\r\n0\r\n"), 400),
		bad("no last chunk", rawChunked("3\r\nabc\r\n"), 400),
		bad("bytes before the first chunk", rawChunked("xx\r\n3\r\nabc\r\n"+lastChunk), 400),
		bad("a body that is not chunked", rawChunked("abcdefgh"), 400).atOnce(),
		bad("bare LF after a size, the body ending in a chunk", rawChunked("2\nxx\r\n4;\nxx\r\n"+lastChunk), 400),
		bad("bad line deep in a large body", rawChunked(strings.Repeat("1000\r\n"+strings.Repeat("z", 4096)+crlf, 12)+"3\nabc\r\n"+lastChunk), 400),
	}
}

// trailerCases are about the trailer section (RFC 9112 §7.1.2, RFC 9110 §6.5).
func trailerCases() []rawCase {
	trailer := func(name, lines string) rawCase {
		return good("trailer "+name, rawChunked("3\r\nabc\r\n0\r\n"+lines+crlf), "POST /x abc")
	}
	badTrailer := func(name, lines string, statuses ...int) rawCase {
		return bad("trailer "+name, rawChunked("3\r\nabc\r\n0\r\n"+lines+crlf), statuses...)
	}
	return []rawCase{
		trailer("valid", "X-Sum: 1\r\n").inPieces(),
		trailer("two", "X-Sum: 1\r\nX-Sum: 2\r\n"),
		trailer("without a value", "X-Sum:\r\n"),
		trailer("announced", "X-Sum: 1\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\nX: y\r\n").after("POST /x abc", "GET /evil"),
		// What must not be a trailer may be dropped or refused. It is never passed on:
		// see apptest.CheckForwarded.
		trailer("Content-Length", "Content-Length: 33\r\n").or(400).inPieces(),
		trailer("Transfer-Encoding", "Transfer-Encoding: chunked\r\n").or(400),
		trailer("Host", "Host: evil\r\n").or(400).with("Host: h"),
		trailer("Connection", "Connection: close\r\n").or(400),
		trailer("Authorization", "Authorization: Basic eA==\r\n").or(400).without("Authorization"),
		trailer("identity header", "X-User-Id: 1\r\n").or(400).without("X-User-Id"),
		trailer("twin of the length", "Content_Length: 33\r\n").or(400),
		trailer("Cookie", "Cookie: a=b\r\n").or(400).without("Cookie"),
		badTrailer("without a colon", "GET /evil HTTP/1.1\r\n", 400).inPieces(),
		badTrailer("folded", "X-Sum: 1\r\n 2\r\n", 400),
		badTrailer("with a space before the colon", "X-Sum : 1\r\n", 400),
		badTrailer("without a name", ": 1\r\n", 400),
		badTrailer("with a bare LF", "X-Sum: 1\n", 400).inPieces(),
		badTrailer("with a bare CR", "X-Sum: 1\r2\r\n", 400),
		badTrailer("with a NUL", "X-Sum: \x00\r\n", 400),
		badTrailer("name with a space", "X Sum: 1\r\n", 400),
		badTrailer("of 100 KiB", "X-Sum: "+strings.Repeat("1", 100<<10)+crlf, 400, 413, 431),
		badTrailer("section of 10000 lines", strings.Repeat("X-Sum: 1\r\n", 10000), 400, 413, 431),
	}
}
