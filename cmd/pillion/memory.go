package main

import (
	"context"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

const (
	// processMemory is what a process takes beside cache.memory.
	processMemory = 40 << 20
	// outsideRuntime is the part of resident memory that the runtime's limit does not
	// count: the program's own pages, above all.
	outsideRuntime = 16 << 20
	// leastHeap is the heap at which a collection is worth its cost. The runtime would
	// collect at twice what lives, and next to nothing lives in a small sidecar: it would
	// walk the stacks of all connections again for every few megabytes.
	leastHeap = 32 << 20
	// minPercent and maxPercent bound GOGC; the first is the runtime's own choice.
	minPercent = 100
	maxPercent = 800
	// least is what is left to allocate between two collections at least, however close
	// the limit is.
	least = 16 << 20
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
// allocate between two collections. It gives way up to the limit of the container, less
// a tenth: beyond that the kernel ends the process.
func (p *program) keepMemory(ctx context.Context, cache int64) {
	if p.getenv("GOMEMLIMIT") != "" || p.getenv("GOGC") != "" {
		return
	}
	most := containerLimit(os.DirFS("/"))
	limit := min(memoryLimit(cache), most)
	usage := newMemoryUsage()
	percent := usage.percent()
	limitBefore, percentBefore := debug.SetMemoryLimit(limit), debug.SetGCPercent(percent)
	defer func() {
		debug.SetMemoryLimit(limitBefore)
		debug.SetGCPercent(percentBefore)
	}()
	tick := time.NewTicker(limitEvery)
	defer tick.Stop()
	for set := limit; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if want := min(max(limit, usage.needed()), most); want != set {
			debug.SetMemoryLimit(want)
			set = want
		}
		// Setting it stops the world for a moment: not for a small difference.
		if want := usage.percent(); want < percent*7/8 || want > percent*9/8 {
			debug.SetGCPercent(want)
			percent = want
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
		"/gc/scan/stack:bytes", "/gc/scan/globals:bytes",
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
	live := u.value(0)
	other := u.value(1) - u.value(2) - u.value(3) - u.value(4)
	if n := live + max(live/8, least) + other; n < math.MaxInt64 {
		return int64(n)
	}
	return 0 // the runtime does not know one of the names
}

// percent is the GOGC with which the heap grows to leastHeap before it is collected. The
// runtime takes it of what it has to scan: what lives, and stacks and globals.
func (u *memoryUsage) percent() int {
	metrics.Read(u.samples)
	live := u.value(0)
	scanned := live + u.value(5) + u.value(6)
	if live >= leastHeap {
		return minPercent
	}
	return int(min(max((leastHeap-live)*100/max(scanned, 1), minPercent), maxPercent))
}

func (u *memoryUsage) value(i int) uint64 {
	if u.samples[i].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return u.samples[i].Value.Uint64()
}

// containerLimit is nine tenths of the memory that the process may have by its control
// group and those above; math.MaxInt64 when none sets a limit, or none can be read.
func containerLimit(root fs.FS) int64 {
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(string(groups)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		dir, file := "sys/fs/cgroup", "memory.max" // version 2
		if controllers == "memory" {
			dir, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if controllers != "" {
			continue
		}
		// In a container the path may be the host's, and the files lie at the top.
		for at := path.Join("/", group); ; at = path.Dir(at) {
			limit = min(limit, readLimit(root, path.Join(dir, at, file)))
			if at == "/" {
				break
			}
		}
	}
	return limit
}

// readLimit gives nine tenths of the number in a file; "max" is no number.
func readLimit(root fs.FS, name string) int64 {
	text, _ := fs.ReadFile(root, name)
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n / 10 * 9
}
