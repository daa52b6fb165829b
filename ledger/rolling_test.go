//go:build linux

package ledger

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// TestRollingRestart: agents are told to end (SIGTERM) in the middle of work and started
// again, as in rolling deploys. Nothing is lost, and nothing is delivered twice: this
// needs no failure to be excused.
func TestRollingRestart(t *testing.T) {
	const total, rounds = 15_000, 9
	rng := rand.New(rand.NewPCG(seed(t), 3))
	b := newBook(total)
	broker := newBroker(t, redistest.Start(t))
	app := startApp(t, b, nil)
	agents := startAgents(t, agentCount, broker, ledgerConfig(app.addr))
	stop := make(chan struct{})
	wait := broker.producers(total, rng.Uint64(), stop)
	for i := range rounds {
		mark := int64(total * (i + 1) / (rounds + 2))
		programtest.Eventually(t, patience, "work goes on", func() bool { return b.distinct.Load() >= mark })
		awaitEnd(nil, time.Duration(rng.IntN(5000))*time.Microsecond)
		a := agents[i%len(agents)]
		if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-a.exited:
		case <-time.After(patience):
			t.Fatalf("%s does not end", a.name)
		}
		if !a.cmd.ProcessState.Success() {
			t.Errorf("%s ends with %s", a.name, a.cmd.ProcessState)
		}
		a.start()
	}
	programtest.Eventually(t, patience, "every task is done", func() bool { return b.distinct.Load() == total })
	close(stop)
	if err := wait(); err != nil {
		t.Error(err)
	}
	c := &chaos{tb: t, book: b, broker: broker, agents: agents}
	if err := c.awaitEmpty(); err != nil {
		t.Error(err)
	}
	for i := range sources {
		if l := b.balance(i); l.lost > 0 || l.twice > 0 || l.bound > 0 {
			t.Errorf("%s: %d lost, %d delivered twice, %d leases that ended", l.source, l.lost, l.twice, l.bound)
		}
	}
}
