package main

import (
	"context"
	"fmt"
	"strings"
)

const (
	clusterMasters = 3
	clusterSlots   = 16384
)

// cluster counts connections and heartbeats on a Cluster of three masters with a replica
// each, and how reads spread over it.
func cluster(ctx context.Context, o options) (*table, error) {
	t := &table{title: "cluster: three masters with a replica each, pods that nobody asks for anything, then 1000 keys read by each", columns: []column{
		{"pods", 0}, {"connections/pod", 2}, {"PING/s/pod", 2}, {"reads %", 1},
	}}
	for _, n := range calmSteps(o.pods) {
		if err := clusterStep(ctx, o, n, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func clusterStep(ctx context.Context, o options, n int, t *table) error {
	nodes, err := startCluster(ctx)
	defer func() {
		for _, r := range nodes {
			r.close()
		}
	}()
	if err != nil {
		return err
	}
	cfg := defaults() // for its heartbeat
	cfg.Timeout = patience
	cfg.Cluster = []string{nodes[0].server.Addr}
	if err := nodes[0].join(ctx, n, cfg); err != nil {
		return err
	}
	spans, reads := make([]span, len(nodes)), make([]span, len(nodes))
	err = times(len(nodes), func(i int) (err error) {
		spans[i], err = nodes[i].during(ctx, func() error { return pause(ctx, o.window) })
		return err
	})
	if err != nil {
		return err
	}
	if err := readCluster(ctx, nodes, reads); err != nil {
		return err
	}
	total := 0.0
	for _, s := range reads {
		total += s.calls("get")
	}
	for i, r := range nodes {
		list, err := r.clients(ctx)
		if err != nil {
			return err
		}
		label, pods := "master", float64(n)
		if i >= clusterMasters {
			label = "replica"
		}
		t.rows = append(t.rows, row{label: label, numbers: []float64{
			pods, float64(len(list)) / pods, spans[i].calls("ping") / spans[i].seconds() / pods, 100 * reads[i].calls("get") / total,
		}})
	}
	return nil
}

// readCluster has the pods read keys, and measures each node.
func readCluster(ctx context.Context, nodes []*rig, out []span) (err error) {
	for i, r := range nodes {
		if out[i].from, err = r.info(ctx); err != nil {
			return err
		}
	}
	if err := nodes[0].readAll(ctx, entryKeys(1000)); err != nil {
		return err
	}
	for i, r := range nodes {
		if out[i].to, err = r.info(ctx); err != nil {
			return err
		}
	}
	return nil
}

// startCluster starts the masters, then their replicas. It gives what it has started, with
// an error too.
func startCluster(ctx context.Context) (nodes []*rig, err error) {
	for range 2 * clusterMasters {
		// The last three make it complete soon: else replicas wait for seconds.
		r, err := start("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, r)
	}
	host, port, _ := strings.Cut(nodes[0].server.Addr, ":")
	for i, r := range nodes {
		if i < clusterMasters {
			from, to := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
			if err := r.do(ctx, "CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(from), fmt.Sprint(to)).Error(); err != nil {
				return nodes, err
			}
		}
		if err := r.do(ctx, "CLUSTER", "MEET", host, port).Error(); err != nil {
			return nodes, err
		}
	}
	if err := replicate(ctx, nodes); err != nil {
		return nodes, err
	}
	for _, r := range nodes {
		if err := r.agrees(ctx); err != nil {
			return nodes, err
		}
	}
	return nodes, nil
}

// replicate makes each of the later nodes the replica of a master.
func replicate(ctx context.Context, nodes []*rig) error {
	for i, r := range nodes[clusterMasters:] {
		master, err := nodes[i].do(ctx, "CLUSTER", "MYID").ToString()
		if err != nil {
			return err
		}
		err = await(ctx, "a replica knows its master", func() (bool, error) {
			return r.do(ctx, "CLUSTER", "REPLICATE", master).Error() == nil, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// agrees waits until the node says that all slots are served, and tells clients of the
// replicas, which it does once they have caught up.
func (r *rig) agrees(ctx context.Context) error {
	return await(ctx, "the cluster is complete", func() (bool, error) {
		state, err := r.do(ctx, "CLUSTER", "INFO").ToString()
		if err != nil || !strings.Contains(state, "cluster_state:ok") {
			return false, err
		}
		ranges, err := r.do(ctx, "CLUSTER", "SLOTS").ToArray()
		for _, each := range ranges {
			// First slot, last slot, master, replicas.
			if parts, err := each.ToArray(); err != nil || len(parts) != 4 {
				return false, err
			}
		}
		return len(ranges) == clusterMasters, err
	})
}
