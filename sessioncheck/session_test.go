package sessioncheck

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

func decode(cfg Config, raw string, fields ...string) (*Session, int) {
	return newSchema(&cfg, fields).decode("session:abc", raw, time.Time{})
}

func TestDecodeRefusesWhatIsNoObject(t *testing.T) {
	for _, raw := range []string{
		"", "null", "1", `"x"`, "[]", "{", "{} {}", "{}x", "{'a':1}", `{"a":1,}`, `{"a":"` + "\xff" + `"}`, "\x80\x04}q.",
		`{"a":"` + strings.Repeat("x", formats.MaxBytes) + `"}`,
		strings.Repeat(`{"a":`, formats.MaxDepth+1) + "1" + strings.Repeat("}", formats.MaxDepth+1),
	} {
		if s, _ := decode(Default(), raw); !s.malformed {
			t.Errorf("%.40q was taken for a session", raw)
		}
	}
	deep := strings.Repeat(`{"a":`, formats.MaxDepth) + `"]}]}"` + strings.Repeat("}", formats.MaxDepth)
	for _, raw := range []string{"{}", " {} \n", `{"user_id":null}`, `{"a":"[[[[\"{{{{"}`, deep} {
		if s, _ := decode(Default(), raw); s.malformed {
			t.Errorf("%.40q was refused", raw)
		}
	}
}

func TestField(t *testing.T) {
	const raw = `{"s":"text","i":12345678901234567890,"f":1.50,"t":true,"n":null,"o":{"in":{"x":"deep"}},"l":["a",1,{}],"e":"",
		"dup":1,"dup":"last","d.ot":"flat","long":"` // closed below
	doc := raw + strings.Repeat("x", maxValueBytes+1) + `"}`
	want := map[string]string{
		"s": "text", "i": "12345678901234567890", "f": "1.50", "t": "true", "o.in.x": "deep", "e": "", "dup": "last",
	}
	paths := []string{"s", "i", "f", "t", "n", "o", "o.in", "o.in.x", "l", "e", "dup", "d.ot", "none", "s.x", "o.no.x", "long"}
	for _, registered := range []bool{true, false} {
		var fields []string
		if registered {
			fields = paths
		}
		s, _ := decode(Default(), doc, fields...)
		for _, path := range paths {
			got, ok := s.Field(path)
			if w, has := want[path]; ok != has || got != w {
				t.Errorf("registered %v, %s: %q %v, want %q %v", registered, path, got, ok, w, has)
			}
		}
	}
}

func TestUserKey(t *testing.T) {
	key := func(raw string) string {
		s, _ := decode(Default(), raw)
		if (s.User() == "") != (s.UserKey() == s.SessionKey()) {
			t.Errorf("%s: user %q, keys %q and %q", raw, s.User(), s.UserKey(), s.SessionKey())
		}
		return s.UserKey()
	}
	own := key(`{}`)
	for _, raw := range []string{`{"user_id":null}`, `{"user_id":""}`, `{"user_id":[1]}`, `{"user_id":[]}`, `{"user_id":{}}`,
		`{"user_id":"\ud800"}`, `{"user_id":"` + strings.Repeat("x", maxValueBytes+1) + `"}`} {
		if got := key(raw); got != own {
			t.Errorf("%.40s: %q, want the session's own %q", raw, got, own)
		}
	}
	if a, b := key(`{"user_id":1}`), key(`{"user_id":2}`); a == b || a != "u1" {
		t.Errorf("keys %q and %q", a, b)
	}
	// A user who names himself like another's session key stays himself.
	if key(fmt.Sprintf(`{"user_id":%q}`, own)) == own {
		t.Error("a user name equals a session's key")
	}
	a, _ := newSchema(new(Default()), nil).decode("session:abc", "{}", time.Time{})
	b, _ := newSchema(new(Default()), nil).decode("session:abd", "{}", time.Time{})
	if a.SessionKey() == b.SessionKey() || strings.Contains(a.SessionKey(), "abc") || len(a.LogID()) != 8 {
		t.Errorf("session keys %q and %q, log id %q", a.SessionKey(), b.SessionKey(), a.LogID())
	}
}

