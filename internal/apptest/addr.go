package apptest

import (
	"testing"

	"github.com/pillion-proxy/pillion/internal/reserve"
)

// FreeAddr gives a loopback address for a server that is to start later, or again. Until
// the test ends, connections to it are refused while that server does not listen: nobody
// else is given the port.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	p, err := reserve.Any()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Release() })
	return p.Addr()
}
