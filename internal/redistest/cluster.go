package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redisproc"
)

const (
	// Slots is the number of hash slots of a Cluster.
	Slots = 16384
	// readyWithin bounds the wait for a Cluster, or for Sentinels, on a busy machine.
	readyWithin = time.Minute
	askEvery    = 5 * time.Millisecond
	verbatim    = "txt:" // what a text of RESP3 begins with
)

// Node is a server of a Cluster.
type Node struct {
	*redisproc.Server
	ID   string
	conn rueidis.Client // to this node alone
}

// Cluster is a Redis Cluster of the test's own. Its nodes end with the test.
type Cluster struct {
	Masters, Replicas []*Node // as they began: a replica has the master of its index, modulo
	tb                testing.TB
}

// StartCluster runs masters, among which the slots are shared evenly, and replicas of
// them, and waits until every node knows all of it and the replicas are in sync. A node
// that has not answered for two seconds is taken for dead, unless args say otherwise.
func StartCluster(tb testing.TB, masters, replicas int, args ...string) *Cluster {
	tb.Helper()
	args = append([]string{
		"--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0",
		"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}, args...)
	c := &Cluster{tb: tb}
	nodes := c.start(masters+replicas, args)
	c.Masters, c.Replicas = nodes[:masters:masters], nodes[masters:]
	for i, n := range c.Masters {
		n.Do(tb, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*Slots/masters), strconv.Itoa((i+1)*Slots/masters-1))
	}
	for i, n := range nodes {
		n.Do(tb, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1)) // or they would have to agree on them first
		for _, other := range nodes[:i] {
			host, port, _ := net.SplitHostPort(other.Addr)
			n.Do(tb, "CLUSTER", "MEET", host, port)
		}
	}
	for i, n := range c.Replicas {
		master := c.Masters[i%masters].ID
		Eventually(tb, "the replica knows its master", func() bool { return n.try("CLUSTER", "REPLICATE", master) == nil })
	}
	for _, n := range nodes {
		Eventually(tb, "the node knows the whole Cluster", func() bool { return c.complete(n) })
	}
	return c
}

// start runs the servers at once.
func (c *Cluster) start(n int, args []string) []*Node {
	c.tb.Helper()
	nodes, errs := make([]*Node, n), make([]error, n)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			srv, err := redisproc.Start(redisproc.Options{TCP: true, Args: args})
			nodes[i], errs[i] = &Node{Server: srv}, err
		})
	}
	all.Wait()
	for _, n := range nodes {
		if n.Server != nil {
			c.tb.Cleanup(func() {
				if err := n.Stop(); err != nil {
					c.tb.Error(err)
				}
			})
		}
	}
	if err := errors.Join(errs...); err != nil {
		c.tb.Fatal(err)
	}
	for _, n := range nodes {
		n.conn = Client(c.tb, n.Server)
		id, err := n.Do(c.tb, "CLUSTER", "MYID").ToString()
		if err != nil {
			c.tb.Fatal(err)
		}
		n.ID = id
	}
	return nodes
}

// complete says whether a node is in order, has all slots and all replicas in its view,
// and, of a replica, is in sync.
func (c *Cluster) complete(n *Node) bool {
	state, err := n.info("CLUSTER", "INFO")
	if err != nil || state["cluster_state"] != "ok" {
		return false
	}
	repl, err := n.info("INFO", "replication")
	if err != nil || repl["role"] == "slave" && repl["master_link_status"] != "up" {
		return false
	}
	ranges, err := n.conn.Do(context.Background(), n.conn.B().ClusterSlots().Build()).ToArray()
	if err != nil || len(ranges) != len(c.Masters) {
		return false
	}
	known := 0
	for _, r := range ranges {
		parts, _ := r.ToArray()
		known += len(parts) - 2
	}
	return known == len(c.Masters)+len(c.Replicas)
}

// Nodes gives all nodes.
func (c *Cluster) Nodes() []*Node {
	return append(append([]*Node(nil), c.Masters...), c.Replicas...)
}

