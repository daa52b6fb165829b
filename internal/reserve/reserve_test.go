package reserve_test

import (
	"errors"
	"net"
	"runtime"
	"syscall"
	"testing"

	"github.com/pillion-proxy/pillion/internal/reserve"
)

// Of as many ports as there are listeners here, the system would give some twice.
func TestNobodyElseIsGivenThesePorts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: ports are only kept on Linux")
	}
	const ports, listeners = 300, 600
	kept := make(map[string]bool)
	for range ports {
		p, err := reserve.Any()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
		kept[p.Addr()] = true
	}
	if len(kept) != ports {
		t.Errorf("%d ports: want %d", len(kept), ports)
	}
	for range listeners {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if kept[ln.Addr().String()] {
			t.Errorf("%s was given away", ln.Addr())
		}
	}
}

func TestWhoNamesThePortMayListen(t *testing.T) {
	p, err := reserve.Any()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if c, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("%v, %v: want refused", c, err)
		}
		ln, err := net.Listen("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if other, err := reserve.Wanted(p.Number); err != nil || other.Number == p.Number {
			t.Errorf("%v, %v: want another port than one that is listened on", other, err)
		} else {
			_ = other.Release()
		}
		_ = c.Close()
		_ = ln.Close()
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}
