//go:build linux && amd64 && !race

package hotpath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// epollPwait is the system call in which a Go process with one processor waits for work.
const epollPwait = "281"

// instructions counts those of a request in user space, by executing the program's one
// running thread a step at a time: no counter of the processor is needed, and the count
// does not depend on how busy the machine is. What else the program does meanwhile, such
// as its heartbeat, falls into few requests: the count is the median of n.
func instructions(pid, n int, ask func()) (float64, error) {
	// Only the thread that has attached may ask for a step.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	threads, tid, err := attachWaiting(pid)
	defer func() { detach(threads) }()
	if err != nil {
		return 0, err
	}
	restore, err := together(tid)
	if err != nil {
		return 0, err
	}
	defer restore()
	var steps atomic.Int64
	var done atomic.Bool
	each := make([]int64, 0, n)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for range n {
			before := steps.Load()
			ask()
			each = append(each, steps.Load()-before)
		}
		done.Store(true)
		ask() // so that the thread, which waits again, takes one more step
	}()
	err = step(tid, &steps, &done)
	detach(threads)
	threads = nil
	if err != nil {
		return 0, err
	}
	<-over
	slices.Sort(each)
	return float64(each[n/2]), nil
}

// step executes one thread. The others stand still: with one processor in use there is
// nothing for them to do.
func step(tid int, steps *atomic.Int64, done *atomic.Bool) error {
	for !done.Load() {
		if err := syscall.PtraceSingleStep(tid); err != nil {
			return fmt.Errorf("a step: %w", err)
		}
		if err := await(tid); err != nil {
			return err
		}
		steps.Add(1)
	}
	return nil
}

// attachWaiting stops all threads of a process that waits for work, and names the one
// that does.
func attachWaiting(pid int) (threads []int, waiting int, err error) {
	const tries = 1000 // it may still be at work
	for range tries {
		if threads, err = attach(pid); err != nil {
			return threads, 0, err
		}
		if i := slices.IndexFunc(threads, func(tid int) bool { return isIn(pid, tid, epollPwait) }); i >= 0 {
			return threads, threads[i], nil
		}
		detach(threads)
	}
	return nil, 0, errors.New("no thread of the program waits for work")
}

// together keeps this thread and another one on one processor: a step then needs no
// other to be woken, and takes a tenth of the time.
func together(tid int) (restore func(), err error) {
	const self = 0
	var mine, its, one unix.CPUSet
	if err := errors.Join(unix.SchedGetaffinity(self, &mine), unix.SchedGetaffinity(tid, &its)); err != nil {
		return nil, err
	}
	for cpu := range len(its) * 64 {
		if its.IsSet(cpu) && mine.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if one.Count() == 0 {
		return func() {}, nil
	}
	restore = func() {
		_ = unix.SchedSetaffinity(self, &mine)
		_ = unix.SchedSetaffinity(tid, &its)
	}
	return restore, errors.Join(unix.SchedSetaffinity(self, &one), unix.SchedSetaffinity(tid, &one))
}

// attach stops all threads of a process.
func attach(pid int) (threads []int, err error) {
	dirs, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		tid, err := strconv.Atoi(d.Name())
		if err != nil {
			return threads, err
		}
		if err := syscall.PtraceAttach(tid); err != nil {
			return threads, fmt.Errorf("ptrace: %w", err)
		}
		threads = append(threads, tid)
		if err := await(tid); err != nil {
			return threads, err
		}
	}
	return threads, nil
}

func detach(threads []int) {
	for _, tid := range threads {
		_ = syscall.PtraceDetach(tid)
	}
}

// await waits until a thread has stopped.
func await(tid int) error {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(tid, &status, syscall.WALL, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for a step: %w", err)
		case !status.Stopped():
			return errors.New("the program has ended")
		default:
			return nil
		}
	}
}

// isIn says whether a thread is in a system call.
func isIn(pid, tid int, call string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", pid, tid))
	number, _, _ := strings.Cut(string(text), " ")
	return err == nil && number == call
}

// TestInstructions counts those of a process whose work is known.
func TestInstructions(t *testing.T) {
	if os.Getenv(spinner) != "" {
		t.Skip("this is the process that is counted")
	}
	count := func(loops int) float64 {
		p := startSpinner(t, loops)
		n, err := instructions(p.pid, 9, p.ask)
		if err != nil {
			t.Skipf("instructions cannot be counted here: %v", err)
		}
		return n
	}
	few, many := count(1000), count(3000)
	// A loop has three or four instructions in it.
	if more := many - few; more < 2*2000 || more > 8*2000 {
		t.Errorf("%.0f and %.0f instructions: want 4,000 to 16,000 more", few, many)
	}
}
