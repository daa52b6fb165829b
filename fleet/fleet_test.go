package main

import (
	"context"
	"encoding/csv"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fleetOf(t *testing.T, n int, cfg redisconn.Config, args ...string) *rig {
	t.Helper()
	r, err := with(t.Context(), n, cfg, args...)
	must(t, err)
	t.Cleanup(r.close)
	return r
}

// barrier waits for an answer on each pod's connection: what Redis pushed before has been
// applied then, so that what has not come by now does not come.
func barrier(t *testing.T, r *rig) {
	t.Helper()
	for _, p := range r.pods {
		c := p.conn.Client()
		must(t, c.Do(t.Context(), c.B().Ping().Build()).Error())
	}
}

// measured is what Redis did while do ran.
func measured(t *testing.T, r *rig, do func()) span {
	t.Helper()
	s, err := r.during(t.Context(), func() error { do(); return nil })
	must(t, err)
	return s
}

// TestMessagesPerWrite: a write is pushed to each pod that has read the key since it last
// changed, and to no other.
func TestMessagesPerWrite(t *testing.T) {
	r, ctx := fleetOf(t, 5, patient()), context.Background()
	keys := entryKeys(10)
	must(t, r.set(ctx, keys, entry()))
	read := func(pods ...int) {
		t.Helper()
		for _, i := range pods {
			for _, k := range keys {
				if _, err := r.pods[i].store.Get(ctx, []byte(k)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, tt := range []struct {
		name   string
		read   []int
		pushes int
	}{
		{"three of five have read", []int{0, 2, 4}, 3},
		{"nobody has read again", nil, 0},
		{"one has", []int{1}, 1},
		{"all have, one of them twice", []int{0, 1, 2, 3, 4, 4}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read(tt.read...)
			before := r.invalidations()
			s := measured(t, r, func() { must(t, r.set(ctx, keys, entry())); barrier(t, r) })
			if got := r.invalidations() - before; got != uint64(tt.pushes*len(keys)) {
				t.Errorf("%d writes were pushed %d times, want %d times each", len(keys), got, tt.pushes)
			}
			if s.work() != float64(len(keys)) {
				t.Errorf("%v commands for %d writes: %s", s.work(), len(keys), s.list())
			}
		})
	}
}

// TestTrackingTable: keys times pods, until the keys change, pods that have gone included.
func TestTrackingTable(t *testing.T) {
	r, ctx := fleetOf(t, 4, patient()), context.Background()
	keys := entryKeys(500) // the memory of fewer would not stand out from that of buffers
	must(t, r.set(ctx, keys, entry()))
	s := measured(t, r, func() { must(t, r.readAll(ctx, keys)) })
	if got := s.to.number("tracking_total_keys"); got != 500 {
		t.Errorf("%v keys are tracked, want 500", got)
	}
	if got := s.to.number("tracking_total_items"); got != 4*500 {
		t.Errorf("%v items are tracked, want 2000", got)
	}
	if got := s.work(); got != 4*500*readCommands {
		t.Errorf("%v commands for 2000 reads, want %d each: %s", got, readCommands, s.list())
	}
	s, err := r.emptyTable(ctx, keys)
	must(t, err)
	if got := s.from.number("tracking_total_items"); got != 2000 {
		t.Errorf("%v items are tracked when the pods have gone, want 2000", got)
	}
	if got := s.to.number("tracking_total_items"); got != 0 {
		t.Errorf("%v items are tracked when all keys have changed, want none", got)
	}
	if s.grown("used_memory") >= 0 {
		t.Errorf("the table's end freed nothing: used_memory grew by %v", s.grown("used_memory"))
	}
}

// TestOverflow: a table that is too small costs hits, and never a change that goes unseen.
func TestOverflow(t *testing.T) {
	table, err := overflow(t.Context(), options{})
	must(t, err)
	for _, r := range table.rows {
		keys, tracked, hits := r.numbers[0], r.numbers[1], r.numbers[2]
		if tracked > overflowKeys {
			t.Errorf("%v keys are tracked, above the limit of %d", tracked, overflowKeys)
		}
		if full := keys <= overflowKeys; full != (hits == 100) {
			t.Errorf("%v keys in use of %d: %v%% hits", keys, overflowKeys, hits)
		}
	}
}

// TestIdle: a pod that nobody asks for anything has one connection, and its heartbeat.
func TestIdle(t *testing.T) {
	const pods, beats = 3, 4
	r, ctx := fleetOf(t, pods, defaults()), context.Background()
	every := defaults().MaxStaleness / 4
	s := measured(t, r, func() {
		from, err := r.info(ctx)
		must(t, err)
		must(t, await(ctx, "heartbeats", func() (bool, error) {
			now, err := r.info(ctx)
			return now.calls["ping"]-from.calls["ping"] >= pods*beats, err
		}))
	})
	if s.work() != 0 {
		t.Errorf("idle pods ran %s", s.list())
	}
	// A ticker gives no more than one beat for each interval, and one that was due.
	if most := float64(pods) * (s.seconds()/every.Seconds() + 2); s.calls("ping") > most {
		t.Errorf("%v PINGs of %d pods in %.1fs, want at most %.0f", s.calls("ping"), pods, s.seconds(), most)
	}
	list, err := r.clients(ctx)
	must(t, err)
	if len(list) != pods {
		t.Errorf("%d connections of %d pods", len(list), pods)
	}
}

// TestTagPurge: the cost of a purge does not depend on the entries.
func TestTagPurge(t *testing.T) {
	table := new(table)
	must(t, tagStep(t.Context(), 3, table))
	// In the order of the columns of scenario tags.
	want := []float64{3, 3, 2, -1, 3, 3, 6, 3, 6 + 3*readCommands, -1}
	for i, got := range table.rows[0].numbers {
		// That a script has to be loaded is one command more for all of them.
		if want[i] >= 0 && math.Abs(got-want[i]) > 0.01 {
			t.Errorf("column %d: %v, want %v", i, got, want[i])
		}
	}
}

// TestRenewal: one pod renews a session; all that have it hear of it, and read it again.
func TestRenewal(t *testing.T) {
	r, ctx := fleetOf(t, 2, patient()), t.Context()
	c, err := newCheckers(ctx, r)
	must(t, err)
	line := []byte("X-Session-ID: " + sessionID(0, 0) + "\r\n")
	must(t, r.do(ctx, "PEXPIRE", "session:"+sessionID(0, 0), "5000").Error()) // half of its lifetime
	check := func() {
		t.Helper()
		for i, checker := range c.pods {
			if got := checker.Check(ctx, line, time.Now()); got.Status != sessioncheck.Valid {
				t.Fatalf("pod %d: status %d", i, got.Status)
			}
		}
	}
	before := r.invalidations()
	s := measured(t, r, func() {
		check() // nothing is renewed yet: both have it in memory, and both see that it is due
		renewing, end := context.WithCancel(ctx)
		defer end()
		for _, checker := range c.pods {
			c.all.Go(func() { checker.Run(renewing) })
		}
		must(t, await(ctx, "both judge", func() (bool, error) {
			now, err := r.info(ctx)
			return now.calls["eval"] == 2, err
		}))
		barrier(t, r)
		check()
	})
	c.stop()
	if got := r.invalidations() - before; got != 2 {
		t.Errorf("the renewal was pushed %d times, want 2", got)
	}
	if got := s.calls("pexpire"); got != 1 {
		t.Errorf("the session was renewed %v times, want once", got)
	}
	// Two reads by each pod, the script twice, and what it did.
	if want := float64(2*2*checkCommands + 2*2 + 1); s.work() != want {
		t.Errorf("%v commands, want %v: %s", s.work(), want, s.list())
	}
}

// TestQueueWakes: every pod hears of a task that comes to an idle list, and one gets it.
func TestQueueWakes(t *testing.T) {
	const pods, tasks = 4, 5
	nothing := func(*rig, *agents) error { return nil }
	must(t, withAgents(t.Context(), pods, kindList, nothing, func(r *rig, a *agents) error {
		waiting := func() error {
			return await(t.Context(), "all pods wait for a task", func() (bool, error) {
				s, err := r.info(t.Context())
				return s.number("tracking_total_items") == pods, err
			})
		}
		must(t, waiting())
		before := r.invalidations()
		for i := range tasks {
			must(t, r.add(t.Context(), kindList, 1))
			must(t, a.settled(t.Context(), i+1))
			must(t, waiting())
		}
		barrier(t, r)
		if got := r.invalidations() - before; got != pods*tasks {
			t.Errorf("%d pushes for %d tasks and %d pods", got, tasks, pods)
		}
		if got := a.delivered.Load(); got != tasks {
			t.Errorf("%d deliveries of %d tasks", got, tasks)
		}
		return nil
	}))
}

// TestRequests: what docs/scaling.md says of a request, at most.
func TestRequests(t *testing.T) {
	table, err := requests(t.Context(), options{})
	must(t, err)
	most := map[string]float64{"fetched and stored": 17, "in Redis": 10, "in memory": 0, "cache: off": 0, "unknown session id": 1, "not in memory, from A": 6, "purge of": 2}
	asserted := 0
	for _, r := range table.rows {
		for part, n := range most {
			if strings.Contains(r.label, part) && (part != "in memory" || !strings.Contains(r.label, "not in memory")) {
				asserted++
				if r.numbers[0] > n {
					t.Errorf("%s: %v commands, want at most %v: %s", r.label, r.numbers[0], n, r.text)
				}
			}
		}
	}
	if asserted < len(most) {
		t.Errorf("%d of %d statements are about a case", asserted, len(most))
	}
}

// TestExecute runs scenarios in small, from the command line to the files.
func TestExecute(t *testing.T) {
	dir, out := t.TempDir(), new(strings.Builder)
	args := []string{"-pods", "1,3", "-writes", "100", "-keys", "10", "-window", "100ms", "-only", "table,hot", "-csv", dir}
	must(t, execute(t.Context(), args, out, io.Discard))
	for _, name := range []string{"table", "hot"} {
		f, err := os.Open(filepath.Join(dir, name+".csv"))
		must(t, err)
		defer f.Close()
		rows, err := csv.NewReader(f).ReadAll()
		must(t, err)
		if len(rows) != 3 || rows[0][0] != "pods" || rows[1][0] != "1" || rows[2][0] != "3" {
			t.Errorf("%s.csv: %q", name, rows)
		}
	}
	for _, want := range []string{"Redis ", "tracked items", "pods that hold the key", "CPU us/write = "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}
}

func TestBadArguments(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-pods", "1,none"}, `"none" is no number above 0`},
		{[]string{"-pods", "0"}, `"0" is no number above 0`},
		{[]string{"-keys", "0"}, "-keys 0: set 1 or more"},
		{[]string{"-window", "0s"}, "-window 0s"},
		{[]string{"-only", "idle,busy"}, `-only "busy" is not known: use requests, idle`},
		{[]string{"more"}, `unexpected argument "more"`},
	} {
		if _, err := parse(tt.args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.args, err, tt.want)
		}
	}
}

func TestFitLine(t *testing.T) {
	for _, tt := range []struct {
		x, y []float64
		want line
	}{
		{[]float64{1, 2, 3}, []float64{5, 7, 9}, line{3, 2, 1}},
		{[]float64{1, 2, 3, 4}, []float64{1, 3, 2, 4}, line{0.5, 0.8, 0.64}},
		{[]float64{1, 2}, []float64{4, 4}, line{4, 0, 1}},
		{[]float64{2, 2}, []float64{4, 6}, line{5, 0, 1}},
		{nil, nil, line{}},
	} {
		got := fitLine(tt.x, tt.y)
		for i, pair := range [][2]float64{{got.at0, tt.want.at0}, {got.slope, tt.want.slope}, {got.r2, tt.want.r2}} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("%v, %v: number %d is %v, want %v", tt.x, tt.y, i, pair[0], pair[1])
			}
		}
	}
}

// TestCluster: each pod is connected to each node, and reads from masters only.
func TestCluster(t *testing.T) {
	table := new(table)
	must(t, clusterStep(t.Context(), options{window: time.Millisecond}, 2, table))
	if len(table.rows) != 2*clusterMasters {
		t.Fatalf("%d nodes", len(table.rows))
	}
	for i, r := range table.rows {
		if connections := r.numbers[1]; connections > 1 {
			t.Errorf("node %d has %v connections of each pod, want at most 1", i, connections)
		}
		if share := r.numbers[3]; (share > 0) != (r.label == "master") {
			t.Errorf("node %d, a %s, has %v%% of the reads", i, r.label, share)
		}
	}
}
