package redisconn

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// clusterView is what one node of a Cluster says of its slots.
type clusterView struct {
	slots  string          // who has which, to be compared
	owners map[string]bool // addresses of the nodes that have some
}

// newClusterView reads the reply of a node to CLUSTER SLOTS.
func newClusterView(asked string, ranges []rueidis.RedisMessage) clusterView {
	v := clusterView{owners: make(map[string]bool)}
	lines := make([]string, 0, len(ranges))
	for _, r := range ranges {
		first, last, owner, ok := slotRange(r, asked)
		if !ok {
			continue
		}
		v.owners[owner] = true
		lines = append(lines, strconv.FormatInt(first, 10)+"-"+strconv.FormatInt(last, 10)+" "+owner)
	}
	slices.Sort(lines) // no server promises an order
	v.slots = strings.Join(lines, "\n")
	return v
}

// slotRange reads one range: first slot, last slot, master, replicas; of a node its host
// and port. No host is that of the node that was asked.
func slotRange(r rueidis.RedisMessage, asked string) (first, last int64, owner string, ok bool) {
	parts, err := r.ToArray()
	if err != nil || len(parts) < 3 {
		return 0, 0, "", false
	}
	node, err := parts[2].ToArray()
	if err != nil || len(node) < 2 {
		return 0, 0, "", false
	}
	first, _ = parts[0].AsInt64()
	last, _ = parts[1].AsInt64()
	host, _ := node[0].ToString() // null: not known
	if host == "" {
		host, _, _ = net.SplitHostPort(asked)
	}
	port, _ := node[1].AsInt64()
	return first, last, net.JoinHostPort(host, strconv.FormatInt(port, 10)), true
}

// lost says whether a node that had slots has none now.
func (v clusterView) lost(now clusterView) bool {
	for addr := range v.owners {
		if !now.owners[addr] {
			return true
		}
	}
	return false
}
