package rules

import "math"

// Table is compiled matches. It never changes: any number of goroutines may use it
// at the same time.
type Table struct {
	rules []rule
	all   *group            // rules without hosts
	hosts map[string]*group // by exact name
	wild  map[string]*group // by the name that stands behind "*."
}

// group indexes the rules of one host.
type group struct {
	min  int   // the first rule in the group
	free []int // rules without a path, in file order
	root *node // of the rules with one
}

// node is a place in a pattern: the segments on the way to it have been matched.
type node struct {
	min   int // the first rule at this node or below
	lits  literals
	any   *node
	globs []globChild
	ends  []int // rules that end here, in file order
	open  []int // rules that end here with "**"
	deep  []int // rules that go on behind "**"; tail says from which segment
	tail  []int
}

type globChild struct {
	glob glob
	node *node
}

const none = math.MaxInt

func newGroup() *group { return &group{min: none, root: newNode()} }

func newNode() *node { return &node{min: none} }

// Len is the number of rules.
func (t *Table) Len() int { return len(t.rules) }

// ParamNames gives the names that the rule's path captures, in the order of the path.
func (t *Table) ParamNames(index int) []string {
	return append([]string(nil), t.rules[index].params...)
}

// index adds rule i, which comes behind all rules added before.
func (t *Table) index(i int, hosts []string) {
	if len(hosts) == 0 {
		t.all.add(i, t.rules[i].segs)
	}
	for _, h := range hosts {
		groups := &t.hosts
		if h[0] == '*' {
			groups, h = &t.wild, h[len("*."):]
		}
		if *groups == nil {
			*groups = make(map[string]*group)
		}
		g := (*groups)[h]
		if g == nil {
			g = newGroup()
			(*groups)[h] = g
		}
		g.add(i, t.rules[i].segs)
	}
}

func (g *group) add(i int, segs []segment) {
	g.min = min(g.min, i)
	if segs == nil {
		g.free = append(g.free, i)
		return
	}
	n := g.root
	n.min = min(n.min, i)
	for k := range segs {
		if segs[k].kind == deepSegment {
			if k+1 == len(segs) {
				n.open = append(n.open, i)
			} else {
				n.deep, n.tail = append(n.deep, i), append(n.tail, k)
			}
			return
		}
		n = n.child(&segs[k])
		n.min = min(n.min, i)
	}
	n.ends = append(n.ends, i)
}

// child gives the node behind a segment, and makes it when there is none.
func (n *node) child(s *segment) *node {
	switch s.kind {
	case anySegment:
		if n.any == nil {
			n.any = newNode()
		}
		return n.any
	case globSegment:
		for i := range n.globs {
			if n.globs[i].glob.text == s.glob.text {
				return n.globs[i].node
			}
		}
		n.globs = append(n.globs, globChild{s.glob, newNode()})
		return n.globs[len(n.globs)-1].node
	}
	c := n.lits.get([]byte(s.text))
	if c == nil {
		c = newNode()
		n.lits.put(s.text, c)
	}
	return c
}
