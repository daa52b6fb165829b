package rules

import (
	"fmt"
	"testing"
)

type oneHeader struct{ values [][]byte }

func (h *oneHeader) PeekAll(string) [][]byte { return h.values }

// ruleSet has n rules of all kinds: a tenth is for hosts, the rest for paths.
func ruleSet(n int) []Match {
	out := make([]Match, n)
	for i := range out {
		switch i % 10 {
		case 0:
			out[i] = Match{Path: fmt.Sprintf("/static/%d/**", i)}
		case 1:
			out[i] = Match{Path: fmt.Sprintf("/api/v1/res%d/{id}/edit", i), Methods: []string{"POST", "PUT"}}
		case 2:
			out[i] = Match{Path: fmt.Sprintf("/img/set%d/*.png", i)}
		case 3:
			out[i] = Match{Path: fmt.Sprintf("/{tenant}/page%d", i)}
		case 4:
			out[i] = Match{Hosts: []string{fmt.Sprintf("h%d.example.com", i)}}
		case 5:
			out[i] = Match{Path: fmt.Sprintf("/search%d", i), Query: map[string]string{"q": "a*"}}
		case 6:
			out[i] = Match{Path: fmt.Sprintf("/v%d", i), Headers: map[string]string{"Accept": "*json*"}}
		default:
			out[i] = Match{Path: fmt.Sprintf("/api/v1/res%d/{id}", i)}
		}
	}
	return out
}

// requests gives one request for each kind of rule in the last ten of n.
func requests(n int) []*Request {
	b := n - 10
	paths := []string{
		fmt.Sprintf("/static/%d/css/a.css", b), fmt.Sprintf("/api/v1/res%d/42/edit", b+1),
		fmt.Sprintf("/img/set%d/x.png", b+2), fmt.Sprintf("/acme/page%d", b+3), "/nothing/here",
		fmt.Sprintf("/search%d", b+5), fmt.Sprintf("/v%d", b+6),
		fmt.Sprintf("/api/v1/res%d/42", b+7), fmt.Sprintf("/api/v1/res%d/42", b+8), fmt.Sprintf("/api/v1/res%d/42", b+9),
	}
	out := make([]*Request, len(paths))
	for i, p := range paths {
		out[i] = &Request{
			Method: []byte("POST"), Host: []byte("www.example.com"), Path: []byte(p), RawQuery: []byte("x=1&q=%61b"),
			Headers: &oneHeader{[][]byte{[]byte("application/json")}},
		}
	}
	out[4].Host = []byte(fmt.Sprintf("H%d.example.com:8080", b+4))
	return out
}

func TestMatchAllocatesNothing(t *testing.T) {
	table := compile(t, append(ruleSet(1000), Match{Hosts: []string{"*.wild.test"}, Path: "/**/{a}/z"})...)
	reqs := append(requests(1000), &Request{Host: []byte("a.b.wild.test"), Path: []byte("/q/r/s/z")})
	var p Params
	for i, r := range reqs {
		if want := 990 + i; table.Match(r, &p) != want {
			t.Fatalf("request %s matches rule %d, want %d", r.Path, table.Match(r, &p), want)
		}
		if n := testing.AllocsPerRun(100, func() { table.Match(r, &p) }); n != 0 {
			t.Errorf("%s: %v allocations for each match", r.Path, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		table := compile(b, ruleSet(n)...)
		reqs := requests(n)
		b.Run(fmt.Sprintf("rules=%d/mixed", n), func(b *testing.B) { benchmark(b, table, reqs) })
		b.Run(fmt.Sprintf("rules=%d/path", n), func(b *testing.B) { benchmark(b, table, reqs[7:8]) })
		b.Run(fmt.Sprintf("rules=%d/none", n), func(b *testing.B) {
			benchmark(b, table, []*Request{{Method: []byte("GET"), Host: []byte("x"), Path: []byte("/api/v1/unknown/7")}})
		})
	}
}

func benchmark(b *testing.B, table *Table, reqs []*Request) {
	var p Params
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		table.Match(reqs[i], &p)
		if i++; i == len(reqs) {
			i = 0
		}
	}
}
