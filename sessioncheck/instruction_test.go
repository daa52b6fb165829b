package sessioncheck

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func b64(text string) string { return ":" + base64.StdEncoding.EncodeToString([]byte(text)) + ":" }

func TestInstruction(t *testing.T) {
	huge := `{"a":"` + strings.Repeat("x", maxWritten) + `"}`
	for _, c := range []struct {
		lines []string
		want  instruction
		bad   string
	}{
		{lines: []string{`create; user="42"; data=` + b64(`{"a":1}`) + `; ttl=3600`},
			want: instruction{verb: verbCreate, user: "42", data: []byte(`{"a":1}`), ttl: time.Hour}},
		{lines: []string{`create`}, want: instruction{verb: verbCreate}},
		{lines: []string{`create;data="{}"`}, want: instruction{verb: verbCreate, data: []byte(`{}`)}},
		{lines: []string{`update;data=` + b64(`{}`)}, want: instruction{verb: verbUpdate, data: []byte(`{}`)}},
		{lines: []string{`rotate`}, want: instruction{verb: verbRotate}},
		{lines: []string{`destroy`}, want: instruction{verb: verbDestroy}},
		{lines: []string{`destroy-all;user="7"`}, want: instruction{verb: verbDestroyAll, user: "7"}},
		{lines: []string{``}, bad: "no structured field"},
		{lines: []string{`create`, `destroy`}, bad: "no structured field"},
		{lines: []string{`create, destroy`}, bad: "no structured field"},
		{lines: []string{`"create"`}, bad: "does not begin"},
		{lines: []string{`Create`}, bad: "does not begin"},
		{lines: []string{`erase`}, bad: "does not begin"},
		{lines: []string{`update`}, bad: "without data"},
		{lines: []string{`create;tlt=5`}, bad: `"tlt"`},
		{lines: []string{`destroy;ttl=5`}, bad: `"ttl"`},
		{lines: []string{`update;user="1";data=` + b64(`{}`)}, bad: `"user"`},
		{lines: []string{`create;ttl=0`}, bad: "a ttl that is not valid"},
		{lines: []string{`create;ttl=-1`}, bad: "a ttl that is not valid"},
		{lines: []string{`create;ttl=99999999999`}, bad: "a ttl that is not valid"},
		{lines: []string{`create;ttl=1.5`}, bad: "a ttl that is not valid"},
		{lines: []string{`create;ttl`}, bad: "a ttl that is not valid"},
		{lines: []string{`create;user=""`}, bad: "a user that is not valid"},
		{lines: []string{`create;user=" 42"`}, bad: "a user that is not valid"},
		{lines: []string{`create;user`}, bad: "a user that is not valid"},
		{lines: []string{`create;data=` + b64(`[1]`)}, bad: "a data that is not valid"},
		{lines: []string{`create;data=` + b64(`{"a":1}{}`)}, bad: "a data that is not valid"},
		{lines: []string{`create;data=` + b64("{\"a\":\"\xff\"}")}, bad: "a data that is not valid"},
		{lines: []string{`create;data=` + b64(huge)}, bad: "a data that is not valid"},
		{lines: []string{`create;data=` + b64(huge+strings.Repeat(" ", maxWritten))}, bad: "bytes long"},
	} {
		got, err := parseInstruction(c.lines)
		switch {
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%.80q gives %v, want an error with %q", c.lines, err, c.bad)
		case c.bad == "" && (err != nil || got.verb != c.want.verb || got.user != c.want.user ||
			string(got.data) != string(c.want.data) || got.ttl != c.want.ttl):
			t.Errorf("%.80q gives %+v, %v; want %+v", c.lines, got, err, c.want)
		}
	}
}

