package redisconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"
)

// mastersPause is between two questions while the client does not know a new master.
const mastersPause = 100 * time.Millisecond

// mastersWait bounds the answer of one node: a replica may hang.
const mastersWait = time.Second

// Masters gives a client of each node that has keys: of a Cluster those with slots, without
// their replicas, which have the same keys and may be down; else the one that there is.
// Shortly after a failover it waits, as long as ctx allows, until the client knows the new
// master. The error wraps ErrUnavailable.
func Masters(ctx context.Context, client rueidis.Client) (map[string]rueidis.Client, error) {
	if client.Mode() != rueidis.ClientModeCluster {
		return client.Nodes(), nil
	}
	for {
		masters, err := mastersNow(ctx, client)
		if err == nil {
			return masters, nil
		}
		t := time.NewTimer(mastersPause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

func mastersNow(ctx context.Context, client rueidis.Client) (map[string]rueidis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, mastersWait)
	defer cancel()
	nodes := client.Nodes()
	views := make(chan clusterView, len(nodes))
	failed := askAll(nodes, func(addr string, node rueidis.Client) error {
		ranges, err := node.Do(ctx, node.B().ClusterSlots().Build()).ToArray()
		if err == nil && len(ranges) > 0 {
			views <- newClusterView(addr, ranges)
		}
		return err
	})
	if len(views) == 0 {
		for addr, err := range failed {
			return nil, fmt.Errorf("%w: CLUSTER SLOTS of %s: %w", ErrUnavailable, addr, err)
		}
		return nil, fmt.Errorf("%w: no node of the cluster knows of slots", ErrUnavailable)
	}
	masters := make(map[string]rueidis.Client)
	for range len(views) {
		for addr := range (<-views).owners {
			if masters[addr] = nodes[addr]; nodes[addr] == nil {
				return nil, fmt.Errorf("%w: %s is a new master of the cluster", ErrUnavailable, addr)
			}
		}
	}
	return masters, nil
}

// IsTryAgain says that a Cluster refused a command, and has done nothing of it, since its
// keys are on two nodes while their slot migrates.
func IsTryAgain(err error) bool {
	var reply *rueidis.RedisError
	return errors.As(err, &reply) && reply.IsTryAgain()
}
