package redisconn

import (
	"context"
	"maps"
	"net"
	"strconv"
	"sync"

	"github.com/redis/rueidis"
)

// replicas remembers which nodes of a Cluster were last known to be replicas. The client
// has these among its nodes, though nothing is ever read from them.
type replicas struct {
	mu    sync.Mutex // a beat that was given up may still run beside the next
	known map[string]bool
}

// pingCluster asks all nodes for a sign of life. Each master has to give one. A replica
// that is down is no concern: nothing in memory came from it.
func (c *Conn) pingCluster(ctx context.Context, client rueidis.Client) error {
	nodes := client.Nodes()
	pings, cancel := context.WithTimeout(ctx, c.cfg.Timeout*3/4) // what is left is for the question who has failed
	defer cancel()
	failed := askAll(nodes, func(_ string, node rueidis.Client) error {
		return node.Do(pings, node.B().Ping().Build()).Error()
	})
	if len(failed) == 0 {
		return nil
	}
	alive := maps.Clone(nodes)
	maps.DeleteFunc(alive, func(addr string, _ rueidis.Client) bool { return failed[addr] != nil })
	masters := c.learnRoles(ctx, nodes, alive)
	for addr, err := range failed {
		if masters[addr] || !c.isReplica(addr) {
			return err
		}
	}
	return nil
}

// learnRoles asks the nodes that are alive who is a replica, and gives the masters. A
// node that has failed for long is not in the answers any more: what was known of it
// stays. One that any of them takes for a master is one.
func (c *Conn) learnRoles(ctx context.Context, nodes, alive map[string]rueidis.Client) (masters map[string]bool) {
	var mu sync.Mutex
	masters, others := make(map[string]bool), make(map[string]bool)
	_ = askAll(alive, func(addr string, node rueidis.Client) error {
		ranges, err := node.Do(ctx, node.B().ClusterSlots().Build()).ToArray()
		mu.Lock()
		defer mu.Unlock()
		for _, r := range ranges {
			addRoles(r, addr, masters, others)
		}
		return err
	})
	c.replicas.mu.Lock()
	defer c.replicas.mu.Unlock()
	for addr := range c.replicas.known {
		others[addr] = true
	}
	maps.DeleteFunc(others, func(addr string, _ bool) bool { return masters[addr] || nodes[addr] == nil })
	c.replicas.known = others
	return masters
}

func (c *Conn) isReplica(addr string) bool {
	c.replicas.mu.Lock()
	defer c.replicas.mu.Unlock()
	return c.replicas.known[addr]
}

// addRoles reads one range of CLUSTER SLOTS: first slot, last slot, master, replicas; of
// a node its host and port. No host is that of the node that was asked.
func addRoles(r rueidis.RedisMessage, asked string, masters, others map[string]bool) {
	parts, err := r.ToArray()
	for i := 2; err == nil && i < len(parts); i++ {
		node, err := parts[i].ToArray()
		if err != nil || len(node) < 2 {
			continue
		}
		host, _ := node[0].ToString() // null: not known
		if host == "" {
			host, _, _ = net.SplitHostPort(asked)
		}
		port, _ := node[1].AsInt64()
		addr := net.JoinHostPort(host, strconv.FormatInt(port, 10))
		if i == 2 {
			masters[addr] = true
		} else {
			others[addr] = true
		}
	}
}

// askAll asks nodes at once, since one that hangs must not use up the time of others, and
// gives the errors by address.
func askAll(nodes map[string]rueidis.Client, question func(addr string, node rueidis.Client) error) map[string]error {
	var mu sync.Mutex
	var all sync.WaitGroup
	failed := make(map[string]error)
	for addr, node := range nodes {
		all.Go(func() {
			if err := question(addr, node); err != nil {
				mu.Lock()
				failed[addr] = err
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return failed
}
