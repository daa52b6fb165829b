package proc

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for line, want := range map[string][2]int{
		"12 (sh) S 7 12 12 0":               {12, 7},
		"12 (a (b) R 1 x) S 99 12":          {12, 99},
		"4194304 (nginx: worker) R 41 41 0": {4194304, 41},
	} {
		pid, parent, err := parseStat(line)
		if err != nil || pid != want[0] || parent != want[1] {
			t.Errorf("%q: %d %d %v", line, pid, parent, err)
		}
	}
	for _, line := range []string{"", "12 sh S 7", "x (sh) S 7", "12 (sh) S", "12 (sh) S y", ")("} {
		if _, _, err := parseStat(line); err == nil {
			t.Errorf("%q was accepted", line)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a (b) R 1 x) S 99 12")
	f.Fuzz(func(_ *testing.T, line string) { _, _, _ = parseStat(line) })
}

func TestParseBusy(t *testing.T) {
	// user 100, nice 10, system 20, idle 5000, iowait 600, irq 1, softirq 2, steal 3, guest 50
	got := parseBusy("cpu  100 10 20 5000 600 1 2 3 50 0\ncpu0 1 1 1 1\n")
	if want := 1360 * time.Millisecond; got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if parseBusy("") != 0 || parseBusy("cpu x") != 0 {
		t.Error("nonsense must give 0")
	}
}

func TestParseCommandStats(t *testing.T) {
	text := "# Commandstats\r\ncmdstat_get:calls=21,usec=175\r\ncmdstat_config|set:calls=4,usec=1\r\ncmdstat_info:calls=9,usec=1\r\ncmdstat_client|tracking:calls=2,usec=1\r\n"
	if n, err := parseCommandStats(text); err != nil || n != 23 {
		t.Errorf("%d %v, want 23", n, err)
	}
	for _, bad := range []string{"cmdstat_get:usec=1", "cmdstat_get:calls=x,"} {
		if _, err := parseCommandStats(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func sh(t *testing.T, script string, cores []int) *Process {
	t.Helper()
	p, err := Start(Spec{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, Cores: cores})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within 20s: %s", what)
		}
	}
}

func TestPinned(t *testing.T) {
	p := sh(t, "grep Cpus_allowed_list /proc/self/status; exec sleep 60", []int{0})
	eventually(t, "the child says where it may run", func() bool { return strings.Contains(p.Log(), "\n") })
	if _, got, _ := strings.Cut(strings.TrimSpace(p.Log()), "\t"); got != "0" {
		t.Errorf("it may run on cores %q, want 0", got)
	}
}

// TestCPU looks at a shell whose child is busy while it waits.
func TestCPU(t *testing.T) {
	p := sh(t, "trap 'kill $!' TERM; sh -c 'while :; do :; done' & wait", nil)
	before := CPUOf(p.PID())
	eventually(t, "the child has used 50ms", func() bool { return CPUOf(p.PID()).Since(before) > 50*time.Millisecond })
	if own, _ := clock(p.PID()); own > 40*time.Millisecond {
		t.Errorf("the parent alone used %v", own)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the time of one that has ended is gone", func() bool { return len(CPUOf(p.PID())) == 0 })
}

func TestMemory(t *testing.T) {
	text := "00400000-7ffd [rollup]\nRss:                1234 kB\nPss:                1000 kB\nPss_Dirty: 1 kB\n"
	if field(text, "Pss") != 1000<<10 || field(text, "Rss") != 1234<<10 || field(text, "Swap") != 0 {
		t.Error("smaps_rollup was misread")
	}
	if rss, pss := Memory(os.Getpid(), "Rss"), Memory(os.Getpid(), "Pss"); rss < 1<<20 || pss > rss || pss == 0 {
		t.Errorf("Rss %d, Pss %d", rss, pss)
	}
}

func TestEndedEarly(t *testing.T) {
	p := sh(t, "echo broken; exit 3", nil)
	err := p.WaitTCP(context.Background(), "127.0.0.1:1")
	if err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "ended early") {
		t.Errorf("Stop: %v", err)
	}
}

func TestFindRoot(t *testing.T) {
	root, err := FindRoot(".")
	if err != nil || strings.HasSuffix(root, "bench/proc") {
		t.Fatalf("%q %v", root, err)
	}
	if _, err := FindRoot("/proc"); err == nil || !strings.Contains(err.Error(), "--root") {
		t.Errorf("%v", err)
	}
}
