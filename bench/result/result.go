// Package result keeps what was measured: a value for each round, scenario, peer and
// metric.
package result

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// Key names a series.
type Key struct {
	Scenario string `json:"scenario"`
	Peer     string `json:"peer"`
	Metric   string `json:"metric"`
	Unit     string `json:"unit"`
}

// Series is the values of one key, one for each round.
type Series struct {
	Key
	Values []float64 `json:"values"`
}

// Median is the middle value; the mean of the two middle ones for an even number.
func (s Series) Median() float64 {
	if len(s.Values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(s.Values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Min is the smallest value.
func (s Series) Min() float64 {
	if len(s.Values) == 0 {
		return 0
	}
	return slices.Min(s.Values)
}

// Max is the largest value.
func (s Series) Max() float64 {
	if len(s.Values) == 0 {
		return 0
	}
	return slices.Max(s.Values)
}

// Set is all that one run measured. It is safe for concurrent use.
type Set struct {
	mu      sync.Mutex
	Machine Machine           `json:"machine"`
	Version map[string]string `json:"versions"`
	Series  []*Series         `json:"series"`
	// Foreign is the largest share of a core that other programs took in any round.
	Foreign float64 `json:"foreign"`
	// Skipped says which peers were absent, and what brings them.
	Skipped []string `json:"skipped,omitempty"`
}

// NewSet makes an empty set for this machine.
func NewSet() *Set { return &Set{Machine: ThisMachine(), Version: make(map[string]string)} }

// Add notes a value of one more round.
func (s *Set) Add(k Key, v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.Series {
		if have.Key == k {
			have.Values = append(have.Values, v)
			return
		}
	}
	s.Series = append(s.Series, &Series{Key: k, Values: []float64{v}})
}

// Get finds a series by scenario, peer and metric; nil when it was not measured.
func (s *Set) Get(scenario, peer, metric string) *Series {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.Series {
		if have.Scenario == scenario && have.Peer == peer && have.Metric == metric {
			return have
		}
	}
	return nil
}

// Noise notes how much other programs took in a round.
func (s *Set) Noise(foreign float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Foreign = max(s.Foreign, foreign)
}

// Skip notes a peer that is absent; false when that is known already.
func (s *Set) Skip(why string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.Skipped, why) {
		return false
	}
	s.Skipped = append(s.Skipped, why)
	return true
}

// SetVersion notes the version of what was measured.
func (s *Set) SetVersion(name, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Version[name] = version
}

// Peers gives the peers of a scenario in the order in which they were measured.
func (s *Set) Peers(scenario string) []string {
	return s.distinct(scenario, func(k Key) string { return k.Peer })
}

// Metrics gives the metrics of a scenario in the order in which they were measured.
func (s *Set) Metrics(scenario string) []string {
	return s.distinct(scenario, func(k Key) string { return k.Metric })
}

// Scenarios gives the scenarios in the order in which they were measured.
func (s *Set) Scenarios() []string { return s.distinct("", func(k Key) string { return k.Scenario }) }

func (s *Set) distinct(scenario string, of func(Key) string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, have := range s.Series {
		if v := of(have.Key); (scenario == "" || have.Scenario == scenario) && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// Save writes the set as JSON.
func (s *Set) Save(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// Load reads what Save wrote.
func Load(path string) (*Set, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := NewSet()
	s.Machine = Machine{}
	return s, json.Unmarshal(b, s)
}

// Merge takes over the series of another run; those that both have are replaced.
func (s *Set) Merge(other *Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Series = slices.DeleteFunc(s.Series, func(have *Series) bool {
		return slices.ContainsFunc(other.Series, func(o *Series) bool { return o.Scenario == have.Scenario && o.Peer == have.Peer })
	})
	s.Series = append(s.Series, other.Series...)
	for name, v := range other.Version {
		s.Version[name] = v
	}
	s.Foreign = max(s.Foreign, other.Foreign)
	for _, why := range other.Skipped {
		if !slices.Contains(s.Skipped, why) {
			s.Skipped = append(s.Skipped, why)
		}
	}
	s.Machine = other.Machine
}

// QuietLimit is how much of a core other programs may take during a run that is worth
// publishing.
const QuietLimit = 0.1

// Warn says it when other programs took too much.
func (s *Set) Warn(w io.Writer) error {
	if s.Foreign <= QuietLimit {
		return nil
	}
	_, err := fmt.Fprintf(w, "Noise: other programs took up to %.2f of a core during a round (more than %.2f): run it again on a quiet machine.\n", s.Foreign, QuietLimit)
	return err
}
