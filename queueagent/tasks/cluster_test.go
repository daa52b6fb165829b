package tasks

import (
	"context"
	"strconv"
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
	eventually(t, "the script was refused", func() bool { return refusals(t, m.From) > 0 })
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
	before := refusals(t, m.From)
	if _, err := s.Enqueue(ended, NewTask{Payload: "x", ID: "3", Delay: time.Hour}); err == nil || !strings.HasPrefix(err.Error(), "TRYAGAIN") {
		t.Errorf("for nobody that waits: %v, want TRYAGAIN", err)
	}
	if n := refusals(t, m.From) - before; n != 1 {
		t.Errorf("it was tried %d times: want once", n)
	}
	m.End()
}

// refusals is how often a node has said TRYAGAIN.
func refusals(t *testing.T, n *redistest.Node) int {
	t.Helper()
	stats, err := n.Do(t, "INFO", "errorstats").ToString()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(stats, "errorstat_TRYAGAIN:count=")
	if !ok {
		return 0
	}
	line, _, _ := strings.Cut(rest, "\n")
	count, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return count
}
