package redisconn

import (
	"testing"

	"github.com/redis/rueidis"
)

// stubNode is a node that nobody asks anything.
type stubNode struct{ rueidis.Client }

func nodesOf(addrs ...string) map[string]rueidis.Client {
	nodes := make(map[string]rueidis.Client)
	for _, a := range addrs {
		nodes[a] = stubNode{}
	}
	return nodes
}

func viewOf(slots string, owners ...string) clusterView {
	v := clusterView{slots: slots, owners: make(map[string]bool)}
	for _, o := range owners {
		v.owners[o] = true
	}
	return v
}

func TestTopologyIsLookedAtWhenNodesChange(t *testing.T) {
	var topo topology
	all := nodesOf("a", "b", "c")
	for addr := range all {
		topo.note(addr, viewOf("1", "a", "b"))
	}
	if first, second := topo.turn(all), topo.turn(all); !first || second {
		t.Errorf("turns %v, %v: want every second one", first, second)
	}
	if topo.turn(all); !topo.turn(nodesOf("b", "c")) {
		t.Error("not looked at though a node is gone")
	}
	if len(topo.views) != 2 {
		t.Errorf("%d views are kept: want 2", len(topo.views))
	}
	if topo.turn(all); !topo.turn(all) {
		t.Error("not looked at though a node is new")
	}
}

func TestTopologyTellsWhatHasMoved(t *testing.T) {
	var topo topology
	for _, step := range []struct {
		name        string
		addr        string
		view        clusterView
		moved, lost bool
	}{
		{"first", "a", viewOf("1", "a", "b"), false, false},
		{"the same", "a", viewOf("1", "a", "b"), false, false},
		{"another node's first", "b", viewOf("0", "b"), false, false},
		{"a slot has moved", "a", viewOf("2", "a", "b"), true, false},
		{"a node is new", "a", viewOf("3", "a", "b", "c"), true, false},
		{"a node has none left", "a", viewOf("4", "a", "c"), true, true},
	} {
		topo.note(step.addr, step.view)
		if moved, lost := topo.moves(); moved != step.moved || lost != step.lost {
			t.Errorf("%s: moved %v, lost %v", step.name, moved, lost)
		}
	}
}

func TestTopologyIsCoveredByNodesThatAnswer(t *testing.T) {
	var topo topology
	if topo.covered(nodesOf("a")) {
		t.Error("covered, though nothing is known")
	}
	topo.note("a", viewOf("1", "a", "b"))
	topo.note("b", viewOf("1", "a", "b"))
	topo.note("c", viewOf("2", "a", "c")) // it has seen that c has taken over from b
	for want, alive := range map[bool][]map[string]rueidis.Client{
		true:  {nodesOf("a", "b"), nodesOf("a", "b", "r")},
		false: {nodesOf("a"), nodesOf("a", "c"), nodesOf("b"), nodesOf(), nodesOf("r")},
	} {
		for _, nodes := range alive {
			if got := topo.covered(nodes); got != want {
				t.Errorf("%d nodes are alive, covered %v: want %v", len(nodes), got, want)
			}
		}
	}
}
