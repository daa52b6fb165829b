package main

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// processMemory is what a process takes beside cache.memory.
	processMemory = 40 << 20
	// outsideRuntime is the part of resident memory that the runtime's limit does not
	// count: the program's own pages, above all.
	outsideRuntime = 16 << 20
	// limitEvery is how often the limit is compared with what is in use.
	limitEvery = time.Second
)

// memoryLimit is the collector's limit for a cache of this size. The runtime's own
// choice, to collect when the heap has doubled, would take up to twice what
// cache.memory says; with this limit resident memory stays within a quarter more.
// The limit is soft: a twentieth is for what is allocated while a collection runs.
func memoryLimit(cache int64) int64 {
	resident := (cache + processMemory) / 4 * 5
	return resident/20*19 - outsideRuntime
}

// keepMemory sets the collector's limit until ctx ends, unless the environment says
// how to collect: GOMEMLIMIT and GOGC are then the only ones that count.
//
// A fixed limit is a trap: when what is in use, such as the buffers of thousands of
// connections, comes near it, the collector runs without a pause and takes half of
// the CPU. So the limit gives way: an eighth of what is in use is always left to
// allocate between two collections.
func (p *program) keepMemory(ctx context.Context, cache int64) {
	if p.getenv("GOMEMLIMIT") != "" || p.getenv("GOGC") != "" {
		return
	}
	limit := memoryLimit(cache)
	before := debug.SetMemoryLimit(limit)
	defer debug.SetMemoryLimit(before)
	tick := time.NewTicker(limitEvery)
	defer tick.Stop()
	usage := newMemoryUsage()
	for set := limit; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if want := max(limit, usage.needed()); want != set {
			debug.SetMemoryLimit(want)
			set = want
		}
	}
}

// memoryUsage reads what the runtime says about its memory.
type memoryUsage struct{ samples []metrics.Sample }

func newMemoryUsage() *memoryUsage {
	names := []string{
		"/gc/heap/live:bytes", // by the last collection
		"/memory/classes/total:bytes", "/memory/classes/heap/released:bytes",
		"/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes",
	}
	u := &memoryUsage{samples: make([]metrics.Sample, len(names))}
	for i, name := range names {
		u.samples[i].Name = name
	}
	return u
}

// needed is the least limit that leaves the collector an eighth of room: over the
// live heap, and what is no heap, such as stacks.
func (u *memoryUsage) needed() int64 {
	metrics.Read(u.samples)
	value := func(i int) uint64 {
		if u.samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return u.samples[i].Value.Uint64()
	}
	live := value(0)
	other := value(1) - value(2) - value(3) - value(4)
	if n := live + live/8 + other; n < math.MaxInt64 {
		return int64(n)
	}
	return 0 // the runtime does not know one of the names
}
