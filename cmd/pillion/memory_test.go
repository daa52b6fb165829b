package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
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
	before := debug.SetMemoryLimit(-1)
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
}
