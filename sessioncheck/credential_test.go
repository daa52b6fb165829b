package sessioncheck

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func defaultSources() []source {
	return []source{{header: true, name: "x-session-id", line: "x-session-id"}, {name: "session_id", line: "cookie"}}
}

// fields is a header that has been taken apart, as the proxy does it.
type fields [][2][]byte

func (f *fields) FieldCount() int                  { return len(*f) }
func (f *fields) Field(i int) (name, value []byte) { return (*f)[i][0], (*f)[i][1] }

// split takes a header apart; ok is false for one that the proxy refuses.
func split(raw []byte) (f fields, ok bool) {
	raw = bytes.TrimSuffix(raw, []byte("\n\r\n"))
	for line := range bytes.Lines(raw) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		name, value, colon := bytes.Cut(line, []byte(":"))
		switch {
		case !colon || len(name) == 0 || !isToken(string(name)) || bytes.ContainsAny(value, "\r\n\x00"):
			return nil, false
		}
		f = append(f, [2][]byte{name, bytes.Trim(value, " \t")})
	}
	return f, true
}

// extract reads the header in both ways that there are.
func extract(t *testing.T, raw []byte) ([][]byte, Reason) {
	t.Helper()
	var all, apart [maxSources + 1]found
	ids, reason := credentials(defaultSources(), raw, &all)
	f, ok := split(raw)
	if !ok {
		return ids, reason
	}
	again, because := fieldCredentials(defaultSources(), &f, &apart)
	if because != reason || !slices.EqualFunc(again, ids, bytes.Equal) {
		t.Errorf("%q: of the whole %q (%s), of its fields %q (%s)", raw, ids, reason, again, because)
	}
	return ids, reason
}

func TestCredentials(t *testing.T) {
	long := strings.Repeat("a", maxIDBytes)
	for _, tc := range []struct {
		name, raw, want string
		reason          Reason
	}{
		{"nothing", "", "", ReasonMissing},
		{"other headers", "Host: a\r\nAccept: */*\r\n", "", ReasonMissing},
		{"header", "Host: a\r\nX-Session-ID: abc\r\n\r\n", "abc", ReasonNone},
		{"any case, no space", "x-SESSION-id:abc\r\n", "abc", ReasonNone},
		{"white space", "X-Session-ID: \t abc \t\r\n", "abc", ReasonNone},
		{"no line end", "X-Session-ID: abc", "abc", ReasonNone},
		{"underscore twin is another header", "X_Session_ID: abc\r\n", "", ReasonMissing},
		{"header before cookie", "Cookie: session_id=c\r\nX-Session-ID: h\r\n", "h", ReasonNone},
		{"a bad header is not replaced by a cookie", "Cookie: session_id=c\r\nX-Session-ID: h*\r\n", "", ReasonBadID},
		{"an empty header neither", "Cookie: session_id=c\r\nX-Session-ID:\r\n", "", ReasonBadID},
		{"same header twice", "X-Session-ID: a\r\nX-Session-ID: a\r\n", "a", ReasonNone},
		{"two headers", "X-Session-ID: a\r\nX-Session-ID: b\r\n", "", ReasonConflict},
		{"two headers, one bad", "X-Session-ID: *\r\nX-Session-ID: b\r\n", "", ReasonConflict},
		{"two ids in one header", "X-Session-ID: a, b\r\n", "", ReasonBadID},
		{"folded header", "X-Session-ID: a\r\n b\r\n", "", ReasonBadID},
		{"folded cookie", "Cookie: a=b;\r\n\tsession_id=c\r\n", "", ReasonBadID},
		{"another folded header", "X-Other: a\r\n X-Session-ID: b\r\nX-Session-ID: c\r\n", "c", ReasonNone},
		{"cookie", "Cookie: a=b; session_id=abc; c=d\r\n", "abc", ReasonNone},
		{"cookie without spaces", "cookie:a=b;session_id=abc;c=d\r\n", "abc", ReasonNone},
		{"cookie in quotes", "Cookie: session_id=\"abc\"\r\n", "abc", ReasonNone},
		{"one quote", "Cookie: session_id=\"abc\r\n", "", ReasonBadID},
		{"cookie names have case", "Cookie: SESSION_ID=abc\r\n", "", ReasonMissing},
		{"a name's suffix", "Cookie: xsession_id=abc; session_idx=d\r\n", "", ReasonMissing},
		{"a value with =", "Cookie: session_id=abc==\r\n", "abc==", ReasonNone},
		{"no value", "Cookie: session_id\r\n", "", ReasonMissing},
		{"empty value", "Cookie: session_id=\r\n", "", ReasonBadID},
		{"in another's value", "Cookie: a=session_id=abc\r\n", "", ReasonMissing},
		{"several Cookie lines", "Cookie: session_id=a\r\nHost: h\r\nCookie: session_id=b\r\n", "a b", ReasonNone},
		{"doubles", "Cookie: session_id=a; session_id=a; session_id=b\r\n", "a b", ReasonNone},
		{"a bad one among them", "Cookie: session_id=%00; session_id=b\r\n", "b", ReasonNone},
		{"too many", "Cookie: session_id=1; session_id=2; session_id=3; session_id=4; session_id=5\r\n", "1 2 3 4", ReasonNone},
		{"longest", "X-Session-ID: " + long + "\r\n", long, ReasonNone},
		{"too long", "X-Session-ID: " + long + "a\r\n", "", ReasonBadID},
		{"8 KB", "Cookie: session_id=" + strings.Repeat("a", 8192) + "\r\n", "", ReasonBadID},
		{"pattern", "X-Session-ID: a*\r\n", "", ReasonBadID},
		{"hash tag", "X-Session-ID: {a}\r\n", "", ReasonBadID},
		{"NUL", "X-Session-ID: a\x00b\r\n", "", ReasonBadID},
		{"CR", "X-Session-ID: a\rb\r\n", "", ReasonBadID},
		{"non-ASCII", "X-Session-ID: é\r\n", "", ReasonBadID},
		{"space", "X-Session-ID: a b\r\n", "", ReasonBadID},
		{"every allowed character", "X-Session-ID: azAZ09-_.~+/=:\r\n", "azAZ09-_.~+/=:", ReasonNone},
	} {
		ids, reason := extract(t, []byte(tc.raw))
		if got := string(bytes.Join(ids, []byte(" "))); got != tc.want || reason != tc.reason {
			t.Errorf("%s: %q (%s), want %q (%s)", tc.name, got, reason, tc.want, tc.reason)
		}
	}
}

