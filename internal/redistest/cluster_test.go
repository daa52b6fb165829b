package redistest_test

import (
	"context"
	"testing"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// TestCluster: what the helper says of a Cluster is so.
func TestCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 3)
	client, ctx := c.Client(), context.Background()
	set := func(key, value string) {
		t.Helper()
		redistest.Do(t, client, "SET", key, value)
	}
	set("moved", "1")
	from := c.Owner("moved")
	m := c.BeginMove("moved", c.Other(from))
	m.Keys("moved")
	if v, err := client.Do(ctx, client.B().Get().Key("moved").Build()).ToString(); err != nil || v != "1" {
		t.Fatalf("while the slot moves: %q, %v", v, err)
	}
	m.End()
	if now := c.Owner("moved"); now != m.To || now == from {
		t.Fatalf("the slot is at %s, want %s", now.Addr, m.To.Addr)
	}
	set("moved", "2")
	owner := c.Owner("moved")
	if c.FailOver(owner); c.Owner("moved") == owner {
		t.Error("the killed master has its slots still")
	}
	set("moved", "3")
}
