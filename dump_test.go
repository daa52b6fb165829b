package pillion

import (
	"strings"
	"testing"
)

func TestRedactedYAML(t *testing.T) {
	cfg, err := Load(LoadOptions{Data: []byte(`
redis: { url: "redis://app:hunter2@127.0.0.1:6379/0", max_staleness: 90s }
admin: { token: hunter2 }
rules:
  - name: off
    match: { path: "/a/{id}", methods: [GET] }
    session: { require: { role: [admin] } }
    cache: { ttl: 1h30m, tags: ["$${id}:{id}"] }
  - name: b
    match: { path: /b }
    session: none
    cache: off
queues:
  - name: tasks
    list: tasks
    webhook: { url: "http://127.0.0.1/{type}", secret: hunter2, secrets: [hunter2], headers: { X-Key: hunter2 } }
`)})
	if err != nil {
		t.Fatal(err)
	}
	sameAfterDump(t, cfg)
	// Load refuses this; an embedder's dump may come before its validation.
	cfg.Queues[0].Webhook.URL = "http://user:hunter2@127.0.0.1/{type}"
	data, err := cfg.Redacted().YAML()
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for _, want := range []string{
		"listen: :8080\n", "  url: redis://app:***@127.0.0.1:6379/0\n", "  max_staleness: 1m30s\n", "  token: '***'\n", "  ttl: 168h\n",
		`  - name: off
    match:
      path: /a/{id}
      methods: [GET]
    session:
      require: {role: [admin]}
    cache:
      ttl: 1h30m
      tags: ['$${id}:{id}']
  - name: b
    match:
      path: /b
    session: none
    cache: off
`, "      url: http://user:***@127.0.0.1/{type}\n", "      secret: '***'\n", "      secrets: ['***']\n", "X-Key: '***'", "  memory: 128MiB\n", "  identity: {X-User-Id: user_id}\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the dump lacks\n%s", want)
		}
	}
	if strings.Contains(text, "hunter2") || t.Failed() {
		t.Errorf("dump:\n%s", text)
	}
	if hook := cfg.Queues[0].Webhook; cfg.Admin.Token != "hunter2" || hook.Secret != "hunter2" || hook.Secrets[0] != "hunter2" || hook.Headers["X-Key"] != "hunter2" {
		t.Error("Redacted changed the configuration itself")
	}
}