// Scratch is used again: nothing of one request may reach the next.
func TestCredentialsForgetTheLastRequest(t *testing.T) {
	var all [maxSources + 1]found
	credentials(defaultSources(), []byte("X-Session-ID: a\r\nCookie: session_id=b; session_id=c\r\n"), &all)
	if ids, reason := credentials(defaultSources(), []byte("Host: h\r\n"), &all); len(ids) != 0 || reason != ReasonMissing {
		t.Errorf("got %q (%s)", ids, reason)
	}
}

// FuzzCredentials: no panic, only valid ids, and for plain input the same cookies
// as net/http reads.
func FuzzCredentials(f *testing.F) {
	f.Add([]byte("X-Session-ID: abc\r\nCookie: a=b; session_id=\"x\"\r\n\r\n"))
	f.Add([]byte("Cookie: session_id=a\r\n session_id=b\nCookie:session_id=;session_id=c"))
	f.Add([]byte("X-Session-ID: a\r\nX-Session-ID: b\r\n: \r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		ids, reason := extract(t, raw)
		if (len(ids) == 0) != (reason != ReasonNone) || len(ids) > maxCandidates {
			t.Fatalf("%d ids, reason %s", len(ids), reason)
		}
		for i, id := range ids {
			if !validID(id) || !bytes.Contains(before, id) {
				t.Fatalf("id %q of %q", id, before)
			}
			if slices.ContainsFunc(ids[:i], func(o []byte) bool { return bytes.Equal(o, id) }) {
				t.Fatalf("id %q twice", id)
			}
		}
		if !bytes.Equal(raw, before) {
			t.Fatal("the request was changed")
		}
	})
}

func FuzzCookieLine(f *testing.F) {
	f.Add("a=b; session_id=abc; session_id=\"d\"")
	f.Add("session_id = x;session_id=;;=;session_id==")
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n") {
			return
		}
		var want []string
		r := http.Request{Header: http.Header{"Cookie": {line}}}
		for _, c := range r.CookiesNamed("session_id") {
			if validID([]byte(c.Value)) && !slices.Contains(want, c.Value) && len(want) < maxCandidates {
				want = append(want, c.Value)
			}
		}
		ids, _ := extract(t, []byte("Cookie: "+line+"\r\n"))
		got := string(bytes.Join(ids, []byte(" ")))
		// net/http drops a cookie that we may still read, such as one with a space
		// before "="; what it does read, we must read too.
		for _, id := range want {
			if n := len(strings.Fields(got)); n < maxCandidates && !slices.Contains(strings.Fields(got), id) {
				t.Fatalf("%q: got %q, net/http reads %q", line, got, want)
			}
		}
	})
}

func TestIDByteKnowsEveryCharacter(t *testing.T) {
	const others = "-_.~+/=:"
	for c := range 256 {
		b := byte(c)
		if want := isAlnum(b) || strings.IndexByte(others, b) >= 0; idByte(b) != want {
			t.Errorf("%q: %v", b, !want)
		}
	}
}
