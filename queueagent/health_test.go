package queueagent

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestHealthOfQueuesOnSeveralNodes: one queue that reaches its Redis does not speak for
// another that does not.
func TestHealthOfQueuesOnSeveralNodes(t *testing.T) {
	var out bytes.Buffer
	h := &health{log: zerolog.New(&out)}
	a, b := access{health: h}, access{health: h}
	lines := func(want int, when string) {
		t.Helper()
		if got := strings.Count(out.String(), "\n"); got != want {
			t.Errorf("%s: %d lines, want %d:\n%s", when, got, want, out.String())
		}
	}
	a.up()
	lines(0, "nothing was wrong")
	a.down(errors.New("refused"))
	b.up()
	a.down(errors.New("refused"))
	lines(1, "one is down")
	b.down(errors.New("refused"))
	a.up()
	lines(1, "the other is down still")
	b.up()
	lines(2, "both are up")
}
