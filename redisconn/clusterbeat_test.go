package redisconn_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

// TestClusterNodesThatFail: a replica that is down or hangs takes nothing away; a master
// does.
func TestClusterNodesThatFail(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(master, replica *redisproc.Server) error
		down bool
	}{
		{"a replica is killed", func(_, r *redisproc.Server) error { r.Kill(); return nil }, false},
		{"a replica hangs", func(_, r *redisproc.Server) error { return r.Pause() }, false},
		{"a master hangs", func(m, _ *redisproc.Server) error { return m.Pause() }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			master, replica := startPair(t)
			cfg := redisconn.Default()
			cfg.Cluster, cfg.Timeout, cfg.MaxStaleness = []string{master.Addr}, time.Second, 3*time.Second
			c, err := redisconn.Open(cfg, 16<<20, zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			eventually(t, "both nodes are known", func() bool { return c.Up() && len(c.Client().Nodes()) == 2 })
			beatAfter(t, c, time.Now()) // connected to both
			failed := time.Now()
			if err := tt.fail(master, replica); err != nil {
				t.Fatal(err)
			}
			if tt.down {
				eventually(t, "redis counts as down", func() bool { return !c.Up() })
				return
			}
			for range 3 {
				beatAfter(t, c, failed)
				failed = time.Now()
			}
		})
	}
}

// beatAfter waits for a sign of life that was asked for after that moment.
func beatAfter(t *testing.T, c *redisconn.Conn, moment time.Time) {
	t.Helper()
	eventually(t, "a heartbeat is answered", func() bool {
		beat := c.State().SinceBeat
		return beat >= 0 && beat < time.Since(moment)
	})
}

// startPair starts a Cluster of one master and its replica.
func startPair(t *testing.T) (master, replica *redisproc.Server) {
	t.Helper()
	args := []string{"--cluster-enabled", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
	master, replica = redistest.Start(t, args...), redistest.Start(t, args...)
	// A hung one is left to the clean-up, which lets it run again.
	m := redistest.Client(t, master)
	redistest.Do(t, m, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	host, port, _ := strings.Cut(master.Addr, ":")
	if line, err := replica.Command("CLUSTER", "MEET", host, port); err != nil || line != "+OK" {
		t.Fatal(line, err)
	}
	id, err := redistest.Do(t, m, "CLUSTER", "MYID").ToString()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica knows its master", func() bool {
		line, err := replica.Command("CLUSTER", "REPLICATE", id)
		return err == nil && line == "+OK"
	})
	eventually(t, "the master tells of its replica", func() bool {
		ranges, err := redistest.Do(t, m, "CLUSTER", "SLOTS").ToArray()
		if err != nil || len(ranges) != 1 {
			return false
		}
		nodes, err := ranges[0].ToArray()
		return err == nil && len(nodes) == 4
	})
	return master, replica
}
