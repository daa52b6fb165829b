package pillion

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/sessioncheck"
)

// What the user sets wins over the format's defaults, and these over those of json.
func TestSessionFormatDefaults(t *testing.T) {
	load := func(text string, env ...string) sessioncheck.Config {
		t.Helper()
		cfg, err := Load(LoadOptions{Data: []byte(text), Env: env, DotEnv: "off"})
		if err != nil {
			t.Fatal(err)
		}
		return cfg.Session
	}
	if got, want := load("session: { retry_after: 1s }"), sessioncheck.Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("json: got %+v, want %+v", got, want)
	}
	want := sessioncheck.DefaultFor("express")
	want.Secrets = []string{"a", "b"}
	if got := load("session: { format: express, secrets: [a, b] }"); !reflect.DeepEqual(got, want) {
		t.Errorf("express: got %+v, want %+v", got, want)
	}
	if want.Key != "sess:{id}" || want.TTL != 24*time.Hour || len(want.Sources) != 1 || want.Sources[0].Cookie != "connect.sid" {
		t.Errorf("express has the defaults %+v", want)
	}
	if got := load("", "PILLION_SESSION_FORMAT=express", "PILLION_SESSION_SECRETS=a,b"); !reflect.DeepEqual(got, want) {
		t.Errorf("from variables: got %+v, want %+v", got, want)
	}
	// Set to what happens to be the default of json.
	got := load("session: { format: django, key: \"session:{id}\", ttl: 168h, sliding: true, user: user_id, login: [], "+
		"sources: [{header: X-Session-ID}, {cookie: session_id}], identity: {} }", "PILLION_SESSION_USER=user_id")
	want = sessioncheck.Default()
	want.Format, want.Login, want.Identity = "django", []string{}, map[string]string{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("all set: got %+v, want %+v", got, want)
	}
	if got := load("session: { format: php, login: [id, uid] }", "PILLION_SESSION_LOGIN=name"); !reflect.DeepEqual(got.Login, []string{"name"}) {
		t.Errorf("a variable over the file: login %v", got.Login)
	}
}

func TestSecretsOfSessionsAreMasked(t *testing.T) {
	cfg, err := Load(LoadOptions{Data: []byte("session: { format: express, secrets: [hunter2, hunter3] }"), DotEnv: "off"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := cfg.Redacted().YAML()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter") || strings.Count(string(text), "***") != 2 {
		t.Errorf("two secrets are to be masked in\n%s", text)
	}
	if cfg.Session.Secrets[0] != "hunter2" {
		t.Error("the configuration itself was masked")
	}
}
