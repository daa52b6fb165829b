package proxy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

func TestGuard(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("all", "/**"), rule("star", "")}, echo, 1)
	p := r.pods[0]
	get := func(target string) string { return "GET " + target + " HTTP/1.1\r\nHost: h\r\n\r\n" }
	with := func(lines string) string { return "GET / HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n" }
	post := func(lines, body string) string {
		return "POST / HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n" + body
	}
	for _, tc := range []struct {
		name, request string
		status        int
		target        string // as the application saw it, when it did
	}{
		{"plain", get("/a/b?x=1"), 200, "/a/b?x=1"},
		{"unreserved escapes are undone", get("/%61dmin/%7Ex"), 200, "/admin/~x"},
		{"other escapes in capitals", get("/a%c3%a9%3a"), 200, "/a%C3%A9%3A"},
		{"raw bytes escaped", get("/caf\xc3\xa9"), 200, "/caf%C3%A9"},
		{"empty query kept", get("/a?"), 200, "/a?"},
		{"query kept", get("/a?b=%2f..%2f&c=//"), 200, "/a?b=%2f..%2f&c=//"},
		{"backslash in the query escaped", get(`/a?b=\c`), 200, "/a?b=%5Cc"},
		{"absolute form", get("http://h/a"), 200, "/a"},
		{"absolute form, other host", get("http://evil/a"), 400, ""},
		{"absolute form, no path", get("http://h"), 200, "/"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 200, "*"},
		{"asterisk with GET", get("*"), 400, ""},
		{"authority form", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501, ""},
		{"relative", get("a"), 400, ""},
		{"dots", get("/public/../admin"), 400, ""},
		{"dots at the end", get("/a/.."), 400, ""},
		{"one dot", get("/a/./b"), 400, ""},
		{"escaped dots", get("/a/%2e%2E/b"), 400, ""},
		{"half escaped dots", get("/a/.%2e/b"), 400, ""},
		{"dots with parameter", get("/a/..;x=1/b"), 400, ""},
		{"three dots are a name", get("/a/.../b"), 200, "/a/.../b"},
		{"escaped slash", get("/a%2fb"), 400, ""},
		{"escaped backslash", get("/a%5Cb"), 400, ""},
		{"backslash", get(`/a\b`), 400, ""},
		{"escaped NUL", get("/a%00b"), 400, ""},
		{"escaped line end", get("/a%0d%0ab"), 400, ""},
		{"malformed escape", get("/a%zz"), 400, ""},
		{"cut escape", get("/a%2"), 400, ""},
		{"two slashes", get("/a//b"), 400, ""},
		{"slashes in front", get("//admin"), 400, ""},
		{"fragment", get("/a#b"), 400, ""},
		{"escaped fragment is a name", get("/a%23b"), 200, "/a%23b"},
		{"HTTP/1.0", "GET /a HTTP/1.0\r\nHost: h\r\n\r\n", 200, "/a"},
		{"HTTP/1.0 without host", "GET /a HTTP/1.0\r\n\r\n", 200, "/a"},
		{"HTTP/1.2", "GET /a HTTP/1.2\r\nHost: h\r\n\r\n", 505, ""},
		{"HTTP/2.0", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 505, ""},
		{"small letters", "get /a HTTP/1.1\r\nHost: h\r\n\r\n", 501, ""},
		{"WebDAV", "MKCOL /a HTTP/1.1\r\nHost: h\r\n\r\n", 200, "/a"},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400, ""},
		{"two hosts", with("Host: h\r\n"), 400, ""},
		{"host with user", "GET / HTTP/1.1\r\nHost: a@h\r\n\r\n", 400, ""},
		{"host with path", "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n", 400, ""},
		{"folded line", with("X-A: b\r\n c\r\n"), 400, ""},
		{"space before colon", with("X-A : b\r\n"), 400, ""},
		{"no colon", with("X-A\r\n"), 400, ""},
		{"name with a control", with("X\x01A: b\r\n"), 400, ""},
		{"value with a control", with("X-A: b\x01c\r\n"), 400, ""},
		{"too many lines", with(strings.Repeat("X-A: b\r\n", 300)), 431, ""},
		{"too large a header", with("X-A: " + strings.Repeat("b", 40_000) + "\r\n"), 431, ""},
		{"length", post("Content-Length: 3\r\n", "abc"), 200, "/"},
		{"chunked", post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), 200, "/"},
		{"length and chunked", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400, ""},
		{"two lengths", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400, ""},
		{"length list", post("Content-Length: 3, 3\r\n", "abc"), 400, ""},
		{"signed length", post("Content-Length: +3\r\n", "abc"), 400, ""},
		{"huge length", post("Content-Length: 99999999999999999999\r\n", "abc"), 400, ""},
		{"identity", post("Transfer-Encoding: identity\r\nContent-Length: 3\r\n", "abc"), 501, ""},
		{"gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", ""), 501, ""},
		{"chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ""), 400, ""},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := r.calls.Load()
			got := p.raw(t, tc.request)
			if got.status != tc.status {
				t.Fatalf("status %d, want %d: %s", got.status, tc.status, got.body)
			}
			reached := r.calls.Load() - before
			if tc.target == "" {
				if reached != 0 {
					t.Errorf("the application was called")
				}
				if got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("Connection") != "close" || got.header.Get("Date") == "" {
					t.Errorf("refusal's header: %v", got.header)
				}
			} else if reached != 1 || !strings.Contains(got.body, " "+tc.target+" ") {
				t.Errorf("the application saw %q (%d calls), want %s", got.body, reached, tc.target)
			}
		})
	}
}

// A rule that protects a path must hold for every spelling of it that reaches the
// application.
func TestNoSpellingBypassesARule(t *testing.T) {
	r := newRig(t, []proxy.Rule{rule("admin", "/admin/**", required), rule("all", "/**", ttl(time.Minute))}, echo, 1)
	for _, target := range []string{
		"/admin/x", "/%61dmin/x", "/a%64min/x", "/public/../admin/x", "/public/%2e%2e/admin/x", "//admin/x", "/./admin/x",
		"/%2fadmin/x", "/x%2f..%2fadmin/x", "http://h/admin/x", "http://h/%61dmin/x", "/public/..;/admin/x", `/public\..\admin/x`,
		"/admin;x/y", "/admin;/y", "/;/admin/x", "/admin;a=b;c/x",
	} {
		got := r.pods[0].raw(t, "GET "+target+" HTTP/1.1\r\nHost: h\r\nX-Original-URL: /public\r\nX-Forwarded-Uri: /public\r\nX-HTTP-Method-Override: POST\r\n\r\n")
		if got.status != 401 && got.status != 400 {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if n := r.calls.Load(); n != 0 {
		t.Errorf("the application was called %d times", n)
	}
}
