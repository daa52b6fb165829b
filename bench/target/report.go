package target

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/pillion-proxy/pillion/bench/latency"
	"github.com/pillion-proxy/pillion/bench/result"
)

// shown are the percentiles of reports.
func shown() []float64 { return []float64{50, 75, 90, 95, 99, 99.9, 99.99, 100} }

func millis(d time.Duration) string { return result.Format(float64(d.Nanoseconds()) / 1e6) }

// Print writes the outcome as text.
func (o *Outcome) Print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintf(tw, "requests\t%d in %v, %.1f/s of %g/s wanted\n", o.Sent, o.Took.Round(time.Millisecond), o.PerSecond(), o.Options.Rate)
	_, _ = fmt.Fprintf(tw, "bytes of bodies\t%d\n", o.Bytes)
	for _, l := range o.counts() {
		_, _ = fmt.Fprintf(tw, "%s\t%d\n", l.Name, l.N)
	}
	_, _ = fmt.Fprintln(tw, "latency\tfrom the intended time\tfrom the request")
	for _, r := range o.rows() {
		_, _ = fmt.Fprintf(tw, "%s\t%s ms\t%s ms\n", r.Name, r.Latency, r.Service)
	}
	return tw.Flush()
}

// PerSecond is how many requests there were in a second.
func (o *Outcome) PerSecond() float64 { return float64(o.Sent) / max(o.Took.Seconds(), 1e-9) }

type line struct {
	Name string
	N    int
}

func (o *Outcome) counts() []line {
	var out []line
	for _, code := range slices.Sorted(maps.Keys(o.Status)) {
		out = append(out, line{fmt.Sprintf("status %d", code), o.Status[code]})
	}
	for _, m := range []struct {
		prefix string
		counts map[string]int
	}{{"cache ", o.Cache}, {"error: ", o.Errors}} {
		for _, name := range slices.Sorted(maps.Keys(m.counts)) {
			out = append(out, line{m.prefix + name, m.counts[name]})
		}
	}
	return out
}

type row struct{ Name, Latency, Service string }

func (o *Outcome) rows() []row {
	var out []row
	for _, p := range shown() {
		name := fmt.Sprintf("p%g", p)
		if p == 100 {
			name = "max"
		}
		out = append(out, row{name, millis(at(o.Latency, p)), millis(at(o.Service, p))})
	}
	return out
}

func at(h *latency.Histogram, p float64) time.Duration {
	if p == 100 {
		return h.Max()
	}
	return h.Percentile(p)
}

// HTML writes the outcome as a page that needs no other file.
func (o *Outcome) HTML(w io.Writer) error {
	chart, err := o.chart()
	if err != nil {
		return err
	}
	return template.Must(template.New("report").Parse(pageHTML)).Execute(w, map[string]any{
		"O": o, "Counts": o.counts(), "Rows": o.rows(), "Began": o.Began.UTC().Format(time.RFC3339),
		"Took": o.Took.Round(time.Millisecond), "PerSecond": result.Format(o.PerSecond()), "Chart": template.HTML(chart), // of our own making
	})
}

// chart draws both latencies by percentile.
func (o *Outcome) chart() (string, error) {
	p := plot.New()
	p.Title.Text = "Latency, ms"
	p.Legend.Top, p.Legend.Left = true, true
	p.Y.Min = 0
	var names []string
	for _, r := range o.rows() {
		names = append(names, r.Name)
	}
	for i, h := range []*latency.Histogram{o.Latency, o.Service} {
		var points plotter.XYs
		for x, q := range shown() {
			points = append(points, plotter.XY{X: float64(x), Y: float64(at(h, q).Nanoseconds()) / 1e6})
		}
		l, err := plotter.NewLine(points)
		if err != nil {
			return "", err
		}
		l.Width = vg.Points(1.5)
		if i == 1 {
			l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		p.Add(l)
		p.Legend.Add([]string{"from the intended time", "from the request"}[i], l)
	}
	p.Add(plotter.NewGrid())
	p.NominalX(names...)
	p.X.Max += 0.3 // for the last name
	to, err := p.WriterTo(8*vg.Inch, 4*vg.Inch, "svg")
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if _, err := to.WriteTo(&b); err != nil {
		return "", err
	}
	// What comes before is for a file of its own.
	if i := bytes.Index(b.Bytes(), []byte("<svg")); i > 0 {
		b.Next(i)
	}
	return b.String(), nil
}

const pageHTML = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Load on {{.O.Options.URL}}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2126; background: #fff; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .2rem 1.5rem .2rem 0; border-bottom: 1px solid #d8dee4; }
td + td { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; background: #fff; }
</style>
<h1>{{.O.Options.Method}} {{.O.Options.URL}}</h1>
<p>{{.Began}}: {{.O.Sent}} requests in {{.Took}}, {{.PerSecond}} a second of {{.O.Options.Rate}} wanted, on at most {{.O.Options.Connections}} connections; {{.O.Bytes}} bytes of bodies.</p>
<table>
<tr><th></th><th>Answers</th></tr>
{{range .Counts}}<tr><td>{{.Name}}</td><td>{{.N}}</td></tr>
{{end}}</table>
<table>
<tr><th>Latency</th><th>from the intended time, ms</th><th>from the request, ms</th></tr>
{{range .Rows}}<tr><td>{{.Name}}</td><td>{{.Latency}}</td><td>{{.Service}}</td></tr>
{{end}}</table>
{{.Chart}}
<p>Requests begin at a steady rate, whatever the server does. The first latency counts from the time when a request should have begun, so a server that stalls is not spared what it kept from being sent.</p>
</html>
`
