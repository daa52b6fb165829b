package redisproc_test

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/reserve"
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

// While the server is down, nobody else may be given its port.
func TestThePortStaysOurs(t *testing.T) {
	s, err := redisproc.Start(redisproc.Options{TCP: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.Kill()
	if c, err := net.Dial("tcp", s.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, %v: want refused", c, err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// A Cluster needs the port 10000 above its own too.
func TestAnotherPortIsTried(t *testing.T) {
	first, err := reserve.Any()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	bus, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first.Number+10000)))
	if err != nil {
		t.Skip("somebody else has the second port")
	}
	defer bus.Close()
	s, err := redisproc.Start(redisproc.Options{TCP: true, Port: first.Number, Args: []string{"--cluster-enabled", "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if s.Addr == first.Addr() {
		t.Errorf("started at %s", s.Addr)
	}
	if line, err := s.Command("PING"); err != nil || line != "+PONG" {
		t.Errorf("PING: %q %v", line, err)
	}
}
