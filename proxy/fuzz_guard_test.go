package proxy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

// FuzzGuard: whatever a client sends, the application gets complete, unambiguous
// requests, and none that a strict reader does not find in it.
func FuzzGuard(f *testing.F) {
	for _, c := range rawCases() {
		if len(c.raw) < 2<<10 {
			f.Add([]byte(c.stream()))
		}
	}
	g := newRawRig(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 64<<10 {
			return
		}
		o := g.run(t, string(in), endHalf)
		for _, wrong := range o.invariants(false) {
			t.Errorf("%s\n\tclient: %v (%v)", wrong, o.answers, o.err)
		}
	})
}

// FuzzHygiene: of the fields that a client sends, the application gets the end-to-end
// ones, unchanged and in order, and no other.
func FuzzHygiene(f *testing.F) {
	for _, lines := range []string{
		"X-A: b\nX-a: c\nX-A:  d \nCookie: a=1\nCookie: b=\"2\"",
		"Connection: X-A, x-b\nX-A: 1\nX-B: 2\nX-C: 3\nx_a: 4",
		"Connection: close, Host, Content-Length, Authorization\nAuthorization: Basic eA==",
		"Connection: ,\t, X-A ,,\nConnection: X-B\nX-A: 1\nX-B: 2",
		"X-User-Id: 1\nx_user_id: 2\nX.USER.ID: 3\nX-User-Id-2: 4\nConnection: X-User-Id",
		"X-Forwarded-For: 192.0.2.1, evil\nx_forwarded_for: 192.0.2.2\nForwarded: for=x;by=\"y\"\nX-Forwarded-Proto: https\nX_Forwarded_Host: e",
		"TE: trailers\nTrailer: X-A\nKeep-Alive: 1\nProxy-Connection: x\nProxy-Authorization: y\nUpgrade: websocket",
		"Connection: Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMAAABk",
		"Content_Length: 3\nTransfer_Encoding: chunked",
		"Content-Length: 0\nX-A: b", "Transfer-Encoding: chunked", "Host: evil", "X-A: b\r\r", "X-A: b\rX-User-Id: 1",
		"Expect: 100-continue", "Via: 1.0 a, 1.1 b", "X-A:", "X-A: caf\xc3\xa9\xff\t!", "Cache-Control: no-store\nConnection: Cache-Control",
		"If-None-Match: \"a\"\nRange: bytes=0-1\nIf-Match: *\nPragma: no-cache\nMax-Forwards: 0\ntraceparent: 00-1-2-3",
	} {
		f.Add(lines)
	}
	g := newRawRig(f)
	f.Fuzz(func(t *testing.T, lines string) {
		if len(lines) > rawMaxHeader/2 {
			return
		}
		o := g.run(t, "GET /x HTTP/1.1\r\nHost: h\r\n"+strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n\r\n", endHalf)
		for _, wrong := range o.invariants(false) {
			t.Errorf("%s\n\tclient: %v (%v)", wrong, o.answers, o.err)
		}
		if len(o.strict) == 0 {
			return
		}
		sent := &o.strict[0]
		if len(o.app.Requests) == 0 {
			if !mayBeRefused(sent) {
				t.Errorf("not forwarded: %v", o.answers)
			}
			return
		}
		compareFields(t, sent, &o.app.Requests[0].Message)
	})
}

// mayBeRefused says whether there is a field for which a request is refused, or more
// fields than are taken.
func mayBeRefused(m *apptest.Message) bool {
	return len(m.Fields) > 200 || slices.ContainsFunc(m.Fields[1:], func(f apptest.Field) bool {
		switch normal(f.Name) {
		case "host", "content-length", "transfer-encoding", "expect", "trailer":
			return true
		}
		return false
	})
}

// normal is the form in which CGI-like applications know a name.
func normal(name string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' {
			return c
		}
		return '-'
	}, strings.ToLower(name))
}

// compareFields expects of the application's fields exactly those of the client that
// are meant for it. What the pod itself sets is compared apart.
func compareFields(t *testing.T, sent, got *apptest.Message) {
	t.Helper()
	named := map[string]bool{}
	for _, v := range sent.Values("Connection") {
		for _, name := range strings.Split(v, ",") {
			named[strings.ToLower(strings.Trim(name, " \t"))] = true
		}
	}
	ordinary := func(list []apptest.Field) (left []apptest.Field) {
		for _, f := range list {
			if !owned(f.Name) && !(named[strings.ToLower(f.Name)] && keptWhenNamed(f.Name)) {
				left = append(left, f)
			}
		}
		return left
	}
	want := slices.DeleteFunc(ordinary(sent.Fields), func(f apptest.Field) bool { return named[strings.ToLower(f.Name)] })
	if left := ordinary(got.Fields); !slices.Equal(left, want) {
		t.Errorf("the application got %q, want %q", left, want)
	}
	for _, f := range got.Fields {
		if normal(f.Name) == "x-user-id" {
			t.Errorf("the client speaks for the session check: %q", f)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"} {
		n := 0
		for _, f := range got.Fields {
			if strings.ReplaceAll(strings.ToLower(f.Name), "_", "-") == strings.ToLower(name) {
				n++
			}
		}
		if n != 1 || len(got.Values(name)) != 1 {
			t.Errorf("%d fields like %s: %q", n, name, got.Fields)
		}
	}
	if via := got.Values("Via"); !named["via"] && !slices.Equal(via, append(sent.Values("Via"), "1.1 pillion")) {
		t.Errorf("Via: %q", via)
	}
}

// owned names what the pod removes or sets itself, and what it may take for one of these.
func owned(name string) bool {
	switch normal(name) {
	case "x-user-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-prefix", "x-request-id":
		return true
	}
	switch strings.ToLower(name) {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect", "via", "forwarded",
		"http2-settings", "proxy-connection", "proxy-authorization", "proxy-authenticate":
		return true
	}
	return false
}

// keptWhenNamed names fields that are for all recipients: a sender must not name them
// in Connection (RFC 9110 §7.6.1), so a proxy may keep or drop them.
func keptWhenNamed(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "cache-control", "pragma", "range", "if-match", "if-unmodified-since", "cookie":
		return true
	}
	return false
}
