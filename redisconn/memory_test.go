package redisconn

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// fill puts values into memory as the connection does.
func fill(st *store, from, to, size int) {
	for i := from; i < to; i++ {
		st.keep(fmt.Sprint("k", i), strings.Repeat("x", size))
	}
}

func (m *memory) sum() (items int, bytes, costs int64) {
	for i := range m.shards {
		s := &m.shards[i]
		items += s.filled()
		bytes += s.bytes
		for v := s.newest; v != nil; v = v.older {
			costs += m.cost(v)
		}
	}
	return items, bytes, costs
}

func TestDecodedFormCountsAgainstTheLimit(t *testing.T) {
	m := newMemory(1<<20, false)
	st := &store{mem: m}
	fill(st, 0, 50, 10_000)
	before, bytes, _ := m.sum()
	kept := make([]*Value, 0, 50)
	for v := m.shards[0].newest; v != nil; v = v.older {
		kept = append(kept, v)
	}
	for range 2 { // a value that is decoded twice is charged once
		for _, v := range kept {
			v.SetDecoded("decoded", 20_000)
			if got := v.Decoded(); got != "decoded" {
				t.Fatalf("decoded form is %v", got)
			}
		}
	}
	after, grown, costs := m.sum()
	if after >= before || grown > 1<<20 || grown <= bytes || grown != costs {
		t.Fatalf("%d values of %d bytes became %d of %d (%d by their own count)", before, bytes, after, grown, costs)
	}
	if m.evicted.Load() == 0 {
		t.Error("no eviction is counted")
	}
	for i := range 50 {
		m.drop(fmt.Sprint("k", i))
	}
	if items, bytes, _ := m.sum(); items != 0 || bytes != 0 {
		t.Fatalf("after everything is dropped: %d items, %d bytes", items, bytes)
	}
	kept[0].SetDecoded("later", 1000) // of a value that is gone: costs memory nothing
	if _, bytes, _ := m.sum(); bytes != 0 {
		t.Errorf("%d bytes for a value that is gone", bytes)
	}
}

func TestFlushLeavesNothingBehind(t *testing.T) {
	m := newMemory(1<<20, false)
	st := &store{mem: m}
	fill(st, 0, 10, 100)
	kept := m.find([]byte("k5"), time.Now())
	m.flush()
	if m.find([]byte("k5"), time.Now()) != nil || kept.Unchanged() {
		t.Error("a value that was flushed is as if it were in memory")
	}
	if kept.older != nil || kept.newer != nil {
		t.Error("who has one value keeps those beside it")
	}
	kept.SetDecoded("later", 1000)
	fill(st, 20, 30, 100)
	if items, bytes, costs := m.sum(); items != 10 || bytes != costs {
		t.Errorf("%d items, %d bytes, %d by their own count", items, bytes, costs)
	}
}

func TestEndOfAConnectionTakesItsValuesAlone(t *testing.T) {
	m := newMemory(1<<20, true)
	ended, other := &store{mem: m}, &store{mem: m}
	for i := range 30 {
		fill([]*store{ended, other, other}[i%3], i, i+1, 100)
	}
	ended.Close(nil)
	for i := range 30 {
		if there := m.find(fmt.Append(nil, "k", i), time.Now()) != nil; there != (i%3 > 0) {
			t.Errorf("value %d is in memory: %v", i, there)
		}
	}
	if items, bytes, costs := m.sum(); items != 20 || bytes != costs {
		t.Errorf("%d items, %d bytes, %d by their own count", items, bytes, costs)
	}
}

// Reading a value from Redis looks it up once, to decode it once. That is no visit:
// with it, what a scan leaves behind would look as useful as what is read again.
func TestScanOfWhatIsReadOnceLeavesTheRest(t *testing.T) {
	m := newMemory(4<<20, false)
	st := &store{mem: m}
	fill(st, 0, 100, 10_000)
	now := time.Now()
	for i := 100; i < 20_000; i++ {
		fill(st, i, i+1, 10_000)
		m.find([]byte(fmt.Sprint("k", i)), now)
		if hot := []byte(fmt.Sprint("k", i%100)); m.get(hot, now) == nil {
			t.Fatalf("%s was evicted by value %d of a scan", hot, i)
		}
	}
}
