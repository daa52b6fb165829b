//go:build linux

package ledger

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

var (
	taskCount = flag.Int("tasks", 50_000, "tasks of TestLedger, a third of each kind")
	kills     = flag.Int("kills", 12, "how often TestLedger kills an agent")
	outages   = flag.Int("outages", 4, "outages of the application in TestLedger")
	restarts  = flag.Int("restarts", 2, "restarts of Redis in TestLedger")
	pauses    = flag.Int("pauses", 1, "how often TestLedger stops an agent for longer than its leases")
	seedFlag  = flag.Uint64("seed", 0, "seed of all random choices; 0: a new one, or that of the environment's SEED")
	docFile   = flag.String("doc", "", "file whose part between the ledger's markers is replaced by the table")
)

const (
	agentCount  = 3
	concurrency = 32
	lease       = 10 * time.Second
)

// queueConfig is one queue of every kind. Failures must not make dead letters.
const queueConfig = `
  - name: %[1]s
    %[1]s: "ledger:%[1]s"%[5]s
    webhook: { url: "http://%[2]s/%[1]s", timeout: %[3]s }
    concurrency: 32
    lease: %[4]s
    retry: { max_attempts: 1000000, max_abandons: 1000000, min: 20ms, max: 1s }`

func ledgerConfig(appAddr string) string {
	var b strings.Builder
	b.WriteString("log: { level: warn }\nqueues:")
	for _, kind := range sources {
		extra := ""
		if kind == "stream" {
			extra = "\n    field: task\n    delete: true"
		}
		fmt.Fprintf(&b, queueConfig, kind, appAddr, webhookTimeout, lease, extra)
	}
	return b.String()
}

func seed(t *testing.T) uint64 {
	t.Helper()
	n := *seedFlag
	if env := os.Getenv("SEED"); n == 0 && env != "" {
		var err error
		if n, err = strconv.ParseUint(env, 10, 64); err != nil {
			t.Fatalf("SEED=%s is not a number", env)
		}
	}
	if n == 0 {
		n = rand.Uint64N(1e9) + 1
	}
	t.Logf("seed %d", n)
	return n
}

// TestLedger is the whole account: tasks of every kind, while agents, the application
// and Redis fail. Nothing is lost, and each repetition is explained by a failure during
// which that very task was in flight.
func TestLedger(t *testing.T) {
	sd := seed(t)
	b := newBook(*taskCount)
	broker := newBroker(t, redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always"))
	app := startApp(t, b, nil)
	c := &chaos{
		tb: t, rng: rand.New(rand.NewPCG(sd, 99)), book: b, app: app, broker: broker, lease: lease,
		agents: startAgents(t, agentCount, broker, ledgerConfig(app.addr)),
	}
	began := time.Now()
	stop := make(chan struct{})
	wait := broker.producers(*taskCount, sd, stop)
	err := c.account(c.schedule(plan{*kills, *outages, *restarts, *pauses}, *taskCount))
	took := time.Since(began)
	close(stop)
	if err = errors.Join(err, wait()); err != nil {
		t.Error(err)
	}
	c.ends.Wait()
	c.verify(t)
	text := report(c, sd, took)
	fmt.Println(text)
	if *docFile != "" && !t.Failed() {
		if err := writeDoc(*docFile, text); err != nil {
			t.Error(err)
		}
	}
}

func startAgents(t *testing.T, count int, b *broker, config string) []*agent {
	t.Helper()
	binary := programtest.Build(t)
	agents := make([]*agent, count)
	for i := range agents {
		agents[i] = newAgent(t, binary, "agent-"+strconv.Itoa(i+1), config, b.srv.Addr)
		agents[i].start()
	}
	return agents
}

// account lets the events happen in their order, and waits until every task is done
// and nothing is left of it in Redis.
func (c *chaos) account(events []event) error {
	total := int64(len(c.book.done))
	progress, at := int64(-1), time.Now()
	var due time.Time // of the next event
	for {
		c.tick()
		if n := c.book.distinct.Load(); n != progress {
			progress, at = n, time.Now()
		} else if time.Since(at) > patience {
			return fmt.Errorf("%d of %d tasks are done, and none was for %s", n, total, patience)
		}
		if len(events) > 0 && progress >= int64(events[0].mark) {
			if due.IsZero() {
				due = time.Now().Add(events[0].after)
			}
			if wait := time.Until(due); wait < 10*askEvery {
				awaitEnd(nil, wait)
				events[0].run()
				events, due = events[1:], time.Time{}
				continue
			}
		}
		if progress == total && len(events) == 0 && len(c.resume) == 0 {
			return c.awaitEmpty()
		}
		awaitEnd(nil, askEvery)
	}
}

// awaitEmpty waits until the agents have settled everything.
func (c *chaos) awaitEmpty() error {
	var counts [len(sources)][5]int64
	for end := time.Now().Add(patience); time.Now().Before(end); awaitEnd(nil, askEvery) {
		c.tick()
		empty := true
		for i := range sources {
			var err error
			if counts[i], err = c.broker.left(i); err != nil {
				return err
			}
			empty = empty && counts[i][0]+counts[i][1]+counts[i][2]+counts[i][3] == 0
		}
		if empty {
			return nil
		}
	}
	return fmt.Errorf("left in Redis of %v (source, records, leases, retries, dead letters): %v", sources, counts)
}

// verify holds the book against the promises.
func (c *chaos) verify(t *testing.T) {
	for i := range sources {
		if l := c.book.balance(i); l.lost > 0 || l.unexcused > 0 || l.twice > l.bound {
			t.Errorf("%s: %d lost, %d delivered twice for which no failure accounts, of %d (bound %d)", l.source, l.lost, l.unexcused, l.twice, l.bound)
		}
		counts, err := c.broker.left(i)
		if err != nil || counts != [5]int64{} {
			t.Errorf("%s: left in Redis (source, records, leases, retries, dead letters): %v, %v", sources[i], counts, err)
		}
	}
	if n := c.book.corrupt.Load(); n > 0 {
		t.Errorf("%d deliveries with other bytes than were pushed", n)
	}
	if n := c.book.renamed.Load(); n > 0 {
		t.Errorf("%d repetitions under another webhook-id", n)
	}
	if c.toll.kills != *kills || c.toll.restarts != *restarts {
		t.Errorf("%d kills, %d restarts of Redis: want %d, %d", c.toll.kills, c.toll.restarts, *kills, *restarts)
	}
}
