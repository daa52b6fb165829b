// Package result keeps what was measured: a value for each round, scenario, peer and
// metric.
package result

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
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
	// Foreign is the largest share of a core that other programs took in a round that
	// counts, by scenario and peer.
	Foreign map[string]float64 `json:"foreign"`
	// Skipped says which peers were absent, and what brings them.
	Skipped []string `json:"skipped,omitempty"`
}

// NewSet makes an empty set for this machine.
func NewSet() *Set {
	return &Set{Machine: ThisMachine(), Version: make(map[string]string), Foreign: make(map[string]float64)}
}

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

// Drop forgets what was measured of a peer in a scenario.
func (s *Set) Drop(scenario, peer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Series = slices.DeleteFunc(s.Series, func(have *Series) bool { return have.Scenario == scenario && have.Peer == peer })
	delete(s.Foreign, scenario+" "+peer)
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
func (s *Set) Noise(scenario, peer string, foreign float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := scenario + " " + peer
	s.Foreign[name] = max(s.Foreign[name], foreign)
}

// Noisiest is the largest share that other programs took, and what it disturbed.
func (s *Set) Noisiest() (foreign float64, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, v := range s.Foreign {
		if v > foreign || v == foreign && name < what {
			foreign, what = v, name
		}
	}
	return foreign, what
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
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s is no file of results: %w", path, err)
	}
	return s, nil
}

// Merge takes over the series of another run; those that both have are replaced.
func (s *Set) Merge(other *Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Series = slices.DeleteFunc(s.Series, func(have *Series) bool {
		return slices.ContainsFunc(other.Series, func(o *Series) bool { return o.Scenario == have.Scenario && o.Peer == have.Peer })
	})
	s.Series = append(s.Series, other.Series...)
	maps.Copy(s.Version, other.Version)
	maps.Copy(s.Foreign, other.Foreign)
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

// Warn says which measurements other programs disturbed.
func (s *Set) Warn(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.Foreign)) {
		if v := s.Foreign[name]; v > QuietLimit {
			if _, err := fmt.Fprintf(w, "Noise: %s: other programs took up to %.2f of a core (more than %.2f): measure it again when the machine is quiet.\n", name, v, QuietLimit); err != nil {
				return err
			}
		}
	}
	return nil
}
