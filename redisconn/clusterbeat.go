package redisconn

import (
	"context"
	"maps"
	"sync"

	"github.com/redis/rueidis"
)

// lookEvery is every how many heartbeats a Cluster is asked who has which slots.
const lookEvery = 2

// topology is what is known of who has the slots of a Cluster. The client has all nodes
// among its own, replicas too, though nothing is ever read from those.
type topology struct {
	mu    sync.Mutex // a beat that was given up may still run beside the next
	beats uint64
	// views is what each node said last: after a slot has moved they do not agree at once.
	views       map[string]clusterView
	moved, lost bool // see moves
}

// pingCluster asks all nodes for a sign of life. Each that has slots has to give one: all
// others, such as replicas, are no concern, since nothing in memory came from them, or is
// left when they had some, see applyMoves. Every second time, it asks who has which slots too.
func (c *Conn) pingCluster(ctx context.Context, client rueidis.Client) error {
	nodes := client.Nodes()
	pings, cancel := context.WithTimeout(ctx, c.cfg.Timeout*3/4) // what is left is for the question who has failed
	defer cancel()
	look := c.topology.turn(nodes)
	defer c.applyMoves() // before the sign of life is noted
	failed := askAll(nodes, func(addr string, node rueidis.Client) error {
		if look {
			return c.pingAndLook(pings, addr, node)
		}
		return node.Do(pings, node.B().Ping().Build()).Error()
	})
	if len(failed) == 0 {
		return nil
	}
	alive := maps.Clone(nodes)
	maps.DeleteFunc(alive, func(addr string, _ rueidis.Client) bool { return failed[addr] != nil })
	if !look {
		_ = askAll(alive, func(addr string, node rueidis.Client) error { return c.pingAndLook(ctx, addr, node) })
	}
	if c.topology.covered(alive) {
		return nil
	}
	for _, err := range failed {
		return err // any of them
	}
	return nil
}

// turn says whether it is time to look: also when the client has other nodes than before.
// It may have dropped one that hangs, because another has its slots: then a sign of life of
// all others must not vouch for what that one has brought. It drops the views of nodes that
// are gone, which bounds them.
func (t *topology) turn(nodes map[string]rueidis.Client) (look bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	had := len(t.views)
	maps.DeleteFunc(t.views, func(addr string, _ clusterView) bool { return nodes[addr] == nil })
	t.beats++
	return t.beats%lookEvery == 1 || len(t.views) != had || len(t.views) != len(nodes)
}

// pingAndLook asks one node, in one pipeline. A node that answers PING and does not tell,
// such as one whose ACL does not allow it, is alive.
func (c *Conn) pingAndLook(ctx context.Context, addr string, node rueidis.Client) error {
	replies := node.DoMulti(ctx, node.B().Ping().Build(), node.B().ClusterSlots().Build())
	if err := replies[0].Error(); err != nil {
		return err
	}
	if ranges, err := replies[1].ToArray(); err == nil {
		c.topology.note(addr, newClusterView(addr, ranges))
	}
	return nil
}

// note compares what a node says with what it said last.
func (t *topology) note(addr string, now clusterView) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, known := t.views[addr]
	if t.views == nil {
		t.views = make(map[string]clusterView)
	}
	t.views[addr] = now
	if known && was.slots != now.slots {
		t.moved = true
		t.lost = t.lost || was.lost(now)
	}
}

// moves says whether slots have moved since it was asked last, and whether a node has
// lost all that it had.
func (t *topology) moves() (moved, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	moved, lost = t.moved, t.lost
	t.moved, t.lost = false, false
	return moved, lost
}

// applyMoves makes up for what Redis does not tell. It tells its clients when it hands a
// key over to another node. But it does not tell
//   - that a key is absent no more, when its slot has moved and the new owner gets it: so
//     what is remembered as absent is forgotten, and who watches a key looks again;
//   - of any change, once it has become a replica whose link to its master is down, or it
//     hangs, while its connection to us stays open: so, when a node has lost all its slots,
//     as in a failover, all is forgotten.
func (c *Conn) applyMoves() {
	switch moved, lost := c.topology.moves(); {
	case lost:
		c.log.Info().Str("redis", c.Describe()).Msg("a node of the cluster has lost all its slots: memory is emptied")
		c.mem.flush()
	case moved:
		c.mem.forgetAbsent()
	}
}

// covered says whether each node that any of those alive says has slots is alive too.
func (t *topology) covered(alive map[string]rueidis.Client) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	owners := 0
	for addr := range alive {
		for owner := range t.views[addr].owners {
			if alive[owner] == nil {
				return false
			}
			owners++
		}
	}
	return owners > 0
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
