package web

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/bench/result"
	"github.com/pillion-proxy/pillion/bench/rig"
)

// TestFailureOfOnePeer has one that fails in the second round: the other goes on.
func TestFailureOfOnePeer(t *testing.T) {
	rounds := make(map[string]int)
	s := Scenario{Name: "x", peers: []string{"fasthttp", "pillion"}, measure: func(_ context.Context, _ *Bench, _ Scenario, srv server) (m measured, err error) {
		rounds[srv.name()]++
		if srv.name() == "fasthttp" && rounds[srv.name()] == 2 {
			return m, errors.New("wrong answer")
		}
		m.add("CPU", "us", 1)
		return m, nil
	}}
	var out strings.Builder
	// Any program that prints something for "version" will do.
	b := &Bench{Rig: &rig.Rig{Out: &out, Results: result.NewSet(), Rounds: 3, Pillion: "/bin/echo"}}
	err := b.scenario(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "x, fasthttp: wrong answer") {
		t.Errorf("%v", err)
	}
	if b.Results.Get("x", "fasthttp", "CPU") != nil {
		t.Error("what a peer that failed had before must not be published")
	}
	if got := b.Results.Get("x", "pillion", "CPU"); got == nil || len(got.Values) != 3 || rounds["fasthttp"] != 2 {
		t.Errorf("%+v, rounds %v", got, rounds)
	}
}
