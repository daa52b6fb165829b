package main

import (
	"fmt"
	"path/filepath"
)

// published is what the suite's authors publish of other caches, as numbers: see
// peers.yaml, which it is read from.
type published struct {
	Source string `yaml:"source"`
	Commit string `yaml:"commit"`
	Date   string `yaml:"date"`
	Tests  scores `yaml:"tests"` // how many there are
	Peers  []peer `yaml:"peers"`
}

type peer struct {
	Name    string `yaml:"name"`
	Version string `yaml:"version"`
	scores  `yaml:",inline"`
}

// scores count tests, those of targeted fields apart.
type scores struct {
	Required         int `yaml:"required"`
	Optimal          int `yaml:"optimal"`
	TargetedRequired int `yaml:"targeted_required"`
	TargetedOptimal  int `yaml:"targeted_optimal"`
}

// of is s as shares of total.
func (s scores) of(total scores) [4]tally {
	return [4]tally{
		{s.Required, total.Required}, {s.Optimal, total.Optimal},
		{s.TargetedRequired, total.TargetedRequired}, {s.TargetedOptimal, total.TargetedOptimal},
	}
}

func readPublished(root string) (published, error) {
	path := filepath.Join(root, "conformance", "peers.yaml")
	var p published
	if err := readYAML(path, &p); err != nil {
		return p, err
	}
	for _, one := range p.Peers {
		for _, n := range one.of(p.Tests) {
			if n.passed < 0 || n.passed > n.total {
				return p, fmt.Errorf("%s: %s passes %d of %d tests: correct the number", path, one.Name, n.passed, n.total)
			}
		}
	}
	return p, nil
}
