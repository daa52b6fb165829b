//go:build linux

package ledger

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

const poisonConfig = `log: { level: error }
queues:
  - name: work
    list: "poison:work"
    webhook: { url: "http://%s/list", timeout: 10s }
    retry: { max_attempts: 10, max_abandons: 5, min: 20ms, max: 200ms }`

// poisonTasks is how many tasks surround the poison, which is in front of them.
const poisonTasks = 500

// poisoned starts an application and an agent with tasks of which task 0 is poison.
func poisoned(t *testing.T, onPoison func(*app)) (a *app, worker *agent, c rueidis.Client) {
	t.Helper()
	b := newBook(3 * (poisonTasks + 1))
	a = startApp(t, b, func(a *app, n int) bool {
		if n == 0 {
			onPoison(a)
		}
		return n == 0
	})
	srv := redistest.Start(t)
	c = redistest.Client(t, srv)
	var buf []byte
	for i := range poisonTasks + 1 {
		buf = payload(buf[:0], 3*i) // of the kind "list"
		add(t, c, "list", "poison:work", i, string(buf))
	}
	return a, newAgent(t, programtest.Build(t), "agent-1", fmt.Sprintf(poisonConfig, a.addr), srv.Addr), c
}

// wantPoison waits until everything is settled: the poison is the only dead letter.
func wantPoison(t *testing.T, a *app, c rueidis.Client, reason string) {
	t.Helper()
	programtest.Eventually(t, patience, "everything is settled", func() bool {
		return length(t, c, "list", "poison:work") == 0 && idle(t, c, "poison:work", "work")
	})
	if n := a.book.distinct.Load(); n != poisonTasks {
		t.Errorf("%d other tasks were delivered: want %d", n, poisonTasks)
	}
	dead := deadLetters(t, c, "poison:work", "work")
	for _, d := range dead {
		if d["payload"] != string(payload(nil, 0)) || d["reason"] != reason {
			t.Errorf("dead letter %q, %s, attempts %s, abandons %s: want the poison, %s", d["payload"], d["reason"], d["attempts"], d["abandons"], reason)
		}
	}
	if len(dead) != 1 {
		t.Errorf("%d dead letters: want 1", len(dead))
	}
}

// TestPoisonOfTheApplication: one task kills the application each time, which is away
// for a while then. It ends in the dead letters after its attempts, and every other task
// is delivered.
func TestPoisonOfTheApplication(t *testing.T) {
	var deaths atomic.Int64
	var back sync.WaitGroup
	a, worker, c := poisoned(t, func(a *app) {
		deaths.Add(1)
		gone := make(chan struct{})
		back.Go(func() {
			a.shut() // all its deliveries are reset, and then connections are refused
			close(gone)
			awaitEnd(nil, 100*time.Millisecond)
			if err := a.open(); err != nil {
				t.Error(err)
			}
		})
		<-gone
	})
	t.Cleanup(back.Wait)
	worker.start()
	wantPoison(t, a, c, "max_attempts")
	if n := deaths.Load(); n != 10 {
		t.Errorf("the poison was delivered %d times: want 10", n)
	}
}

// TestPoisonOfTheAgent: one task kills the agent each time. It ends in the dead letters
// as poison, and every other task is delivered.
func TestPoisonOfTheAgent(t *testing.T) {
	bitten := make(chan struct{}, 16)
	a, worker, c := poisoned(t, func(*app) { bitten <- struct{}{}; awaitEnd(nil, 100*time.Millisecond) })
	worker.start()
	for range 5 {
		select {
		case <-bitten:
		case <-time.After(patience):
			t.Fatal("the poison is not delivered")
		}
		worker.kill()
		worker.start()
	}
	wantPoison(t, a, c, "poison")
	if n := len(bitten); n > 0 {
		t.Errorf("the poison was delivered %d times more: want 5", n)
	}
}
