package cache_test

import (
	"context"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

// TestStoreWhileASlotMigrates: a Cluster refuses commands of several keys then. Nothing is
// stored, and nobody waits for that; a purge is done all the same.
func TestStoreWhileASlotMigrates(t *testing.T) {
	cluster := redistest.StartCluster(t, 2, 0)
	cfg := redisconn.Default()
	cfg.Cluster, cfg.Timeout, cfg.MaxStaleness = cluster.Addrs(), 10*time.Second, 10*time.Second
	conn, err := redisconn.Open(cfg, 16<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	redistest.Eventually(t, "redis is up", conn.Up)
	app, s, ctx := cluster.Client(), cache.NewStore(conn, time.Hour), context.Background()
	const key, lease, key2, lease2 = "c:{x}", "l:{x}", "c:{y}", "l:{y}"
	put := func() bool {
		t.Helper()
		l, err := s.Begin(ctx, lease)
		if err != nil || l == nil {
			t.Fatalf("lease: %v, %v", l, err)
		}
		stored, err := s.Put(ctx, l, key, []byte("page"), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	if !put() {
		t.Fatal("not stored")
	}
	m := cluster.BeginMove(key, cluster.Other(cluster.Owner(key)))
	if put() {
		t.Error("stored while the slot migrates")
	}
	if held, err := s.Held(ctx, lease); err != nil || held {
		t.Errorf("the lease is held: %v, %v", held, err)
	}
	if found, err := s.PurgeKey(ctx, key, lease); err != nil || !found {
		t.Errorf("purge: %v, %v", found, err)
	}
	for _, k := range []string{key, key2} {
		redistest.Do(t, app, "SET", k, "page")
	}
	if err := s.PurgeKeys(ctx, []string{key, key2}, []string{lease, lease2}); err != nil {
		t.Errorf("purge of two: %v", err)
	}
	for _, k := range []string{key, key2} {
		if redistest.Int(t, app, "EXISTS", k) != 0 {
			t.Errorf("%s is still there", k)
		}
	}
	m.End()
	if !put() {
		t.Error("not stored after the slot has moved")
	}
}
