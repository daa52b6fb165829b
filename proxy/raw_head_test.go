package proxy_test

import "strings"

// lineEndCases put other line ends than CRLF into a request head (RFC 9112 §2.2).
func lineEndCases() []rawCase {
	return []rawCase{
		bad("bare LF after the request line", "GET /x HTTP/1.1\nHost: h\r\n\r\n", 400).inPieces().atOnce(),
		bad("bare LF after a field", "GET /x HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n", 400).inPieces().atOnce(),
		bad("bare LF after the last field", "GET /x HTTP/1.1\r\nHost: h\n\r\n", 400).inPieces().atOnce(),
		bad("bare LF as the end of the head", "GET /x HTTP/1.1\r\nHost: h\r\n\n", 400).inPieces().atOnce(),
		bad("bare LF everywhere", "GET /x HTTP/1.1\nHost: h\n\n", 400).inPieces().atOnce(),
		bad("bare LF everywhere, with a body", "POST /x HTTP/1.1\nHost: h\nContent-Length: 3\n\nabc", 400),
		bad("bare CR after the request line", "GET /x HTTP/1.1\rHost: h\r\n\r\n", 400, 505).inPieces(),
		bad("bare CR after a field", "GET /x HTTP/1.1\r\nHost: h\rX-A: b\r\n\r\n", 400).atOnce(),
		bad("bare CR in a value", "GET /x HTTP/1.1\r\nHost: h\r\nX-A: b\rc\r\n\r\n", 400).atOnce(),
		bad("bare CR in a name", "GET /x HTTP/1.1\r\nHost: h\r\nX-\rA: b\r\n\r\n", 400),
		bad("bare CR at the end of a value", "GET /x HTTP/1.1\r\nHost: h\r\nX-A: b\r\r\n\r\n", 400),
		bad("bare CR as the end of the head", "GET /x HTTP/1.1\r\nHost: h\r\n\r", 400),
		bad("bare CR everywhere", "GET /x HTTP/1.1\rHost: h\r\r", 400, 505),
		bad("CR CR LF after the request line", "GET /x HTTP/1.1\r\r\nHost: h\r\n\r\n", 400, 505).atOnce(),
		bad("CR CR LF as the end of the head", "GET /x HTTP/1.1\r\nHost: h\r\n\r\r\n", 400).atOnce(),
		bad("LF CR as the end of the head", "GET /x HTTP/1.1\r\nHost: h\r\n\n\r", 400),
		bad("bare CR in the target", "GET /x\ry HTTP/1.1\r\nHost: h\r\n\r\n", 400),
		bad("bare LF in the target", "GET /x\ny HTTP/1.1\r\nHost: h\r\n\r\n", 400).atOnce(),
		bad("bare CR in the method", "GE\rT /x HTTP/1.1\r\nHost: h\r\n\r\n", 400, 501),
		bad("no empty line after the head", "GET /x HTTP/1.1\r\nHost: h\r\n", 400),
		bad("no line end after the head", "GET /x HTTP/1.1\r\nHost: h", 400),
		good("empty line in front", "\r\n"+rawGet("/x"), "GET /x").inPieces(),
		good("two empty lines in front", "\r\n\r\n"+rawGet("/x"), "GET /x").or(400),
		good("empty line between two requests", rawGet("/x")+"\r\n"+rawGet("/y"), "GET /x", "GET /y").inPieces(),
		good("empty line after a body", rawPost("Content-Length: 3\r\n", "abc")+"\r\n"+rawGet("/y"), "POST /x abc", "GET /y"),
		bad("bare LF in front", "\n"+rawGet("/x"), 400),
		bad("bare CR in front", "\r"+rawGet("/x"), 400, 501),
		bad("many empty lines in front", strings.Repeat("\r\n", 50000)+rawGet("/x"), 400, 414, 431),
	}
}

