package queueagent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// childEnv makes the test binary an agent's process instead of running tests.
const childEnv = "QUEUEAGENT_TEST_CHILD"

type childConfig struct {
	Addr     string
	Agent    string // "": the-agent
	Tracking bool
	Queues   []Config
}

func TestMain(m *testing.M) {
	if conf := os.Getenv(childEnv); conf != "" {
		fmt.Fprintln(os.Stderr, "child:", runChild(conf))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runChild is an agent that only a signal ends.
func runChild(conf string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(conf), &c); err != nil {
		return err
	}
	f, err := newFake(c.Addr, c.Tracking)
	if err != nil {
		return err
	}
	a, err := New(c.Queues, f, "t:", cmp.Or(c.Agent, "the-agent"), zerolog.New(os.Stderr).Level(zerolog.ErrorLevel))
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

// child starts an agent process; the function that it gives kills it with SIGKILL.
func child(t *testing.T, c childConfig) (kill func()) {
	t.Helper()
	_, kill = childProcess(t, c)
	return kill
}

// childProcess is child, and gives the process too.
func childProcess(t *testing.T, c childConfig) (p *os.Process, kill func()) {
	t.Helper()
	conf, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(conf))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	return cmd.Process, kill
}

// tally counts deliveries by payload.
func (s *sink) tally() (distinct, total int, by map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	by = make(map[string]int, len(s.posts))
	for _, p := range s.posts {
		by[p.body]++
	}
	return len(by), len(s.posts), by
}

// enqueue puts half of the tasks into a list and half into a sorted set, due now or
// within two seconds.
func (r *rig) enqueue(tasks int) {
	now := float64(time.Now().UnixMilli()) / 1000
	list, delay := []string{"RPUSH", "l"}, []string{"ZADD", "z"}
	for i := range tasks {
		if i%2 == 0 {
			list = append(list, taskJSON(i))
			continue
		}
		due := now
		if i%4 == 1 {
			due += 2 * rand.Float64()
		}
		delay = append(delay, strconv.FormatFloat(due, 'f', 3, 64), taskJSON(i))
	}
	r.do(list...)
	r.do(delay...)
}

// TestKilledFiveTimes: 10,000 tasks, and the agent's process is killed with -9 five
// times at random moments. Each task is delivered at least once, none is lost, and
// not more is delivered twice than was in flight.
func TestKilledFiveTimes(t *testing.T) {
	const total, kills, concurrency = 10_000, 5, 32
	r := newRig(t, true)
	s := newSink(t, nil)
	c := childConfig{Addr: r.srv.Addr, Tracking: true, Queues: []Config{
		testConfig("list", tasks.List, "l", s.url+"/{type}"),
		testConfig("delay", tasks.Delay, "z", s.url+"/{type}"),
	}}
	for i := range c.Queues {
		c.Queues[i].Concurrency = concurrency
		c.Queues[i].Lease = 10 * time.Second // an agent that starts again takes back at once what it had
		c.Queues[i].Retry.MaxAbandons = kills + 1
	}
	r.enqueue(total)
	kill := child(t, c)
	for i := range kills {
		// Some time within the i-th sixth of the work, and at any point of a delivery.
		mark := total * (i*10 + 3 + rand.IntN(7)) / (10 * (kills + 1))
		eventually(t, fmt.Sprintf("%d deliveries", mark), func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.posts) >= mark })
		time.Sleep(rand.N(3 * time.Millisecond))
		kill()
		kill = child(t, c)
	}
	eventually(t, "every task is delivered", func() bool { n, _, _ := s.tally(); return n == total })
	keys := []tasks.Keys{r.store("x", tasks.List, "l", time.Minute).Keys, r.store("x", tasks.Delay, "z", time.Minute).Keys}
	for i, q := range []string{"list", "delay"} {
		k := tasks.NewKeys("t:", q, keys[i].Source, "x")
		eventually(t, "nothing is left of "+q, func() bool { return r.int("EXISTS", k.Source, k.Records, k.Leases, k.Retry) == 0 })
		if n := r.int("XLEN", k.Dead); n != 0 {
			t.Errorf("%s: %d dead letters", q, n)
		}
	}
	_, sum, by := s.tally()
	for i := range total {
		if by[taskJSON(i)] == 0 {
			t.Errorf("task %d was lost", i)
		}
	}
	dup := sum - total
	t.Logf("%d tasks, %d kills: 0 lost, %d delivered twice (at most %d were in flight at the kills)", total, kills, dup, kills*2*concurrency)
	if dup > kills*2*concurrency {
		t.Errorf("%d duplicates: more than were in flight", dup)
	}
}
