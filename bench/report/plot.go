package report

import (
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/pillion-proxy/pillion/bench/result"
)

// plotted is a plot that was drawn.
type plotted struct{ title, file string }

const (
	width  = 9 * vg.Inch
	height = 4 * vg.Inch
)

// palette has a color for each peer, told apart by those who see colors differently
// too (Okabe and Ito).
func palette(i int) color.Color {
	colors := []color.RGBA{{0, 114, 178, 255}, {153, 153, 153, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}}
	return colors[i%len(colors)]
}

// draw makes the plots for which there are results.
func draw(dir string, s *result.Set) ([]plotted, error) {
	hits := []string{"hit-1k", "hit-16k", "hit-vary", "hit-304", "rules-1000", "zipf-100k", "session-hit", "session-pass", "pass-get", "pass-post"}
	var out []plotted
	add := func(title, file string, p *plot.Plot, err error) error {
		if err != nil || p == nil {
			return err
		}
		p.Title.Text = title
		out = append(out, plotted{title, file})
		return p.Save(width, height, filepath.Join(dir, file))
	}
	p, err := bars(s, hits, "CPU")
	if err := add("CPU for a request, us", "cpu.svg", p, err); err != nil {
		return nil, err
	}
	p, err = bars(s, []string{"queue-drain"}, "throughput")
	if err := add("Tasks delivered from a queue in a second", "queue.svg", p, err); err != nil {
		return nil, err
	}
	p, err = percentiles(s, "latency-70")
	return out, add("Latency of hits at 70% of each server's throughput, us", "latency.svg", p, err)
}

// bars has a group for each scenario that was measured, and a bar for each peer.
func bars(s *result.Set, scenarios []string, metric string) (*plot.Plot, error) {
	scenarios = slices.DeleteFunc(slices.Clone(scenarios), func(name string) bool { return len(s.Peers(name)) == 0 })
	if len(scenarios) == 0 {
		return nil, nil
	}
	peers := allPeers(s, scenarios)
	p := plot.New()
	p.Y.Min = 0
	p.Legend.Top = true
	wide := width * 3 / 4 / vg.Length(len(scenarios)*len(peers))
	wide = min(wide, vg.Inch/2)
	for i, peer := range peers {
		values := make(plotter.Values, len(scenarios))
		for j, name := range scenarios {
			if have := s.Get(name, peer, metric); have != nil {
				values[j] = have.Median()
			}
		}
		bar, err := plotter.NewBarChart(values, wide)
		if err != nil {
			return nil, err
		}
		bar.Color, bar.LineStyle.Width = palette(i), 0
		bar.Offset = wide * (vg.Length(i) - vg.Length(len(peers)-1)/2)
		p.Add(bar)
		p.Legend.Add(peer, bar)
	}
	p.Add(plotter.NewGrid())
	p.NominalX(scenarios...)
	return p, nil
}

func allPeers(s *result.Set, scenarios []string) []string {
	var out []string
	for _, name := range scenarios {
		for _, peer := range s.Peers(name) {
			if !slices.Contains(out, peer) {
				out = append(out, peer)
			}
		}
	}
	return out
}

// percentiles has a line for each peer.
func percentiles(s *result.Set, scenario string) (*plot.Plot, error) {
	const prefix = "latency p"
	var names []string
	for _, metric := range s.Metrics(scenario) {
		if p, ok := strings.CutPrefix(metric, prefix); ok {
			names = append(names, p)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	p := plot.New()
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Legend.Top, p.Legend.Left = true, true
	for i, peer := range s.Peers(scenario) {
		var points plotter.XYs
		for j, name := range names {
			if have := s.Get(scenario, peer, prefix+name); have != nil && have.Median() > 0 {
				points = append(points, plotter.XY{X: float64(j), Y: have.Median()})
			}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", scenario, peer, err)
		}
		line.Color, dots.Color, line.Width = palette(i), palette(i), vg.Points(1.5)
		p.Add(line, dots)
		p.Legend.Add(peer, line)
	}
	p.Add(plotter.NewGrid())
	p.NominalX(labels(names)...)
	return p, nil
}

func labels(percentiles []string) []string {
	out := make([]string, len(percentiles))
	for i, p := range percentiles {
		out[i] = "p" + p
		if v, err := strconv.ParseFloat(p, 64); err == nil && v == 50 {
			out[i] = "median"
		}
	}
	return out
}