// spaceCases put white space where none may be, or another one.
func spaceCases() []rawCase {
	start := func(name, line string, statuses ...int) rawCase {
		return bad("space: "+name, line+"\r\nHost: h\r\n\r\n", statuses...)
	}
	return []rawCase{
		start("tab after the method", "GET\t/x HTTP/1.1", 400, 501),
		start("tab before the version", "GET /x\tHTTP/1.1", 400),
		start("vertical tab in the request line", "GET\x0b/x HTTP/1.1", 400, 501),
		start("two before the target", "GET  /x HTTP/1.1", 400).inPieces(),
		start("two before the version", "GET /x  HTTP/1.1", 400),
		start("behind the version", "GET /x HTTP/1.1 ", 400, 505),
		start("tab behind the version", "GET /x HTTP/1.1\t", 400, 505),
		start("before the method", " GET /x HTTP/1.1", 400, 501).inPieces(),
		start("within the target", "GET /x y HTTP/1.1", 400),
		start("within the version", "GET /x HTTP/ 1.1", 400, 505),
		start("a version within the target", "GET /x HTTP/1.1 HTTP/1.1", 400),
		start("no target", "GET HTTP/1.1", 400),
		start("no target, two spaces", "GET  HTTP/1.1", 400),
		start("no-break space", "GET\xa0/x HTTP/1.1", 400, 501),
		bad("space: before the first field", "GET /x HTTP/1.1\r\n Host: h\r\n\r\n", 400).inPieces().atOnce(),
		bad("space: tab before the first field", "GET /x HTTP/1.1\r\n\tX-A: b\r\nHost: h\r\n\r\n", 400),
		bad("space: a blank line before the first field", "GET /x HTTP/1.1\r\n \r\nHost: h\r\n\r\n", 400),
		bad("space: a blank line as the end of the head", "GET /x HTTP/1.1\r\nHost: h\r\n \r\n\r\n", 400),
		bad("space: before a colon", rawWith("X-A : b\r\n"), 400).inPieces().atOnce(),
		bad("space: before the colon of Host", "GET /x HTTP/1.1\r\nHost : h\r\n\r\n", 400),
		bad("space: tab before a colon", rawWith("X-A\t: b\r\n"), 400),
		bad("space: folded line", rawWith("X-A: b\r\n c\r\n"), 400).inPieces().atOnce(),
		bad("space: line folded with a tab", rawWith("X-A: b\r\n\tc\r\n"), 400),
		bad("space: line folded into nothing", rawWith("X-A: b\r\n \r\n"), 400),
		bad("space: folded Host", "GET /x HTTP/1.1\r\nHost:\r\n h\r\n\r\n", 400),
		good("space: around a value", rawWith("X-A: \t b c\t \r\n"), "GET /x").with("X-A: b c"),
		good("space: none before a value", rawWith("X-A:b\r\n"), "GET /x").with("X-A: b"),
		good("space: tab within a value", rawWith("X-A: b\tc\r\n"), "GET /x").with("X-A: b\tc"),
	}
}

// nameCases are field names that are no tokens (RFC 9110 §5.1).
func nameCases() []rawCase {
	name := func(what, line string) rawCase { return bad("name "+what, rawWith(line+crlf), 400) }
	return []rawCase{
		name("empty", ": b").inPieces().atOnce(),
		name("missing with its colon", "X-A"),
		name("with a space", "X A: b"),
		name("with a NUL", "X\x00A: b").inPieces(),
		name("with a control", "X\x01A: b"),
		name("with a DEL", "X\x7fA: b"),
		name("with an 8-bit byte", "X\xe9A: b"),
		name("with a no-break space", "X-A\xa0: b"),
		name("with a quote", `"X-A": b`),
		name("with a parenthesis", "X(A): b"),
		name("with a slash", "X/A: b"),
		name("with a comma", "X,A: b"),
		name("with an at sign", "X@A: b"),
		name("with a bracket", "[X-A]: b"),
		name("with a brace", "{X-A}: b"),
		name("with a backslash", `X\A: b`),
		name("with a question mark", "X?A: b"),
		name("with a less-than sign", "<X-A: b"),
		name("with an equals sign", "X=A: b"),
		name("with a semicolon", "X;A: b"),
		name("that is a request line", "GET /evil HTTP/1.1"),
		name("of the length behind a control", "\x01Content-Length: 3"),
		good("name of odd token characters", rawWith("!#$%&'*+-.^_`|~9: b\r\n"), "GET /x").with("!#$%&'*+-.^_`|~9: b"),
		good("name with an underscore", rawWith("X_Odd: b\r\n"), "GET /x").with("X_Odd: b"),
		bad("name: identity header's value on a line of its own", rawWith("X-A: b\r\n\rX-User-Id: 1\r\n"), 400),
		good("name: identity header and its twins", rawWith("X-User-Id: 1\r\nX_User_Id: 2\r\nx-user_id: 3\r\nX.User.Id: 4\r\n"), "GET /x").
			without("X-User-Id", "X_User_Id", "x-user_id", "X.User.Id"),
	}
}

// valueCases are bytes in field values (RFC 9110 §5.5).
func valueCases() []rawCase {
	value := func(what, value string) rawCase { return bad("value with "+what, rawWith("X-A: "+value+crlf), 400) }
	return []rawCase{
		value("a NUL", "b\x00c").inPieces(),
		value("a NUL at its end", "b\x00"),
		value("a NUL in front", "\x00b"),
		value("a control", "b\x01c"),
		value("an escape", "b\x1b[2Jc"),
		value("a backspace", "b\x08c"),
		value("a vertical tab", "b\x0bc"),
		value("a form feed at its end", "b\x0c"),
		value("a DEL", "b\x7fc"),
		good("value with 8-bit bytes", rawWith("X-A: caf\xc3\xa9 \xff\x80\r\n"), "GET /x").with("X-A: caf\xc3\xa9 \xff\x80"),
		good("value that is empty", rawWith("X-A:\r\n"), "GET /x").with("X-A: "),
		good("value with colons", rawWith("X-A: b: c:d\r\n"), "GET /x").with("X-A: b: c:d"),
		good("value with escaped line ends", rawWith("X-A: b%0d%0aX-Evil: 1\\r\\n\r\n"), "GET /x").with("X-A: b%0d%0aX-Evil: 1\\r\\n").without("X-Evil"),
		good("value of 4 KiB", rawWith("X-A: "+strings.Repeat("b", 4<<10)+crlf), "GET /x").with("X-A: " + strings.Repeat("b", 4<<10)),
	}
}
