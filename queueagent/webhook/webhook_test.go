package webhook

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestSignature holds the signer against the published example of Standard Webhooks.
func TestSignature(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	const body = `{"test": 2432232314}`
	key, err := newSecret("webhook.secret", secret)
	if err != nil {
		t.Fatal(err)
	}
	s := newSigner([][]byte{key})
	for range 2 { // the second use must not see the first
		got := string(s.appendSignatures(nil, []byte("msg_p5jXN8AQM9LWM0D4loKWxJek"), 1614265330, []byte(body)))
		if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
			t.Errorf("signature %s: want %s", got, want)
		}
	}
}

func TestSecretForms(t *testing.T) {
	raw, err := newSecret("webhook.secret", "plain text")
	if err != nil || string(raw) != "plain text" {
		t.Errorf("%q, %v", raw, err)
	}
	for _, bad := range []string{"whsec_", "whsec_not base64!"} {
		if _, err := newSecret("webhook.secret", bad); err == nil || strings.Contains(err.Error(), "not base64!") {
			t.Errorf("newSecret(%q): %v: want an error that does not repeat it", bad, err)
		}
	}
}

// testApp is where the paths of these tests are.
func testApp() *place { return &place{network: "unix", addr: "/run/app.sock", host: "localhost"} }

func TestTargetURI(t *testing.T) {
	for _, c := range []struct{ url, typ, want string }{
		{"http://h/tasks/{type}", "email", "/tasks/email"},
		{"http://h/tasks/{type}", "a b/ü%?#", "/tasks/a%20b%2F%C3%BC%25%3F%23"},
		{"http://h/a%2Fb/{type}/x?y={1}", "t", "/a%2Fb/t/x?y={1}"},
		{"http://h/{type}/{type}", "..x", "/..x/..x"},
		{"http://h", "", "/"},
		{"http://h/{type}/@x", "t", "/t/@x"},
		{"http://h/tasks?x=1", "..", "/tasks?x=1"},
		{"/tasks/{type}", "/evil", "/tasks/%2Fevil"},
		{"/{type}", "/evil", "/%2Fevil"},
		{"/a:b/{type}?q=1", "t", "/a:b/t?q=1"},
		{"/", "t", "/"},
	} {
		tg, err := newTarget("webhook.url", c.url, testApp(), TLS{})
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if got, ok := tg.uri(nil, c.typ); !ok || string(got) != c.want {
			t.Errorf("%s with %q: %s, %v: want %s", c.url, c.typ, got, ok, c.want)
		}
	}
	for _, raw := range []string{"http://h/tasks/{type}", "/tasks/{type}", "/{type}"} {
		tg, _ := newTarget("webhook.url", raw, testApp(), TLS{})
		for _, typ := range []string{"", ".", "..", "../admin", `a\..\b`, "a/.."} {
			if got, ok := tg.uri(nil, typ); ok {
				t.Errorf("%s: type %q gives %s: want none", raw, typ, got)
			}
		}
	}
}

func TestTargetRefuses(t *testing.T) {
	for _, raw := range []string{
		"", "h/x", "ftp://h/", "http://", "http://{type}/", "http://h{type}/", "http://h/?t={type}", "http://h/#{type}",
		"http://user:pw@h/", "http://user:pw@h:{type}/", "http://h:{type}/", "unix:///x", "http://h/%zz",
		"//h/x", "///x", "//user:pw@h/", "/?t={type}", "/x#{type}", "/%zz",
	} {
		if tg, err := newTarget("webhook.url", raw, testApp(), TLS{}); err == nil {
			t.Errorf("%q is taken as %+v", raw, tg)
		} else if strings.Contains(err.Error(), "hole") || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error says %q", raw, err)
		}
	}
	for raw, addr := range map[string]string{"http://h/": "h:80", "https://h/": "h:443", "http://[::1]/": "[::1]:80", "http://h:8/": "h:8"} {
		if tg, err := newTarget("webhook.url", raw, testApp(), TLS{}); err != nil || tg.addr != addr || (tg.tls != nil) != strings.HasPrefix(raw, "https") {
			t.Errorf("%q: %+v, %v", raw, tg, err)
		}
	}
	if tg, err := newTarget("webhook.url", "/x", nil, TLS{}); err == nil {
		t.Errorf("a path on no application is taken as %+v", tg)
	}
}

func TestPublicURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://h:1/tasks/{type}": "http://h:1/tasks/{type}", "https://h/p%20q?key=secret": "https://h/p%20q", "http://[::1]:8": "http://[::1]:8",
		"/tasks/{type}?key=secret": "http://unix:/run/app.sock:/tasks/{type}",
	} {
		e, err := New(Config{URL: raw, App: App{Address: "/run/app.sock"}, Timeout: time.Second}, Task{}, "q", 1)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.URL(); got != want {
			t.Errorf("%s is shown as %s: want %s", raw, got, want)
		}
	}
}

// FuzzTargetURI: no type leads out of its place in the path.
func FuzzTargetURI(f *testing.F) {
	f.Add("email")
	f.Add("../..")
	f.Add("a\r\nHost: evil")
	tg, err := newTarget("webhook.url", "/a/{type}/b", testApp(), TLS{})
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
		if v := string(appendHeaderValue(nil, typ)); strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
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
