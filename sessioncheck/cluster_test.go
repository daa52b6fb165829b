package sessioncheck

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

// TestOnACluster takes every command to a Redis that refuses keys of two slots in one.
func TestOnACluster(t *testing.T) {
	srv := redistest.Start(t, "--cluster-enabled", "yes")
	if _, err := srv.Command("CLUSTER", "ADDSLOTSRANGE", "0", "16383"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the cluster is ok", func() bool {
		line, err := srv.Command("SET", "x", "1")
		return err == nil && line == "+OK"
	})
	rc := redisconn.Default()
	rc.Cluster, rc.Timeout, rc.MaxStaleness = []string{srv.Addr}, 3*time.Second, 5*time.Second
	conn, err := redisconn.Open(rc, 4<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	waitFor(t, "Redis is up", conn.Up)
	cfg := Default()
	cfg.Lifecycle, cfg.MaxPerUser, cfg.ActiveUsers.Enabled = true, 2, true
	users := NewUsers(cfg, conn, true, zerolog.Nop())
	c, err := New(cfg, conn, zerolog.Nop(), WithUsers(users))
	if err != nil {
		t.Fatal(err)
	}
	life, ctx := NewLifecycle(users), context.Background()
	apply := func(id, line string) string {
		t.Helper()
		cookies, err := life.Apply(ctx, []string{line}, checkOf(c, id), time.Now())
		if err != nil || len(cookies) != 1 {
			t.Fatalf("%s: %v, %v", line, cookies, err)
		}
		value, _, _ := strings.Cut(strings.TrimPrefix(cookies[0], "__Host-session_id="), ";")
		return value
	}
	var ids []string
	for range 3 {
		ids = append(ids, apply("none", `create; user="42"`))
	}
	alive := 0
	for _, id := range ids {
		if checkOf(c, id).Status == Valid {
			alive++
		}
	}
	if alive != 2 || checkOf(c, ids[2]).Status != Valid {
		t.Errorf("%d sessions are valid, want 2 with the last one", alive)
	}
	next := apply(ids[2], `rotate`)
	if checkOf(c, next).Status != Valid || checkOf(c, ids[2]).Status != Absent {
		t.Error("rotate does not move the session")
	}
	users.Flush(ctx)
	if n, err := users.Active(ctx, time.Now(), 30); err != nil || n.Exact != 1 {
		t.Errorf("active users: %+v, %v", n, err)
	}
	if n, err := users.Streak(ctx, "42", time.Now()); err != nil || n != 1 {
		t.Errorf("streak: %d, %v", n, err)
	}
	if list, err := users.List(ctx, "42"); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if n, err := users.EndAll(ctx, "42"); err != nil || n != 2 {
		t.Errorf("log-out everywhere ended %d, %v", n, err)
	}
}
