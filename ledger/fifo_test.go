//go:build linux

package ledger

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// order is what the application has seen of a queue in strict order.
type order struct {
	mu     sync.Mutex
	rng    *rand.Rand
	begun  int         // the last task that began; -1: none
	ended  int         // tasks that are done, or refused for good, are those below
	active map[int]int // deliveries under way, by task
	twice  int         // deliveries of tasks that were done already
	faults []string
}

// isRefused says that the application refuses a task for good.
func isRefused(n int) bool { return n%50 == 7 }

// begin checks that a delivery may begin, and draws its answer.
func (o *order) begin(n int) (status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n < o.begun {
		o.fault("task %d began after task %d", n, o.begun)
	}
	if n > o.ended {
		o.fault("task %d began before %d was done", n, o.ended)
	}
	if n < o.ended {
		o.twice++
	}
	for other := range o.active {
		if other != n {
			o.fault("tasks %d and %d are under way at once", other, n)
		}
	}
	o.begun = max(o.begun, n)
	o.active[n]++
	switch {
	case isRefused(n):
		return fasthttp.StatusGone
	case o.rng.IntN(10) == 0:
		return fasthttp.StatusInternalServerError
	}
	return fasthttp.StatusOK
}

func (o *order) end(n, status int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.active[n]--; o.active[n] == 0 {
		delete(o.active, n)
	}
	if status != fasthttp.StatusInternalServerError {
		o.ended = max(o.ended, n+1)
	}
}

// fault is called with the lock held.
func (o *order) fault(format string, args ...any) {
	if len(o.faults) < 20 {
		o.faults = append(o.faults, fmt.Sprintf(format, args...))
	}
}

func (o *order) done() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ended
}

const fifoConfig = `
  - name: %[1]s
    %[2]s: "fifo:%[1]s"%[3]s
    fifo: true
    webhook: { url: "http://%[4]s/%[1]s", timeout: 10s }
    lease: 20s
    retry: { max_attempts: 1000, max_abandons: 1000, min: 1ms, max: 5ms }`

// TestFIFO: queues of every kind in strict order, drained by three agents which are
// killed, from an application that fails some attempts and refuses some tasks for good,
// while Redis restarts. A task begins only when the one before it is done or a dead
// letter; no two are under way at once.
func TestFIFO(t *testing.T) {
	const count, fifoKills = 200, 8
	rng := rand.New(rand.NewPCG(seed(t), 7))
	kinds := []string{"list", "right", "delay", "stream"}
	orders := make(map[string]*order)
	for i, kind := range kinds {
		orders[kind] = &order{begun: -1, active: make(map[int]int), rng: rand.New(rand.NewPCG(uint64(i), rng.Uint64()))}
	}
	addr := serve(t, func(ctx *fasthttp.RequestCtx) {
		o := orders[strings.TrimPrefix(string(ctx.Path()), "/")]
		n, _ := strconv.Atoi(string(ctx.Request.Body()))
		status := o.begin(n)
		awaitEnd(nil, time.Duration(n%3)*time.Millisecond)
		o.end(n, status)
		ctx.SetStatusCode(status)
	})
	srv := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	c := redistest.Client(t, srv)
	config := "log: { level: error }\nqueues:"
	for _, kind := range kinds {
		source, extra := kind, ""
		if kind == "right" {
			source, extra = "list", "\n    pop: right"
		}
		if kind == "stream" {
			extra = "\n    field: task\n    delete: true"
		}
		config += fmt.Sprintf(fifoConfig, kind, source, extra, addr)
		for n := range count {
			add(t, c, kind, "fifo:"+kind, n, strconv.Itoa(n))
		}
	}
	agents := startAgents(t, agentCount, newBroker(t, srv), config)
	slowest := func() int {
		least := count
		for _, o := range orders {
			least = min(least, o.done())
		}
		return least
	}
	for i := range fifoKills {
		mark := count * (i + 1) / (fifoKills + 2)
		programtest.Eventually(t, patience, fmt.Sprintf("%d tasks of each queue", mark), func() bool { return slowest() >= mark })
		if i == fifoKills/2 {
			srv.Kill()
			if err := srv.Restart(); err != nil {
				t.Fatal(err)
			}
			c = redistest.Client(t, srv) // the connection of the other is gone
		}
		awaitEnd(nil, time.Duration(rng.IntN(5000))*time.Microsecond)
		for _, j := range rng.Perm(len(agents))[:1+i%2] {
			agents[j].kill()
			agents[j].start()
		}
	}
	for _, kind := range kinds {
		o := orders[kind]
		programtest.Eventually(t, patience, "all of "+kind+" is done", func() bool {
			return o.done() == count && idle(t, c, "fifo:"+kind, kind)
		})
		dead := deadLetters(t, c, "fifo:"+kind, kind)
		for i, d := range dead {
			if d["payload"] != strconv.Itoa(50*i+7) || d["reason"] != "gone" {
				t.Errorf("%s: dead letter %d is %v", kind, i+1, d)
			}
		}
		if want := count / 50; len(dead) != want {
			t.Errorf("%s: %d dead letters: want %d", kind, len(dead), want)
		}
		for _, f := range o.faults {
			t.Errorf("%s: %s", kind, f)
		}
		t.Logf("%s: %d tasks in order, %d delivered twice", kind, count, o.twice)
	}
}
