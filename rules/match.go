package rules

import "bytes"

// Request is what a match looks at. Nothing of it is kept or changed.
type Request struct {
	Method []byte
	// Host is the effective authority; a port is ignored.
	Host []byte
	// Path is the canonical path (see the package's documentation).
	Path []byte
	// RawQuery is the query as it was sent, without the question mark.
	RawQuery []byte
	// Headers is asked only when a rule has a condition on them; nil has none.
	Headers HeaderSource
}

// HeaderSource gives the values of a header field, one for each line, whatever the
// case of its name. *fasthttp.RequestHeader is one unless its normalising of names
// is switched off.
type HeaderSource interface {
	PeekAll(name string) [][]byte
}

// Params is what a path captured. It may be used again for any number of matches,
// one at a time. Values alias the request's path: they have its canonical form,
// escapes included, and live as long as it does.
type Params struct {
	names  []string
	values [MaxParams][]byte
}

// Get gives the captured segment, or nil when the rule captures none of that name.
func (p *Params) Get(name string) []byte {
	for i, n := range p.names {
		if n == name {
			return p.values[i]
		}
	}
	return nil
}

// Len is the number of captures.
func (p *Params) Len() int { return len(p.names) }

// At gives one capture, in the order of the path.
func (p *Params) At(i int) (name string, value []byte) { return p.names[i], p.values[i] }

// search is one walk through the index. best is the first rule found so far;
// whatever comes behind it in the file is not looked at any more.
type search struct {
	table *Table
	req   *Request
	bit   uint16
	best  int
}

// Match gives the index of the first rule, in file order, that the request meets,
// and -1 when it meets none. It fills params, which may be nil. It allocates nothing.
func (t *Table) Match(r *Request, params *Params) int {
	s := search{table: t, req: r, bit: methodBit(r.Method), best: none}
	s.group(t.all)
	if t.hosts != nil || t.wild != nil {
		s.host()
	}
	if params != nil {
		params.names = nil
	}
	if s.best == none {
		return -1
	}
	if found := &t.rules[s.best]; params != nil && len(found.params) > 0 {
		params.names = found.params
		matchSegments(found.segs, r.Path, params)
	}
	return s.best
}

// host searches the groups of the request's host and of the domains above it.
func (s *search) host() {
	var buf [maxHost]byte
	host := lowerHost(s.req.Host, &buf)
	if g := s.table.hosts[string(host)]; g != nil {
		s.group(g)
	}
	if s.table.wild == nil {
		return
	}
	for {
		// Position 0 is left out: "*." stands for at least one character.
		i := bytes.IndexByte(host[min(1, len(host)):], '.') + 1
		if i == 0 {
			return
		}
		host = host[i+1:]
		if g := s.table.wild[string(host)]; g != nil {
			s.group(g)
		}
	}
}

func (s *search) group(g *group) {
	if g.min >= s.best {
		return
	}
	s.try(g.free)
	if len(s.req.Path) > 0 && s.req.Path[0] == '/' {
		s.node(g.root, s.req.Path)
	}
}

// node looks at everything that the rest of the path ("" or with a leading slash)
// leads to.
func (s *search) node(n *node, rest []byte) {
	s.try(n.open)
	for i, r := range n.deep {
		if r >= s.best {
			break
		}
		if matchSegments(s.table.rules[r].segs[n.tail[i]:], rest, nil) && s.holds(r) {
			s.best = r
		}
	}
	if len(rest) == 0 {
		s.try(n.ends)
		return
	}
	seg, after := nextSegment(rest)
	if c := n.lits.get(seg); c != nil && c.min < s.best {
		s.node(c, after)
	}
	if len(seg) > 0 && n.any != nil && n.any.min < s.best {
		s.node(n.any, after)
	}
	for i := range n.globs {
		if c := &n.globs[i]; c.node.min < s.best && c.glob.match(seg) {
			s.node(c.node, after)
		}
	}
}

// try takes the first of the rules whose other conditions hold.
func (s *search) try(rules []int) {
	for _, r := range rules {
		if r >= s.best {
			return
		}
		if s.holds(r) {
			s.best = r
			return
		}
	}
}

// holds checks the conditions that are not in the index.
func (s *search) holds(index int) bool {
	r := &s.table.rules[index]
	if r.plain {
		return true
	}
	if !r.methods.any() && !r.methods.has(s.bit, s.req.Method) {
		return false
	}
	for i := range r.headers {
		if !s.header(&r.headers[i]) {
			return false
		}
	}
	for i := range r.query {
		if !matchQuery(s.req.RawQuery, r.query[i].name, &r.query[i].glob) {
			return false
		}
	}
	return true
}

func (s *search) header(c *condition) bool {
	if s.req.Headers == nil {
		return false
	}
	for _, v := range s.req.Headers.PeekAll(c.name) {
		if c.glob.match(v) {
			return true
		}
	}
	return false
}