func TestIdentity(t *testing.T) {
	cfg := Default()
	cfg.Identity = map[string]string{"X-User-Id": "user_id", "X-User-Mail": "profile.mail"}
	for _, tc := range []struct {
		raw, want string
		omitted   int
	}{
		{`{"user_id":42,"profile":{"mail":"a@b.c"}}`, "X-User-Id: 42\r\nX-User-Mail: a@b.c\r\n", 0},
		{`{"user_id":"Zoë"}`, "X-User-Id: Zoë\r\n", 0},
		{`{"user_id":true,"profile":"x"}`, "X-User-Id: true\r\n", 0},
		{`{}`, "", 0},
		{`{"user_id":null}`, "", 0},
		{`{"user_id":""}`, "", 1},
		{`{"user_id":"1\r\nX-Admin: 1"}`, "", 1},
		{`{"user_id":"1\n2"}`, "", 1},
		{`{"user_id":"1\u0000"}`, "", 1},
		{`{"user_id":"1\u0085"}`, "", 1},
		{`{"user_id":" admin"}`, "", 1},
		{`{"user_id":"admin\u00a0"}`, "", 1},
		{`{"user_id":"\udc00"}`, "", 1},
		{`{"user_id":[1]}`, "", 1},
		{`{"user_id":{"a":1}}`, "", 1},
		{`{"user_id":"` + strings.Repeat("x", maxValueBytes+1) + `"}`, "", 1},
	} {
		s, omitted := decode(cfg, tc.raw)
		if string(s.identity) != tc.want || omitted != tc.omitted {
			t.Errorf("%.40s: %q and %d left out, want %q and %d", tc.raw, s.identity, omitted, tc.want, tc.omitted)
		}
	}
}

func TestPolicy(t *testing.T) {
	policy := func(require map[string][]string) *CompiledPolicy {
		p, err := CompilePolicy(Policy{Require: require})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := policy(map[string][]string{"role": {"admin", "owner"}, "org.plan": {"2"}})
	if p.Mode() != ModeRequired || !reflect.DeepEqual(p.Fields(), []string{"org.plan", "role"}) {
		t.Errorf("mode %s, fields %v", p.Mode(), p.Fields())
	}
	for raw, want := range map[string]bool{
		`{"role":"admin","org":{"plan":2}}`:              true,
		`{"role":["guest","owner"],"org":{"plan":"2"}}`:  true,
		`{"role":"admin","org":{"plan":3}}`:              false,
		`{"role":"admins","org":{"plan":2}}`:             false,
		`{"role":"Admin","org":{"plan":2}}`:              false,
		`{"role":[["admin"]],"org":{"plan":2}}`:          false,
		`{"role":{"admin":true},"org":{"plan":2}}`:       false,
		`{"role":[],"org":{"plan":2}}`:                   false,
		`{"role":"admin"}`:                               false,
		`{"role.x":"admin","org.plan":2,"role":"owner"}`: false,
		`{}`: false,
	} {
		for _, fields := range [][]string{nil, p.Fields()} {
			s, _ := decode(Default(), raw, fields...)
			if got := p.Allows(s); got != want {
				t.Errorf("%s with fields %v: %v, want %v", raw, fields, got, want)
			}
		}
	}
	s, _ := decode(Default(), `{"role":["guest","owner"],"org":{"plan":"2"}}`, p.Fields()...)
	if n := testing.AllocsPerRun(100, func() { p.Allows(s); s.Field("role"); s.Field("org.plan") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if empty := policy(nil); !empty.Allows(s) {
		t.Error("a policy without conditions refuses")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"user_id":1,"a":{"b":["x",2,true]}}`)
	f.Add(`{"user_id":"\ud800","user_id":"a\r\nb"}`)
	f.Add(`{"user_id":[]} {}`)
	cfg := Default()
	f.Fuzz(func(t *testing.T, raw string) {
		s, _ := decode(cfg, raw, "a.b")
		var object map[string]any
		valid := json.Unmarshal([]byte(raw), &object) == nil && object != nil
		if !s.malformed && !valid {
			t.Fatalf("%q is no object, but was taken for a session", raw)
		}
		s.Field("a.b")
		s.Field("a.b.c")
		id := string(s.identity)
		if id == "" {
			return
		}
		value, ok := strings.CutPrefix(strings.TrimSuffix(id, "\r\n"), "X-User-Id: ")
		if !ok || strings.ContainsAny(value, "\r\n\x00") || strings.TrimSpace(value) != value || value == "" {
			t.Fatalf("%q gave the header %q", raw, id)
		}
	})
}
