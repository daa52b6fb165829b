package proc

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the processor time (user and system) of each process of some trees.
type CPU map[int]time.Duration

// CPUOf takes the time of a process and all that descend from it, to the nanosecond:
// what /proc/PID/stat says of them is in hundredths of a second.
func CPUOf(pids ...int) CPU { return Clocks(Tree(pids...)) }

// Tree lists processes and all that descend from them. It reads all of /proc, which
// takes some milliseconds.
func Tree(pids ...int) []int {
	children := parents()
	out := pids[:len(pids):len(pids)]
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// Clocks takes the time of these processes alone.
func Clocks(pids []int) CPU {
	out := make(CPU, len(pids))
	for _, pid := range pids {
		if t, err := clock(pid); err == nil {
			out[pid] = t
		}
	}
	return out
}

// Since gives the time that was used since an earlier look. What a process that has
// ended meanwhile used is not in it.
func (c CPU) Since(before CPU) time.Duration {
	var sum time.Duration
	for pid, t := range c {
		sum += t - before[pid]
	}
	return sum
}

// clock reads the process's CPU clock: (^pid << 3) | CPUCLOCK_SCHED, as
// clock_getcpuclockid makes it.
func clock(pid int) (time.Duration, error) {
	const sched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// parents maps each process of the machine to its children.
func parents() map[int][]int {
	out := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, parent, err := parseStat(string(text))
		if err == nil {
			out[parent] = append(out[parent], pid)
		}
	}
	return out
}

// parseStat reads a line of /proc/PID/stat: pid (name) state parent. The name may hold
// anything, parentheses too.
func parseStat(line string) (pid, parent int, err error) {
	open, end := strings.IndexByte(line, '('), strings.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return 0, 0, fmt.Errorf("/proc/PID/stat is %q: want a name in parentheses", line)
	}
	rest := strings.Fields(line[end+1:])
	if len(rest) < 2 {
		return 0, 0, fmt.Errorf("/proc/PID/stat is %q: want a parent", line)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line[:open])); err != nil {
		return 0, 0, err
	}
	parent, err = strconv.Atoi(rest[1])
	return pid, parent, err
}

// Memory gives a sum over a process and its descendants in bytes: "Pss" shares out
// what several map, "Rss" does not.
func Memory(pid int, what string) int64 {
	var sum int64
	for p := range maps.Keys(CPUOf(pid)) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			continue
		}
		sum += field(string(text), what)
	}
	return sum
}

func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// Window is a span of time in which the machine is watched.
type Window struct {
	began time.Time
	cpu   CPU
	busy  time.Duration
}

// Span is what happened within a window.
type Span struct {
	Took time.Duration
	// Foreign is how much of a core other programs used, and the hypervisor took
	// away: 0.1 is a tenth of one core.
	Foreign float64
}

// Watch begins a window.
func Watch() Window {
	return Window{began: time.Now(), cpu: CPUOf(os.Getpid()), busy: machineBusy()}
}

// End gives what happened since.
func (w Window) End() Span {
	took := time.Since(w.began)
	others := machineBusy() - w.busy - CPUOf(os.Getpid()).Since(w.cpu)
	return Span{Took: took, Foreign: max(0, others.Seconds()/took.Seconds())}
}

// machineBusy is the time that all cores were busy or stolen since boot.
func machineBusy() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	return parseBusy(string(text))
}

// parseBusy reads "cpu user nice system idle iowait irq softirq steal …", in hundredths
// of a second.
func parseBusy(stat string) time.Duration {
	line, _, _ := strings.Cut(stat, "\n")
	var ticks int64
	for i, f := range strings.Fields(line) {
		const name, idle, iowait, afterSteal = 0, 4, 5, 9
		if i == name || i == idle || i == iowait || i >= afterSteal {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// Cores counts those of the machine, whichever of them we may use.
func Cores() int {
	text, _ := os.ReadFile("/proc/stat")
	return strings.Count(string(text), "\ncpu")
}
