//go:build !race

// The race detector changes what allocations cost.

package redisconn

import (
	"runtime"
	"slices"
	"testing"
	"unsafe"
)

// spans gives what the spans in use take.
func spans() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // sweeps what the first has found
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// The end of a span is part of what its objects take: for some sizes a tenth of it.
func TestAllocatedIsWhatTheAllocatorTakes(t *testing.T) {
	m := newMemory(1<<20, false)
	sizes := []int{16, 33, 100, 200, 1000, 1024, 1280, 1281, 1700, 3000, 4097, 5000, 6500, 9000, 12_000, 17_000, 20_000, 28_000, 32_768, 32_769, 70_000}
	for _, n := range sizes {
		const total = 4 << 20
		kept := make([][]byte, max(total/n, 100))
		was := spans()
		for i := range kept {
			kept[i] = make([]byte, n)
		}
		took := float64(spans()-was) / float64(len(kept))
		if counted := float64(m.allocated(n)); took < counted*0.97-1 || took > counted*1.03+1 {
			t.Errorf("%d bytes take %.0f, and are counted as %.0f", n, took, counted)
		}
		runtime.KeepAlive(kept)
	}
	if m.allocated(0) != 0 || m.allocated(1) != tiny {
		t.Errorf("nothing takes %d bytes, and one byte %d", m.allocated(0), m.allocated(1))
	}
	if !slices.IsSortedFunc(m.classes, func(a, b sizeClass) int { return a.size - b.size }) {
		t.Error("size classes are out of order")
	}
}

// One byte more and each stored response takes sixteen more.
func TestValueFillsItsSizeClass(t *testing.T) {
	if n := unsafe.Sizeof(Value{}); n > 80 {
		t.Errorf("a Value is %d bytes", n)
	}
}
