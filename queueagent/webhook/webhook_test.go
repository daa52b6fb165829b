package webhook

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestSignature holds the signer against the published example of Standard Webhooks.
func TestSignature(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	const body = `{"test": 2432232314}`
	key, err := newSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner(key)
	for range 2 { // the second use must not see the first
		got := string(s.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(body)))
		if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
			t.Errorf("signature %s: want %s", got, want)
		}
	}
}

func TestSecretForms(t *testing.T) {
	raw, err := newSecret("plain text")
	if err != nil || string(raw) != "plain text" {
		t.Errorf("%q, %v", raw, err)
	}
	for _, bad := range []string{"whsec_", "whsec_not base64!"} {
		if _, err := newSecret(bad); err == nil || strings.Contains(err.Error(), "not base64!") {
			t.Errorf("newSecret(%q): %v: want an error that does not repeat it", bad, err)
		}
	}
}

func TestTaskType(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"email"}`: "email",
		" {\n\"data\" : {\"type\":\"x\"}, \"type\" : \"e\\u006dail\" } ": "email",
		`{"a":[1,{"b":"}]"}],"type":"t","c":-1.5e3}`:                     "t",
		`{"type":"a","type":"b"}`:                                        "b",
		`{"t\u0079pe":"esc"}`:                                            "esc",
		`{"type":""}`:                                                    "",
		`{"type":"` + strings.Repeat("x", 256) + `"}`:                    strings.Repeat("x", 256),
	} {
		if got, ok := taskType(in); !ok || got != want {
			t.Errorf("taskType(%s) = %q, %v: want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		``, `{`, `{"type":1}`, `{"type":null}`, `{"Type":"x"}`, `[]`, `"type"`, `{"type":"x"`, "\xff\x00", `{"type":"x"}{}`, `{}`,
		`{"type":"` + strings.Repeat("x", 257) + `"}`,
	} {
		if got, ok := taskType(in); ok {
			t.Errorf("taskType(%s) = %q: want none", in, got)
		}
	}
}

// FuzzTaskType holds the scanner against encoding/json.
func FuzzTaskType(f *testing.F) {
	f.Add(`{"type":"email","data":{"to":["a",1,null,{"type":"x"}]}}`)
	f.Add(`{"a":"\\\"","type":"\ud83d\ude00"}`)
	f.Add(`{"type":[],"type":"x" , "b" : true}`)
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := taskType(in)
		var fields map[string]any
		err := json.Unmarshal([]byte(in), &fields)
		want, isString := fields["type"].(string)
		if wantOK := err == nil && isString && len(want) <= maxTypeLen; ok != wantOK || ok && got != want {
			t.Errorf("taskType(%q) = %q, %v: want %q, %v", in, got, ok, want, wantOK)
		}
	})
}

func TestTargetURI(t *testing.T) {
	for _, c := range []struct{ url, typ, want string }{
		{"http://h/tasks/{type}", "email", "/tasks/email"},
		{"http://h/tasks/{type}", "a b/ü%?#", "/tasks/a%20b%2F%C3%BC%25%3F%23"},
		{"http://h/a%2Fb/{type}/x?y={1}", "t", "/a%2Fb/t/x?y={1}"},
		{"http://h/{type}/{type}", "..x", "/..x/..x"},
		{"http://h", "", "/"},
		{"http://h/{type}/@x", "t", "/t/@x"},
		{"http://h/tasks?x=1", "..", "/tasks?x=1"},
	} {
		tg, err := newTarget(c.url)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if got, ok := tg.uri(nil, c.typ); !ok || string(got) != c.want {
			t.Errorf("%s with %q: %s, %v: want %s", c.url, c.typ, got, ok, c.want)
		}
	}
	tg, _ := newTarget("http://h/tasks/{type}")
	for _, typ := range []string{"", ".", "..", "../admin", `a\..\b`, "a/.."} {
		if got, ok := tg.uri(nil, typ); ok {
			t.Errorf("type %q gives %s: want none", typ, got)
		}
	}
}

func TestTargetRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "h/x", "ftp://h/", "http://", "http://{type}/", "http://h{type}/", "http://h/?t={type}", "http://h/#{type}",
		"http://user:pw@h/", "http://user:pw@h:{type}/", "http://h:{type}/", "unix:///x", "http://h/%zz",
	} {
		if tg, err := newTarget(raw); err == nil {
			t.Errorf("%q is taken as %+v", raw, tg)
		} else if strings.Contains(err.Error(), "hole") || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error says %q", raw, err)
		}
	}
	for raw, addr := range map[string]string{"http://h/": "h:80", "https://h/": "h:443", "http://[::1]/": "[::1]:80", "http://h:8/": "h:8"} {
		if tg, err := newTarget(raw); err != nil || tg.addr != addr || (tg.tls != nil) != strings.HasPrefix(raw, "https") {
			t.Errorf("%q: %+v, %v", raw, tg, err)
		}
	}
}

// FuzzTargetURI: no type leads out of its place in the path.
func FuzzTargetURI(f *testing.F) {
	f.Add("email")
	f.Add("../..")
	f.Add("a\r\nHost: evil")
	tg, err := newTarget("http://h/a/{type}/b")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, typ string) {
		got, ok := tg.uri(nil, typ)
		if !ok {
			return
		}
		u, err := url.ParseRequestURI(string(got))
		if err != nil || strings.Count(string(got), "/") != 3 || u.RawQuery != "" {
			t.Fatalf("%q gives %q, %v", typ, got, err)
		}
		if u.Path != "/a/"+typ+"/b" {
			t.Errorf("%q arrives as %q", typ, u.Path)
		}
		if v := headerValue(typ); strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q gives the header %q", typ, v)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Unix(1700000000, 0)
	for in, want := range map[string]time.Duration{
		"": -1, "x": -1, "-1": -1, "1.5": -1, "0": 0, "120": 2 * time.Minute,
		now.Add(time.Minute).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"):  time.Minute,
		now.Add(-time.Minute).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT"): 0,
	} {
		if got := parseRetryAfter([]byte(in), now); got != want {
			t.Errorf("Retry-After %q is %s: want %s", in, got, want)
		}
	}
}