// Addrs gives the addresses of all nodes.
func (c *Cluster) Addrs() (addrs []string) {
	for _, n := range c.Nodes() {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

// Client opens a client of the Cluster, as a program that is not pillion has one: it
// repeats what failed for the Cluster's sake.
func (c *Cluster) Client() rueidis.Client {
	c.tb.Helper()
	opt := rueidis.ClientOption{InitAddress: c.Addrs(), DisableCache: true}
	opt.ClusterOption.ShardsRefreshInterval = time.Second
	client, err := rueidis.NewClient(opt)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.tb.Cleanup(client.Close)
	return client
}

// Slot gives the hash slot of a key.
func (c *Cluster) Slot(key string) int {
	c.tb.Helper()
	return int(Int(c.tb, c.alive().conn, "CLUSTER", "KEYSLOT", key))
}

// alive gives a node that answers.
func (c *Cluster) alive() *Node {
	c.tb.Helper()
	for _, n := range c.Nodes() {
		if line, err := n.Command("PING"); err == nil && line == "+PONG" {
			return n
		}
	}
	c.tb.Fatal("no node of the Cluster answers")
	return nil
}

// Owner gives the node that has the slot of a key, as a node that is alive has it.
func (c *Cluster) Owner(key string) *Node {
	c.tb.Helper()
	slot, id := c.Slot(key), ""
	Eventually(c.tb, fmt.Sprintf("a node has slot %d", slot), func() bool {
		id = c.alive().ownerOf(slot)
		return id != ""
	})
	for _, n := range c.Nodes() {
		if n.ID == id {
			return n
		}
	}
	c.tb.Fatalf("%s is none of our nodes", id)
	return nil
}

// ownerOf gives the id of the node that has a slot, as this one has it.
func (n *Node) ownerOf(slot int) string {
	ranges, _ := n.conn.Do(context.Background(), n.conn.B().ClusterSlots().Build()).ToArray()
	for _, r := range ranges {
		parts, _ := r.ToArray()
		first, _ := parts[0].AsInt64()
		last, _ := parts[1].AsInt64()
		if int64(slot) < first || int64(slot) > last {
			continue
		}
		master, _ := parts[2].ToArray()
		id, _ := master[2].ToString()
		return id
	}
	return ""
}

// ReplicaOf gives a replica that a master had when the Cluster began.
func (c *Cluster) ReplicaOf(master *Node) *Node {
	for i, n := range c.Masters {
		if n == master && i < len(c.Replicas) {
			return c.Replicas[i]
		}
	}
	c.tb.Fatalf("%s has no replica", master.Addr)
	return nil
}

// Other gives a master that is not n.
func (c *Cluster) Other(n *Node) *Node {
	for _, m := range c.Masters {
		if m != n {
			return m
		}
	}
	c.tb.Fatal("there is one master only")
	return nil
}

// Do runs a command on this node, wherever its keys belong.
func (n *Node) Do(tb testing.TB, args ...string) rueidis.RedisResult {
	tb.Helper()
	return Do(tb, n.conn, args...)
}

func (n *Node) try(args ...string) error {
	return n.conn.Do(context.Background(), n.conn.B().Arbitrary(args...).Build()).Error()
}

// info runs a command that replies with lines of names and values.
func (n *Node) info(args ...string) (map[string]string, error) {
	text, err := n.conn.Do(context.Background(), n.conn.B().Arbitrary(args...).Build()).ToString()
	fields := make(map[string]string)
	for line := range strings.Lines(strings.TrimPrefix(text, verbatim)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	return fields, err
}

// Move is the migration of one slot from node to node, step by step, as redis-cli
// --cluster reshard does it.
type Move struct {
	From, To *Node
	Slot     int
	c        *Cluster
}

// BeginMove tells both nodes that the slot of a key migrates. From now on commands whose
// keys the source does not have are answered by ASK, and those of which it has some by
// TRYAGAIN.
func (c *Cluster) BeginMove(key string, to *Node) *Move {
	c.tb.Helper()
	m := &Move{From: c.Owner(key), To: to, Slot: c.Slot(key), c: c}
	m.To.Do(c.tb, "CLUSTER", "SETSLOT", strconv.Itoa(m.Slot), "IMPORTING", m.From.ID)
	m.From.Do(c.tb, "CLUSTER", "SETSLOT", strconv.Itoa(m.Slot), "MIGRATING", m.To.ID)
	return m
}

// Keys moves keys, or with none all that the slot has.
func (m *Move) Keys(keys ...string) {
	m.c.tb.Helper()
	host, port, _ := net.SplitHostPort(m.To.Addr)
	if len(keys) == 0 {
		var err error
		if keys, err = m.From.Do(m.c.tb, "CLUSTER", "GETKEYSINSLOT", strconv.Itoa(m.Slot), "100000").AsStrSlice(); err != nil {
			m.c.tb.Fatal(err)
		}
	}
	for _, k := range keys {
		m.From.Do(m.c.tb, "MIGRATE", host, port, k, "0", "5000")
	}
}

// End gives the slot to its new owner, and waits until all know that: of two slots that
// are given away at once, nodes may disagree for good. Keys that came meanwhile are moved
// first.
func (m *Move) End() {
	m.c.tb.Helper()
	m.Keys()
	for _, n := range []*Node{m.To, m.From} {
		n.Do(m.c.tb, "CLUSTER", "SETSLOT", strconv.Itoa(m.Slot), "NODE", m.To.ID)
	}
	for _, n := range m.c.Nodes() {
		if line, err := n.Command("PING"); err != nil || line != "+PONG" {
			continue
		}
		Eventually(m.c.tb, n.Addr+" knows the slot's new owner", func() bool { return n.ownerOf(m.Slot) == m.To.ID })
	}
}

// Restart starts a replica that was killed, and waits until it is in sync.
func (c *Cluster) Restart(n *Node) {
	c.tb.Helper()
	if err := n.Server.Restart(); err != nil {
		c.tb.Fatal(err)
	}
	Eventually(c.tb, "the replica is in sync again", func() bool {
		repl, err := n.info("INFO", "replication")
		return err == nil && repl["master_link_status"] == "up"
	})
}

// FailOver kills a master without warning, and waits until its replica has taken over.
func (c *Cluster) FailOver(master *Node) (now *Node) {
	c.tb.Helper()
	now = c.ReplicaOf(master)
	master.Kill()
	c.AwaitMaster(now)
	return now
}

// AwaitMaster waits until a node is a master, and every node that is alive knows of it
// and finds the Cluster in order.
func (c *Cluster) AwaitMaster(now *Node) {
	c.tb.Helper()
	for _, n := range c.Nodes() {
		if line, err := n.Command("PING"); err != nil || line != "+PONG" {
			continue
		}
		Eventually(c.tb, fmt.Sprintf("%s knows %s as a master", n.Addr, now.Addr), func() bool {
			state, err := n.info("CLUSTER", "INFO")
			return err == nil && state["cluster_state"] == "ok" && n.takesForMaster(now.ID)
		})
	}
}

// takesForMaster says whether a node has another, or itself, as a master with slots.
func (n *Node) takesForMaster(id string) bool {
	nodes, err := n.conn.Do(context.Background(), n.conn.B().ClusterNodes().Build()).ToString()
	if err != nil {
		return false
	}
	for line := range strings.Lines(strings.TrimPrefix(nodes, verbatim)) {
		if f := strings.Fields(line); f[0] == id {
			return strings.Contains(f[2], "master") && !strings.Contains(f[2], "fail") && len(f) > 8
		}
	}
	return false
}

// Eventually asks until the answer is yes; the test fails when it is not within a minute.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for deadline := time.Now().Add(readyWithin); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %s", readyWithin, what)
		}
	}
}
