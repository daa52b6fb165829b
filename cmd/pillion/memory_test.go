package main

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
)

func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for cache, want := range map[int64]int64{1: 32, 16: 50, 128: 183, 1024: 1247} {
		if got := memoryLimit(cache*mib) / mib; got != want {
			t.Errorf("cache.memory %d MiB: limit %d MiB, want %d", cache, got, want)
		}
	}
}

// What is in use always leaves an eighth of room, whatever the limit.
func TestMemoryNeeded(t *testing.T) {
	ballast := make([]byte, 64<<20)
	for i := range ballast {
		ballast[i] = 1
	}
	debug.FreeOSMemory() // collects: what lives is known then
	if n := newMemoryUsage().needed(); n < 72<<20 || n > 512<<20 {
		t.Errorf("64 MiB and the rest need %d bytes", n)
	}
	runtime.KeepAlive(ballast)
}

func TestMemoryIsLeftToTheEnvironment(t *testing.T) {
	before, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, env := range []string{"GOMEMLIMIT=1GiB", "GOGC=50"} {
		p := &program{env: []string{env}}
		p.keepMemory(context.Background(), 1<<20) // returns at once
	}
	(&program{}).keepMemory(ended, 1<<20)
	if after := debug.SetMemoryLimit(-1); after != before {
		t.Errorf("the limit was %d and is %d", before, after)
	}
	if after := debug.SetGCPercent(percent); after != 100 {
		t.Errorf("GOGC was 100 and is %d", after)
	}
}

// A heap with little in it grows to leastHeap before it is collected, and a large one
// is left to the runtime.
func TestCollectorPercent(t *testing.T) {
	debug.FreeOSMemory() // collects: what lives is known then
	u := newMemoryUsage()
	percent := u.percent()
	live, scanned := u.value(0), u.value(0)+u.value(5)+u.value(6)
	if live == 0 || u.value(5) == 0 || u.value(6) == 0 {
		t.Fatalf("the runtime does not know its live heap, stacks or globals: %d %d %d", live, u.value(5), u.value(6))
	}
	if goal := live + scanned*uint64(percent)/100; percent < maxPercent && (goal < leastHeap*9/10 || goal > leastHeap*11/10) {
		t.Errorf("GOGC %d for a live heap of %d: the next collection is at %d", percent, live, goal)
	}
	ballast := make([]byte, leastHeap)
	for i := range ballast {
		ballast[i] = 1
	}
	debug.FreeOSMemory()
	if n := u.percent(); n != minPercent {
		t.Errorf("GOGC %d for a live heap of more than %d", n, leastHeap)
	}
	runtime.KeepAlive(ballast)
}

func TestContainerLimit(t *testing.T) {
	const mib = 1 << 20
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for name, tc := range map[string]struct {
		files fstest.MapFS
		want  int64
	}{
		"nothing": {fstest.MapFS{}, math.MaxInt64},
		"version 2": {fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("104857600\n"),
		}, 90 * mib},
		"version 2 without a limit": {fstest.MapFS{
			"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n"),
		}, math.MaxInt64},
		"of a group above": {fstest.MapFS{
			"proc/self/cgroup": file("0::/pod/box\n"), "sys/fs/cgroup/pod/box/memory.max": file("max\n"), "sys/fs/cgroup/pod/memory.max": file("209715200\n"),
		}, 180 * mib},
		"version 1, with the path of the host": {fstest.MapFS{
			"proc/self/cgroup": file("5:cpu:/x\n4:memory:/docker/abc\n"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("104857600\n"),
		}, 90 * mib},
	} {
		if got := containerLimit(tc.files); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
