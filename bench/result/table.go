package result

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Print writes a table of a scenario: a line for each metric and peer, with the median
// of the rounds, the smallest and the largest value, and the median in that of the
// first peer.
func (s *Set) Print(w io.Writer, scenario string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	peers := s.Peers(scenario)
	_, _ = fmt.Fprintf(tw, "%s\tpeer\tmedian\tmin\tmax\trounds\t%s = 1\t\n", scenario, first(peers))
	for _, metric := range s.Metrics(scenario) {
		base := s.Get(scenario, first(peers), metric)
		for _, peer := range peers {
			if have := s.Get(scenario, peer, metric); have != nil {
				_, _ = fmt.Fprintf(tw, "%s (%s)\t%s\t%s\t%s\t%s\t%d\t%s\t\n", metric, have.Unit, peer,
					Format(have.Median()), Format(have.Min()), Format(have.Max()), len(have.Values), Ratio(have, base))
			}
		}
	}
	return tw.Flush()
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// Ratio is the first median in the second; empty when that is absent or 0.
func Ratio(a, b *Series) string {
	if a == nil || b == nil || b.Median() == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a.Median()/b.Median())
}

// Format writes a number with three significant digits, or as a whole number when it
// has more.
func Format(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
