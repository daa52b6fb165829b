package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// Made by the module cookie-signature, of the id abc-DEF_1 with the secret "keyboard cat".
const expressCookie = "s%3Aabc-DEF_1.yr9QAFZ8crUpcWEnPukwLR9f0LM%2FdK%2FL6pR7j3vAat0"

func TestSessionVerify(t *testing.T) {
	srv := redistest.Start(t)
	redis := redistest.Client(t, srv)
	ctx := context.Background()
	set := func(key, value string) {
		if err := redis.Do(ctx, redis.B().Set().Key(key).Value(value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	set("sess:abc-DEF_1", `{"passport":{"user":"alice"}}`)
	set("sess:guest", `{"cart":[]}`)
	if err := redis.Do(ctx, redis.B().Rpush().Key("sess:list").Element("x").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "pillion.yaml")
	text := "redis: { url: \"redis://" + srv.Addr + "\" }\nsession: { format: express, secrets: [hunter2, keyboard cat] }\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	url := "redis://" + srv.Addr
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string // a part of the last line
	}{
		{"config", []string{"--config", config, "--cookie", expressCookie}, 0, "ok      somebody is logged in"},
		{"format", []string{"--format", "express", "--secret", "hunter2", "--secret", "keyboard cat", "--redis", url, "--cookie", expressCookie}, 0, "ok      somebody"},
		{"without Redis", []string{"--format", "express", "--secret", "keyboard cat", "--cookie", expressCookie}, 0, "note    the session itself was not looked at: give --redis"},
		{"another secret", []string{"--format", "express", "--secret", "hunter2", "--redis", url, "--cookie", expressCookie}, 1, "failed  the signature"},
		{"unsigned", []string{"--config", config, "--cookie", "abc-DEF_1"}, 1, "failed  it begins with s:"},
		{"empty", []string{"--config", config, "--cookie", ""}, 1, "failed  it begins with s:"},
		{"id", []string{"--config", config, "--id", "abc-DEF_1"}, 0, "ok      somebody"},
		{"guest", []string{"--config", config, "--id", "guest"}, 1, "failed  somebody is logged in"},
		{"absent", []string{"--config", config, "--id", "none"}, 1, "failed  Redis has the key sess:<id>"},
		{"another type", []string{"--config", config, "--id", "list"}, 2, "unknown Redis answers"},
		{"no Redis", []string{"--config", config, "--redis", "redis://127.0.0.1:1", "--id", "abc-DEF_1"}, 2, "unknown Redis answers"},
		{"neither", []string{"--config", config}, 2, ""},
		{"both", []string{"--config", config, "--cookie", "a", "--id", "b"}, 2, ""},
		{"config and format", []string{"--config", config, "--format", "php", "--id", "b"}, 2, ""},
		{"no such format", []string{"--format", "ruby", "--id", "b"}, 2, ""},
		{"no secret", []string{"--format", "express", "--cookie", "b"}, 2, ""},
		{"no such file", []string{"--config", config + "x", "--cookie", "b"}, 2, ""},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(ctx, append([]string{"session", "verify"}, tc.args...), nil, &stdout, &stderr)
		lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
		if code != tc.code || !strings.Contains(lines[len(lines)-1], tc.want) || code == 2 && tc.want == "" && stderr.Len() == 0 {
			t.Errorf("%s: exit %d, want %d\n%s%s", tc.name, code, tc.code, stdout.String(), stderr.String())
		}
		for _, secret := range []string{"hunter2", "keyboard", "abc-DEF_1", "yr9QAFZ8"} {
			if strings.Contains(stdout.String()+stderr.String(), secret) {
				t.Errorf("%s: shows %q:\n%s%s", tc.name, secret, stdout.String(), stderr.String())
			}
		}
	}
}
