package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"text/tabwriter"
)

// table is what a scenario found.
type table struct {
	title   string
	columns []column
	rows    []row
	notes   []string // fits, and what else is worth a line
}

type column struct {
	name   string
	digits int // after the point
}

// row has a number for each column. label stands before them, text behind them, where
// the table has such.
type row struct {
	label, text string
	numbers     []float64
}

func (t *table) add(numbers ...float64) { t.rows = append(t.rows, row{numbers: numbers}) }

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// series is one column.
func (t *table) series(name string) []float64 {
	for i, c := range t.columns {
		if c.name != name {
			continue
		}
		list := make([]float64, len(t.rows))
		for j := range t.rows {
			list[j] = t.rows[j].numbers[i]
		}
		return list
	}
	return nil
}

// fit notes how one column depends on another.
func (t *table) fit(x, y, unit string) {
	t.fitLine(x, y, unit, fitLine(t.series(x), t.series(y)))
}

func (t *table) fitLine(x, y, unit string, l line) {
	t.note("%s = %.4g + %.4g x %s%s (R2 %.3f)", y, l.at0, l.slope, x, unit, l.r2)
}

func (t *table) cells(r row) []string {
	var cells []string
	if r.label != "" {
		cells = append(cells, r.label)
	}
	for i, n := range r.numbers {
		cells = append(cells, strconv.FormatFloat(n, 'f', t.columns[i].digits, 64))
	}
	if r.text != "" {
		cells = append(cells, r.text)
	}
	return cells
}

func (t *table) header() []string {
	var cells []string
	if len(t.rows) > 0 && t.rows[0].label != "" {
		cells = append(cells, "case")
	}
	for _, c := range t.columns {
		cells = append(cells, c.name)
	}
	if len(t.rows) > 0 && t.rows[0].text != "" {
		cells = append(cells, "which")
	}
	return cells
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n\n", t.title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	printCells(tw, t.header())
	for _, r := range t.rows {
		printCells(tw, t.cells(r))
	}
	_ = tw.Flush()
	for _, n := range t.notes {
		fmt.Fprintf(w, "  %s\n", n)
	}
}

func printCells(w io.Writer, cells []string) {
	for i, c := range cells {
		if i > 0 {
			fmt.Fprint(w, "\t")
		}
		fmt.Fprint(w, c)
	}
	fmt.Fprintln(w)
}

func (t *table) writeCSV(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	_ = w.Write(t.header()) // Error has it
	for _, r := range t.rows {
		_ = w.Write(t.cells(r))
	}
	w.Flush()
	return w.Error()
}

// line is a straight one.
type line struct{ at0, slope, r2 float64 }

// fitLine is the line with the least squares.
func fitLine(x, y []float64) line {
	n := float64(len(x))
	if len(x) == 0 {
		return line{}
	}
	var sx, sy, sxx, sxy, syy float64
	for i := range x {
		sx, sy = sx+x[i], sy+y[i]
		sxx, sxy, syy = sxx+x[i]*x[i], sxy+x[i]*y[i], syy+y[i]*y[i]
	}
	dx, dy := n*sxx-sx*sx, n*syy-sy*sy
	if dx == 0 { // one number of pods: nothing depends on it
		return line{at0: sy / n, r2: 1}
	}
	l := line{slope: (n*sxy - sx*sy) / dx, r2: 1}
	l.at0 = (sy - l.slope*sx) / n
	if dy > 0 {
		l.r2 = math.Pow(n*sxy-sx*sy, 2) / (dx * dy)
	}
	return l
}
