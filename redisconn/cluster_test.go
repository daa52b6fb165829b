package redisconn_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/redisconn"
)

// join opens a connection to a Cluster, and waits until it knows all nodes.
func join(t *testing.T, cluster *redistest.Cluster) *redisconn.Conn {
	t.Helper()
	cfg := redisconn.Default()
	cfg.Cluster, cfg.Timeout, cfg.MaxStaleness = cluster.Addrs(), 10*time.Second, 3*time.Second
	c, err := redisconn.Open(cfg, 16<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	eventually(t, "all nodes are known", func() bool { return c.Up() && len(c.Client().Nodes()) == len(cluster.Nodes()) })
	return c
}

// read reads a key, if not at once: the Cluster, or this machine, may be busy.
func read(t *testing.T, c *redisconn.Conn, key string) (v *redisconn.Value) {
	t.Helper()
	eventually(t, key+" can be read", func() (ok bool) {
		var err error
		v, err = c.Get(context.Background(), key, redisconn.ProbeFirst)
		return err == nil
	})
	return v
}

// TestSlotThatMigrates on a Cluster, with what is kept in memory.
func TestSlotThatMigrates(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 0)
	app, c := cluster.Client(), join(t, cluster)
	t.Run("a key that is read meanwhile", func(t *testing.T) { readWhileMigrating(t, cluster, app, c) })
	t.Run("an absent key", func(t *testing.T) { absentWhileMigrating(t, cluster, app, c) })
}

// readWhileMigrating: what is read by ASK is not kept, since Redis does not tell of its
// changes.
func readWhileMigrating(t *testing.T, cluster *redistest.Cluster, app rueidis.Client, c *redisconn.Conn) {
	set(t, app, "k", "1")
	m := cluster.BeginMove("k", cluster.Other(cluster.Owner("k")))
	m.Keys("k")
	if v := read(t, c, "k"); v.String() != "1" {
		t.Fatalf("by ASK: %q", v.String())
	}
	set(t, app, "k", "2")
	eventually(t, "the change is seen", func() bool {
		v := c.Peek([]byte("k"), time.Now())
		return v == nil || v.String() == "2"
	})
	m.End()
	eventually(t, "it is kept again", func() bool {
		read(t, c, "k")
		return c.Peek([]byte("k"), time.Now()) != nil
	})
	set(t, app, "k", "3")
	eventually(t, "the change is seen", func() bool { return read(t, c, "k").String() == "3" })
	if _, err := c.Write(context.Background(), "k", func(b rueidis.Builder) rueidis.Completed { return b.Del().Key("k").Build() }); err != nil {
		t.Fatal(err)
	}
	if c.Peek([]byte("k"), time.Now()) != nil {
		t.Error("an own write is not seen at once")
	}
}

// absentWhileMigrating: its old owner tells nothing of what the new one gets.
func absentWhileMigrating(t *testing.T, cluster *redistest.Cluster, app rueidis.Client, c *redisconn.Conn) {
	changed, stop := c.Watch("mark")
	defer stop()
	absent := func() bool {
		v := c.Peek([]byte("mark"), time.Now())
		return v != nil && !v.Exists()
	}
	eventually(t, "the absence is remembered", func() bool {
		_, _ = c.Get(context.Background(), "mark", redisconn.RememberAbsent)
		return absent()
	})
	for range len(changed) {
		<-changed
	}
	m := cluster.BeginMove("mark", cluster.Other(cluster.Owner("mark")))
	m.End()
	select {
	case <-changed:
	case <-time.After(patience):
		t.Fatal("who watches is not told that the slot has moved")
	}
	set(t, app, "mark", "1")
	eventually(t, "the mark is seen", func() bool {
		v, err := c.Get(context.Background(), "mark", redisconn.RememberAbsent)
		return err == nil && v.Exists() && !absent()
	})
}

// TestMasterThatChanges, by an order and by a failure.
func TestMasterThatChanges(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 3)
	app, c := cluster.Client(), join(t, cluster)
	t.Run("it becomes a replica", func(t *testing.T) { masterBecomesReplica(t, cluster, app, c) })
	t.Run("it is killed", func(t *testing.T) { masterIsKilled(t, cluster, app, c) })
}

// masterBecomesReplica: its connection stays, and what was read from it goes.
func masterBecomesReplica(t *testing.T, cluster *redistest.Cluster, app rueidis.Client, c *redisconn.Conn) {
	set(t, app, "k", "1")
	read(t, c, "k")
	if c.Peek([]byte("k"), time.Now()) == nil {
		t.Fatal("it is not kept")
	}
	replica := cluster.ReplicaOf(cluster.Owner("k"))
	replica.Do(t, "CLUSTER", "FAILOVER")
	cluster.AwaitMaster(replica)
	eventually(t, "what its connection has brought is gone", func() bool { return c.Peek([]byte("k"), time.Now()) == nil })
	set(t, app, "k", "2")
	eventually(t, "the new master is asked", func() bool { return read(t, c, "k").String() == "2" })
}

// masterIsKilled: once another has its slots, all goes on, in all slots at once.
func masterIsKilled(t *testing.T, cluster *redistest.Cluster, app rueidis.Client, c *redisconn.Conn) {
	keys := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	victim := cluster.Masters[0]
	if cluster.Owner("k") == cluster.ReplicaOf(victim) { // of the failover before
		victim = cluster.Masters[1]
	}
	for _, k := range keys {
		set(t, app, k, "1")
		read(t, c, k)
	}
	cluster.FailOver(victim)
	write := func() error {
		return c.WriteAll(context.Background(), keys, func(b rueidis.Builder, i int) rueidis.Completed {
			return b.Set().Key(keys[i]).Value("2").Build()
		})
	}
	eventually(t, "all slots can be written", func() bool { return write() == nil })
	for _, k := range keys {
		if v := c.Peek([]byte(k), time.Now()); v != nil && v.String() != "2" {
			t.Errorf("%s is %q in memory still", k, v.String())
		}
		if v := read(t, c, k).String(); v != "2" {
			t.Errorf("%s is %q still", k, v)
		}
	}
	eventually(t, "redis counts as up for good", func() bool { return c.State().SinceBeat < time.Second })
	if n, err := c.Remove(context.Background(), keys...); err != nil || n != int64(len(keys)) {
		t.Errorf("removed %d, %v", n, err)
	}
}
