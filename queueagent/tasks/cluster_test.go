package tasks

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// TestScriptsWaitForAMigration: while the slot of a queue migrates, a Cluster refuses the
// scripts, and what somebody asks for is done when that is over.
func TestScriptsWaitForAMigration(t *testing.T) {
	cluster := redistest.StartCluster(t, 2, 0)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: cluster.Addrs(), DisableCache: true, DisableRetry: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{tb: t, c: c}
	s := r.store("a", List, "source", time.Minute)
	ctx := context.Background()
	if _, err := s.Enqueue(ctx, NewTask{Payload: "before", ID: "1", Delay: time.Hour}); err != nil {
		t.Fatal(err)
	}
	m := cluster.BeginMove("source", cluster.Other(cluster.Owner("source")))
	added := make(chan error, 1)
	go func() {
		_, err := s.Enqueue(ctx, NewTask{Payload: "meanwhile", ID: "2", Delay: time.Hour})
		added <- err
	}()
	eventually(t, "the script was refused", func() bool {
		stats, err := m.From.Do(t, "INFO", "errorstats").ToString()
		return err == nil && strings.Contains(stats, "errorstat_TRYAGAIN")
	})
	m.End()
	if err := <-added; err != nil {
		t.Errorf("what was asked for while the slot migrated: %v", err)
	}
	if n := r.int("HLEN", s.Keys.Records); n != 2 {
		t.Errorf("%d tasks: want 2", n)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	m = cluster.BeginMove("source", m.From)
	if _, err := s.Enqueue(ended, NewTask{Payload: "x", ID: "3", Delay: time.Hour}); err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN") {
		t.Errorf("for nobody that waits: %v, want TRYAGAIN", err)
	}
	m.End()
}
