package pillion

import (
	"os"
	"strings"
	"testing"
)

// The first configuration that README.md shows must be one that works.
func TestReadmeConfiguration(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```yaml\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("README.md has no ```yaml block")
	}
	cfg, err := Load(LoadOptions{Data: []byte(block), DotEnv: "off", Env: []string{"WEBHOOK_SECRET=s3cret", "PILLION_ADMIN_TOKEN=s3cret"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Rules) == 0 || len(cfg.Queues) == 0 {
		t.Errorf("it shows %d rules and %d queues", len(cfg.Rules), len(cfg.Queues))
	}
}