func TestDocument(t *testing.T) {
	for _, c := range []struct {
		data, path string
		user       any
		want, bad  string
		ttl        time.Duration
	}{
		{``, "user_id", nil, `{"pillion_ttl":60}`, "", time.Minute},
		{`{"pillion_ttl":9}`, "user_id", "42", `{"pillion_ttl":60,"user_id":"42"}`, "", time.Minute},
		{``, "user_id", nil, `{}`, "", 0},
		{`{"a": 1}`, "user_id", nil, `{"a": 1}`, "", 0},
		{`{"a":12345678901234567890}`, "user_id", "42", `{"a":12345678901234567890,"user_id":"42"}`, "", 0},
		{`{"a":"<&>"}`, "user_id", "é", `{"a":"<&>","user_id":"é"}`, "", 0},
		{``, "user.id", "42", `{"user":{"id":"42"}}`, "", 0},
		{`{"user":{"n":1}}`, "user.id", "42", `{"user":{"id":"42","n":1}}`, "", 0},
		{`{"user_id":42}`, "user_id", "42", `{"user_id":42}`, "", 0},
		{`{"user_id":43}`, "user_id", "42", "", "one user in user and another in data", 0},
		{`{"user":1}`, "user.id", "42", "", "is no object", 0},
		{`{"a":"` + strings.Repeat("x", maxWritten-20) + `"}`, "user_id", "a-long-name-of-a-user", "", "keep it under", 0},
	} {
		got, err := document([]byte(c.data), c.user, c.path, c.ttl)
		if c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) || c.bad == "" && (err != nil || string(got) != c.want) {
			t.Errorf("%.60s with %v at %s gives %.80s, %v", c.data, c.user, c.path, got, err)
		}
	}
}

// FuzzInstruction: what is accepted can be written and read as a session of that user.
func FuzzInstruction(f *testing.F) {
	for _, seed := range []string{`create; user="42"; data=` + b64(`{"a":1}`) + `; ttl=3600`, `update;data=:e30=:`, `rotate`, `destroy-all;user=7`, `create;data="{}";user=%"%c3%a9"`} {
		f.Add(seed)
	}
	cfg := Default()
	sc := newSchema(&cfg, nil)
	f.Fuzz(func(t *testing.T, line string) {
		in, err := parseInstruction([]string{line})
		if err != nil {
			return
		}
		if !in.verb.known() || in.ttl < 0 || in.ttl > maxTTL {
			t.Fatalf("%q gives %+v", line, in)
		}
		doc, err := document(in.data, in.user, cfg.User, in.ttl)
		if err != nil {
			return
		}
		s, _ := sc.decode(sc.key(newID()), string(doc), time.Time{})
		if s.malformed || in.user != nil && s.User() == "" {
			t.Fatalf("%q gives the session %s of %q", line, doc, s.User())
		}
	})
}

func TestCookie(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(*Config) {}, "__Host-session_id=ID; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{func(c *Config) { c.Cookie.Secure = false }, "session_id=ID; Path=/; HttpOnly; SameSite=Lax"},
		{func(c *Config) { c.Cookie.Domain = "a.example" }, "session_id=ID; Path=/; Domain=a.example; HttpOnly; Secure; SameSite=Lax"},
		{func(c *Config) { c.Cookie.Path, c.Cookie.SameSite = "/shop", "strict" }, "session_id=ID; Path=/shop; HttpOnly; Secure; SameSite=Strict"},
		{func(c *Config) { c.Cookie.Name, c.Cookie.MaxAge, c.Cookie.SameSite = "sid", time.Hour, "none" },
			"sid=ID; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=None"},
	} {
		cfg := Default()
		cfg.Lifecycle = true
		c.change(&cfg)
		if got := cfg.setCookie("ID"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestLifecycleCookieIsASource(t *testing.T) {
	cfg := Default()
	cfg.Lifecycle = true
	want := []Source{{Header: "X-Session-ID"}, {Cookie: "__Host-session_id"}, {Cookie: "session_id"}}
	got := cfg.lifecycleSources()
	if len(got) != 3 || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("got %v, want %v", got, want)
	}
	cfg.Cookie.Name = "session_id"
	if got := cfg.lifecycleSources(); len(got) != 2 {
		t.Errorf("a cookie that is a source already: got %v", got)
	}
}
