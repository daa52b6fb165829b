package proxy_test

import (
	"fmt"
	"testing"
)

// rawCases are the tables, one for each part of a request where readers differ.
func rawCases() (all []rawCase) {
	for _, table := range [][]rawCase{
		lengthCases(), codingCases(), mixedFramingCases(), chunkCases(), chunkLineCases(), trailerCases(), lineEndCases(),
		spaceCases(), nameCases(), valueCases(), hostCases(), targetCases(), startLineCases(), limitCases(), expectCases(),
		connectionCases(), pipelineCases(), methodCases(), cutCases(),
	} {
		all = append(all, table...)
	}
	return all
}

// TestRawRequests sends what clients and attackers send, byte by byte as it is
// written here. See rawOutcome.invariants for what holds in every case.
func TestRawRequests(t *testing.T) {
	g := newRawRig(t)
	cases := rawCases()
	names, streams := map[string]bool{}, map[string]bool{}
	for _, c := range cases {
		end := fmt.Sprint(c.end)
		if names[c.name] || streams[c.raw+end] {
			t.Errorf("%s: twice in the tables", c.name)
		}
		names[c.name], streams[c.raw+end] = true, true
	}
	t.Logf("%d requests", len(cases))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			c.report(t, "whole", g.run(t, c.stream(), c.end))
			if c.alone {
				c.report(t, "with nothing behind it", g.run(t, c.raw, c.end))
			}
			if c.pieces && !t.Failed() {
				g.inPieces(t, c)
			}
		})
	}
}

// inPieces repeats a case byte by byte, and divided in two at every position.
func (g *rawRig) inPieces(t *testing.T, c rawCase) {
	t.Helper()
	defer g.ln.pieces.Store(nil)
	each := byteByByte
	g.ln.pieces.Store(&each)
	c.report(t, "byte by byte", g.run(t, c.stream(), c.end))
	for k := 1; k < len(c.stream()) && !t.Failed(); k++ {
		two := inTwo(k)
		g.ln.pieces.Store(&two)
		c.report(t, fmt.Sprintf("in two, %d bytes first", k), g.run(t, c.stream(), c.end))
	}
}
