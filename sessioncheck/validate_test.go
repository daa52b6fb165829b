package sessioncheck

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

func TestConfigProblems(t *testing.T) {
	for _, tc := range []struct {
		change func(*Config)
		want   string // field: part of the text
	}{
		{func(c *Config) { c.Sources = nil }, "sources: list 1 to 8"},
		{func(c *Config) { c.Sources = make([]Source, 9) }, "sources: list 1 to 8"},
		{func(c *Config) { c.Sources[0] = Source{} }, "sources[0]: not the name"},
		{func(c *Config) { c.Sources[0].Cookie = "x" }, "sources[0]: two sources in one"},
		{func(c *Config) { c.Sources[1].Cookie = "a b" }, "sources[1]: not the name"},
		{func(c *Config) { c.Sources[0].Header = "cookie" }, "sources[0]: name the cookie"},
		{func(c *Config) { c.Sources = append(c.Sources, Source{Header: "x-session-id"}) }, "sources[2]: listed twice"},
		{func(c *Config) { c.Format = "xml" }, "format: write one of json, express"},
		{func(c *Config) { *c = DefaultFor("express") }, "secrets: signed"},
		{func(c *Config) { c.Secrets = []string{"s"} }, "secrets: has no use"},
		{func(c *Config) { *c = DefaultFor("express"); c.Secrets = []string{"s", ""} }, "secrets[1]: is empty"},
		{func(c *Config) { *c = DefaultFor("laravel"); c.Secrets = []string{"base64:AAAA"} }, "secrets[0]: has 3 bytes"},
		{func(c *Config) { c.Login = []string{"user", "a..b"} }, "login[1]: not a field's path"},
		{func(c *Config) { c.Format = "presence" }, "format: does not read sessions"},
		{func(c *Config) { *c = DefaultFor("spring"); c.Sliding = true }, "sliding: only the application"},
		{func(c *Config) { c.Sources[0].Bearer = true }, "sources[0]: two sources in one"},
		{func(c *Config) { c.Sources = []Source{{Bearer: true}, {Bearer: true}} }, "sources[1]: listed twice"},
		{func(c *Config) {
			c.Sources, c.Identity = []Source{{Bearer: true}}, map[string]string{"Authorization": "a"}
		}, "identity.Authorization: source of the session id"},
		{func(c *Config) { c.Key = "session" }, "key: {id} once"},
		{func(c *Config) { c.Key = "{id}{id}" }, "key: {id} once"},
		{func(c *Config) { c.Key = strings.Repeat("k", maxKeyFixed) + "{id}" }, "key: longer than 256"},
		{func(c *Config) { c.TTL = 0 }, "ttl: sliding: false"},
		{func(c *Config) { c.RetryAfter = -time.Second }, "retry_after: negative"},
		{func(c *Config) { c.User = "a..b" }, "user: not a field's path"},
		{func(c *Config) { c.Identity = map[string]string{"X Y": "a"} }, "identity.X Y: not a header field name"},
		{func(c *Config) { c.Identity = map[string]string{"content_length": "a"} }, "identity.content_length: meaning of its own"},
		{func(c *Config) { c.Identity = map[string]string{"X_Session-Id": "a"} }, "identity.X_Session-Id: source of the session id"},
		{func(c *Config) { c.Identity = map[string]string{"X-User-Id": "a", "x_user_id": "b"} }, "identity.x_user_id: the same header as X-User-Id"},
		{func(c *Config) { c.Identity = map[string]string{"X-User-Id": ""} }, "identity.X-User-Id: not a field's path"},
	} {
		cfg := Default()
		tc.change(&cfg)
		_, err := New(cfg, nil, zerolog.Nop())
		var ps Problems
		field, text, _ := strings.Cut(tc.want, ": ")
		if !errors.As(err, &ps) {
			t.Errorf("want %s: accepted", tc.want)
			continue
		}
		hit := false
		for _, p := range ps {
			hit = hit || p.Field == field && strings.Contains(p.Error(), text)
		}
		if !hit {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
	for _, format := range formats.Names() {
		cfg := DefaultFor(format)
		if formats.Lookup(format).Secrets == formats.RequiredSecrets {
			cfg.Secrets = []string{strings.Repeat("k", 32)}
		}
		if ps := cfg.Check(); len(ps) != 0 || cfg.Format != format {
			t.Errorf("the defaults of %s have problems: %v", format, ps)
		}
	}
}

func TestPolicyProblems(t *testing.T) {
	require := map[string][]string{"role": {"admin"}}
	for _, tc := range []struct {
		p    Policy
		want string
	}{
		{Policy{Mode: "off"}, "mode: none, optional or required"},
		{Policy{Mode: ModeNone, Require: require}, "mode: which require forbids"},
		{Policy{Mode: ModeOptional, Require: require}, "mode: which require forbids"},
		{Policy{Require: map[string][]string{"role": {}}}, "require.role: list one or more"},
		{Policy{Require: map[string][]string{"a.": {"x"}}}, "require.a.: not a field's path"},
	} {
		_, err := CompilePolicy(tc.p)
		var ps Problems
		i := strings.Index(tc.want, ": ")
		if !errors.As(err, &ps) || len(ps) != 1 || ps[0].Field != tc.want[:i] || !strings.Contains(ps[0].Error(), tc.want[i+2:]) {
			t.Errorf("%+v: %v, want %s", tc.p, err, tc.want)
		}
	}
	for _, p := range []Policy{{}, {Mode: ModeNone}, {Mode: ModeOptional}, {Mode: ModeRequired, Require: require}} {
		if _, err := CompilePolicy(p); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestIsIdentityHeader(t *testing.T) {
	cfg := Default()
	cfg.Identity = map[string]string{"X-User-Id": "user_id", "X_Role": "role"}
	c, err := New(cfg, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"X-User-Id": true, "x-user-id": true, "X_USER_ID": true, "x_User-iD": true, "X.User.Id": true, "x-role": true, "X-ROLE": true,
		"X-User-I": false, "X-User-Idx": false, "XX-User-Id": false, "X-Userxid": false, "": false, "Host": false,
	} {
		if got := c.IsIdentityHeader([]byte(name)); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	name := []byte("x_User-iD")
	if n := testing.AllocsPerRun(100, func() { c.IsIdentityHeader(name) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := c.AppendIdentity([]byte("a"), nil); string(got) != "a" {
		t.Errorf("a nil session wrote %q", got)
	}
}
