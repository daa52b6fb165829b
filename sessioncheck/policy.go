package sessioncheck

import (
	"maps"
	"slices"
)

// CompiledPolicy is a Policy that was found valid. It never changes.
type CompiledPolicy struct {
	mode    Mode
	require []requirement
	missing OnMissing
}

type requirement struct {
	path     string
	accepted []string
}

// CompilePolicy checks a policy and fills in its mode. Its error is Problems.
func CompilePolicy(p Policy) (*CompiledPolicy, error) {
	if err := Problems(p.Check()).err(); err != nil {
		return nil, err
	}
	cp := &CompiledPolicy{mode: p.Mode, missing: p.OnMissing}
	if cp.mode == "" {
		cp.mode = ModeRequired
	}
	for _, path := range slices.Sorted(maps.Keys(p.Require)) {
		cp.require = append(cp.require, requirement{path, slices.Clone(p.Require[path])})
	}
	return cp, nil
}

// Mode is none, optional or required.
func (p *CompiledPolicy) Mode() Mode { return p.mode }

// OnMissing is the rule's own; the zero value when it has none.
func (p *CompiledPolicy) OnMissing() OnMissing { return p.missing }

// Fields lists the session fields that Allows looks at, for WithFields.
func (p *CompiledPolicy) Fields() []string {
	var out []string
	for _, r := range p.require {
		out = append(out, r.path)
	}
	return out
}

// Allows says whether the session has, for every required field, one of the values
// accepted for it; of an array, one element is enough. It allocates nothing when the
// fields were given to WithFields.
func (p *CompiledPolicy) Allows(s *Session) bool {
	for i := range p.require {
		r := &p.require[i]
		if !slices.ContainsFunc(s.lookup(r.path).texts, func(text string) bool {
			return slices.Contains(r.accepted, text)
		}) {
			return false
		}
	}
	return true
}
