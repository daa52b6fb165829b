package redisproc_test

import (
	"testing"

	"github.com/pillion-proxy/pillion/internal/redisproc"
)

func TestStartKillRestart(t *testing.T) {
	s, err := redisproc.Start(redisproc.Options{TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if line, err := s.Command("SET", "k", "v"); err != nil || line != "+OK" {
		t.Fatalf("SET: %q %v", line, err)
	}
	s.Kill()
	if _, err := s.Command("PING"); err == nil {
		t.Fatal("a killed server answered")
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	if line, err := s.Command("PING"); err != nil || line != "+PONG" {
		t.Fatalf("PING: %q %v", line, err)
	}
}
