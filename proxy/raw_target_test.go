package proxy_test

import "strings"

// hostCases are about the authority (RFC 9112 §3.2, RFC 9110 §7.2).
func hostCases() []rawCase {
	host := func(name, lines string) rawCase {
		return bad("host "+name, "GET /x HTTP/1.1\r\n"+lines+crlf, 400)
	}
	fine := func(name, sent, got string) rawCase {
		return good("host "+name, "GET /x HTTP/1.1\r\nHost: "+sent+crlf+crlf, "GET /x").with("Host: " + got)
	}
	return []rawCase{
		fine("plain", "shop.example", "shop.example").inPieces(),
		fine("with a port", "shop.example:8080", "shop.example:8080"),
		fine("in capitals", "Shop.EXAMPLE", "shop.example"),
		fine("IPv4", "192.0.2.1:80", "192.0.2.1:80"),
		fine("IPv6", "[2001:db8::1]:80", "[2001:db8::1]:80"),
		fine("IPv6 without a port", "[::1]", "[::1]"),
		good("host with an empty port", "GET /x HTTP/1.1\r\nHost: h:\r\n\r\n", "GET /x").or(400),
		host("missing", "X-A: b\r\n").inPieces(),
		host("missing, and no field at all", ""),
		host("empty", "Host:\r\n").inPieces(),
		host("twice, equal", "Host: h\r\nHost: h\r\n").inPieces(),
		host("twice, different", "Host: h\r\nHost: evil\r\n"),
		host("twice, in other letters", "Host: h\r\nX-A: b\r\nhOST: evil\r\n"),
		host("twice, one empty", "Host: h\r\nHost:\r\n"),
		host("list", "Host: h, evil\r\n"),
		host("two with a space", "Host: h evil\r\n"),
		host("two with a tab", "Host: h\tevil\r\n"),
		host("with a path", "Host: h/evil\r\n"),
		host("with a query", "Host: h?evil\r\n"),
		host("with a fragment", "Host: h#evil\r\n"),
		host("with a user", "Host: user@h\r\n"),
		host("with a backslash", "Host: h\\evil\r\n"),
		host("with a scheme", "Host: http://h\r\n"),
		host("with quotes", "Host: \"h\"\r\n"),
		host("with a less-than sign", "Host: h<evil\r\n"),
		host("with a NUL", "Host: h\x00evil\r\n"),
		host("with an 8-bit byte", "Host: caf\xc3\xa9\r\n"),
		host("with a port that is no number", "Host: h:evil\r\n"),
		host("with a signed port", "Host: h:+80\r\n"),
		host("with two ports", "Host: h:80:81\r\n"),
		host("with a port out of range", "Host: h:65536\r\n"),
		host("IPv6 without brackets", "Host: 2001:db8::1\r\n"),
		host("with an open bracket", "Host: [::1\r\n"),
		host("with something behind the bracket", "Host: [::1]evil\r\n"),
		host("only a port", "Host: :80\r\n"),
		host("of 1000 bytes", "Host: "+strings.Repeat("a", 1000)+crlf),
		good("host missing in HTTP/1.0", "GET /x HTTP/1.0\r\n\r\n", "GET /x").closing(),
		bad("host twice in HTTP/1.0", "GET /x HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", 400),
		good("host named by Connection", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Host\r\n\r\n", "GET /x").or(400).with("Host: h"),
		good("host and X-Forwarded-Host", "GET /x HTTP/1.1\r\nHost: h\r\nX-Host: evil\r\nX-Original-Host: evil\r\n\r\n", "GET /x").with("Host: h"),
	}
}

// targetCases are the forms of a target (RFC 9112 §3.2, RFC 3986 §3.3).
func targetCases() []rawCase {
	ok := func(name, target, got string) rawCase { return good("target "+name, rawGet(target), "GET "+got) }
	no := func(name, target string) rawCase { return bad("target "+name, rawGet(target), 400) }
	return []rawCase{
		ok("with a query", "/a/b?x=1&y=/../%2f", "/a/b?x=1&y=/../%2f").inPieces(),
		ok("with an empty query", "/a?", "/a?"),
		ok("with two question marks", "/a?b?c", "/a?b?c"),
		ok("with an escaped space", "/a%20b", "/a%20b"),
		ok("with an escaped letter", "/%61", "/a"),
		ok("with small hex digits", "/a%c3%a9", "/a%C3%A9"),
		ok("with raw 8-bit bytes", "/caf\xc3\xa9?\xff", "/caf%C3%A9?%FF"),
		ok("with an escaped percent sign", "/a%252e%252e/b", "/a%252e%252e/b"),
		ok("with three dots", "/a/.../b", "/a/.../b"),
		ok("absolute", "http://h/a?b", "/a?b").inPieces(),
		ok("absolute, scheme in capitals", "HTTP://H/a", "/a"),
		ok("absolute, without a path", "http://h", "/"),
		ok("absolute, https", "https://h/a", "/a").or(400),
		ok("absolute, query without a path", "http://h?a", "/?a").or(400),
		no("absolute, another host", "http://evil/a").inPieces(),
		no("absolute, another port", "http://h:81/a"),
		no("absolute, with a user", "http://u@h/a"),
		no("absolute, with a user and a password", "http://h:p@h/a"),
		no("absolute, with a fragment", "http://h/a#b"),
		no("absolute, with a fragment for a path", "http://h#/a"),
		no("absolute, without a host", "http:///a"),
		no("absolute, one slash", "http:/h/a"),
		no("absolute, backslashes", `http:\\h\a`),
		no("absolute, with a space", "http://h /a"),
		no("absolute, with a NUL", "http://h\x00/a"),
		no("absolute, another scheme", "ftp://h/a"),
		no("absolute, file", "file:///etc/passwd"),
		no("absolute, no scheme", "h/a"),
		no("absolute, dots", "http://h/../a"),
		bad("target absolute, without Host", "GET http://h/a HTTP/1.1\r\n\r\n", 400),
		bad("target absolute, with an empty Host", "GET http://h/a HTTP/1.1\r\nHost:\r\n\r\n", 400),
		bad("target absolute, with two Hosts", "GET http://h/a HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400),
		good("target absolute in HTTP/1.0 without Host", "GET http://h/a HTTP/1.0\r\n\r\n", "GET /a").closing().with("Host: h"),
		good("target asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS *"),
		bad("target relative, with HEAD", "HEAD 0 HTTP/1.0\r\n\r\n", 400), // no body, whoever refuses it
		no("asterisk with GET", "*"),
		no("asterisk and more", "*/a"),
		no("authority", "h:443"),
		no("two slashes in front", "//evil/a"),
		no("relative", "a/b"),
		no("only a query", "?a"),
		no("with a fragment", "/a#b").inPieces(),
		no("with a fragment in its query", "/a?b#c"),
		no("with a backslash", `/a\b`),
		no("with a tab", "/a\tb"),
		no("with a NUL", "/a\x00b").inPieces(),
		no("with a NUL in its query", "/a?b\x00"),
		no("with a control", "/a\x01b"),
		no("with a DEL", "/a\x7f"),
		no("with an escaped NUL", "/a%00b"),
		no("with an escaped line end", "/a%0d%0aX-Evil:%201"),
		no("with an escaped slash", "/a%2Fb"),
		no("with an escaped backslash", "/a%5cb"),
		no("with an escaped DEL", "/a%7f"),
		no("with a bad escape", "/a%zz"),
		no("with a signed escape", "/a%+1"),
		no("with half an escape", "/a%2"),
		no("with a percent sign at its end", "/a%"),
		no("with UTF-16 escapes", "/a%u002fb"),
		no("with dots", "/a/../b").inPieces(),
		no("with dots at its end", "/a/.."),
		no("with one dot", "/./a"),
		no("with escaped dots", "/a/%2e%2e/b"),
		no("with one escaped dot", "/a/.%2E/b"),
		no("with dots and an escaped slash", "/a/..%2fb"),
		no("with dots and a parameter", "/a/..;x/b"),
		no("with an empty segment", "/a//b"),
	}
}

// startLineCases are about method and version (RFC 9110 §9.1, RFC 9112 §2.3).
func startLineCases() []rawCase {
	method := func(name, method string, statuses ...int) rawCase {
		return bad("method "+name, method+" /x HTTP/1.1\r\nHost: h\r\n\r\n", statuses...)
	}
	version := func(name, version string, statuses ...int) rawCase {
		return bad("version "+name, "GET /x "+version+"\r\nHost: h\r\n\r\n", statuses...)
	}
	return []rawCase{
		method("in small letters", "get", 400, 501).inPieces(),
		method("empty", "", 400, 501),
		method("with a NUL", "G\x00ET", 400, 501),
		method("with a control", "GE\x01T", 400, 501),
		method("with an 8-bit byte", "G\xc9T", 400, 501),
		method("with a colon", "GET:", 400, 501),
		method("with a parenthesis", "GE(T)", 400, 501),
		method("with a slash", "GET/", 400, 501),
		method("with quotes", `"GET"`, 400, 501),
		method("of 1000 letters", strings.Repeat("A", 1000), 400, 501),
		method("that is two", "GET POST", 400, 501),
		bad("method CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 400, 405, 501).inPieces(),
		bad("method CONNECT with a path", "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", 400, 405, 501),
		version("1.2", "HTTP/1.2", 505).inPieces(),
		version("2.0", "HTTP/2.0", 505),
		version("2", "HTTP/2", 400, 505),
		version("3.0", "HTTP/3.0", 505),
		version("0.9", "HTTP/0.9", 400, 505),
		version("1.10", "HTTP/1.10", 400, 505),
		version("1.1.1", "HTTP/1.1.1", 400, 505),
		version("01.1", "HTTP/01.1", 400, 505),
		version("1,1", "HTTP/1,1", 400, 505),
		version("1", "HTTP/1", 400, 505),
		version("1.", "HTTP/1.", 400, 505),
		version("in small letters", "http/1.1", 400, 505),
		version("of another protocol", "ICAP/1.1", 400, 505),
		version("with a sign", "HTTP/+1.1", 400, 505),
		version("with a NUL", "HTTP/1.1\x00", 400, 505),
		version("with a letter behind", "HTTP/1.1a", 400, 505),
		bad("version missing", "GET /x\r\nHost: h\r\n\r\n", 400, 505).inPieces(),
		bad("version missing, HTTP/0.9", "GET /x\r\n", 400, 505),
		bad("version missing, space behind the target", "GET /x \r\nHost: h\r\n\r\n", 400, 505),
		bad("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400, 501, 505).inPieces().atOnce(),
		bad("a response", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400, 501, 505),
		bad("a TLS handshake", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n", 400, 501, 505).atOnce(),
		bad("PROXY protocol", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"+rawGet("/x"), 400, 501, 505),
		bad("only a word", "GET\r\n\r\n", 400, 501, 505),
		bad("a NUL line", "\x00\r\n\r\n", 400, 501, 505),
	}
}

// limitCases exceed the limits of newRawRig.
func limitCases() []rawCase {
	over := rawMaxBody + 1
	return []rawCase{
		bad("limit: target", rawGet("/"+strings.Repeat("a", 2*rawMaxHeader)), 414),
		bad("limit: query", rawGet("/?"+strings.Repeat("a", 2*rawMaxHeader)), 414),
		bad("limit: target without end", "GET /"+strings.Repeat("a", 1<<20), 414).atOnce(),
		bad("limit: method without end", strings.Repeat("A", 1<<20), 400, 414, 431, 501),
		bad("limit: one field", rawWith("X-A: "+strings.Repeat("b", 2*rawMaxHeader)+crlf), 431),
		bad("limit: one field name", rawWith(strings.Repeat("X", 2*rawMaxHeader)+": b\r\n"), 431),
		bad("limit: a field without end", "GET /x HTTP/1.1\r\nHost: h\r\nX-A: "+strings.Repeat("b", 1<<20), 431).atOnce(),
		bad("limit: many large fields", rawWith(strings.Repeat("X-A: "+strings.Repeat("b", 500)+crlf, 40)), 431),
		bad("limit: 300 fields", rawWith(strings.Repeat("X-A: b\r\n", 300)), 431),
		bad("limit: fields without end", "GET /x HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("X: y\r\n", 100000), 431).atOnce(),
		good("limit: 200 fields are fine", rawWith(strings.Repeat("X-A: b\r\n", 200)), "GET /x"),
		good("limit: the largest body", rawPost("Content-Length: 65536\r\n", strings.Repeat("x", rawMaxBody)), "POST /x "+strings.Repeat("x", rawMaxBody)),
		good("limit: the largest chunked body", rawChunked("10000\r\n"+strings.Repeat("x", rawMaxBody)+crlf+lastChunk), "POST /x "+strings.Repeat("x", rawMaxBody)),
		bad("limit: announced body", rawPost("Content-Length: 65537\r\n", strings.Repeat("x", over)), 413),
		bad("limit: announced body that does not come", rawPost("Content-Length: 999999999\r\n", ""), 413).inPieces().atOnce(),
		bad("limit: one chunk", rawChunked("10001\r\n"+strings.Repeat("x", over)+crlf+lastChunk), 413),
		bad("limit: chunks", rawChunked(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+crlf, 17)+lastChunk), 413),
		bad("limit: chunks without end", rawChunked(strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+crlf, 200)), 413),
		bad("limit: announced body after a good request", rawGet("/y")+rawPost("Content-Length: 65537\r\n", strings.Repeat("x", over)), 413).after("GET /y"),
	}
}
