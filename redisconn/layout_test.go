package redisconn

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// bracketed knows values such as "head[body]tail", of keys that begin with "e:".
func bracketed() Layout {
	return Layout{Prefix: "e:", Cut: func(data []byte) (from, to int, ok bool) {
		from, to = bytes.IndexByte(data, '[')+1, bytes.LastIndexByte(data, ']')
		return from, to, from > 0 && to >= from
	}}
}

func laidOut(limit int64) (*memory, *store) {
	m := newMemory(limit, false)
	m.layout = bracketed()
	return m, &store{mem: m}
}

func (st *store) keep(key, data string) {
	v := newValue(key, data, true)
	v.owner, v.localUntil = st, 1<<60
	st.mem.put(v)
}

func TestLaidOutValueIsTheSameInLessMemory(t *testing.T) {
	m, st := laidOut(64 << 20)
	now := time.Now()
	for _, c := range []struct {
		key              string
		head, body, tail int
		cut              bool
	}{
		{"e:apart", 180, 1024, 8, true}, // 1,216 bytes take a sixth of a page
		{"e:large", 200, 32 << 10, 8, true},
		{"e:whole", 20, 990, 4, false},        // just below 1,024
		{"e:no gain", 100, 1 << 20, 8, false}, // what could be saved is not worth a copy
		{"e:bodiless", 300, 0, 8, false},
		{"e:tailless", 180, 1024, 0, true},
		{"plain", 180, 1024, 8, false},
	} {
		t.Run(c.key, func(t *testing.T) {
			head, body, tail := strings.Repeat("h", c.head-1)+"[", strings.Repeat("b", c.body), "]"+strings.Repeat("t", c.tail)
			st.keep(c.key, head+body+tail)
			v := m.find([]byte(c.key), now)
			if v == nil || !v.Exists() || v.String() != head+body+tail {
				t.Fatal("another value is in memory")
			}
			rest, cut := v.Parts()
			want, wantCut := head+body+tail, ""
			if c.cut {
				want, wantCut = head+tail, body
			}
			if string(rest) != want || string(cut) != wantCut || (cut == nil) == c.cut {
				t.Errorf("cut into %d and %d bytes, want %d and %d", len(rest), len(cut), len(want), len(wantCut))
			}
			plain := m.allocated(len(c.key)) + m.allocated(len(head+body+tail)) + valueOverhead
			if cost := m.cost(v); c.cut && cost >= plain || cost > plain {
				t.Errorf("costs %d bytes, and %d if it were not laid out", cost, plain)
			}
			if laid := strings.HasPrefix(c.key, "e:"); laid && v.Key() != "" || !laid && v.Key() != c.key {
				t.Errorf("its key is %q", v.Key())
			}
			m.drop(c.key)
			if m.find([]byte(c.key), now) != nil || v.Unchanged() {
				t.Error("the invalidation of the key is not one of the value")
			}
		})
	}
	if items, bytes, _ := m.sum(); items != 0 || bytes != 0 {
		t.Errorf("after everything is dropped: %d items, %d bytes", items, bytes)
	}
}

// Whatever is laid out, and however: what memory counts stays what its values cost, and
// what is evicted, replaced and dropped is found by the key's hash alone.
func TestLaidOutValuesAreCountedAndEvicted(t *testing.T) {
	m, st := laidOut(1 << 20)
	for round := range 2 {
		for i := range 2000 {
			data := "head[" + strings.Repeat("b", i) + "]tail"
			st.keep(fmt.Sprint([]string{"e:", "p:"}[i%2], i), data)
			if v := m.find(fmt.Append(nil, []string{"e:", "p:"}[i%2], i), time.Now()); v == nil || v.String() != data {
				t.Fatalf("value %d is not what was kept", i)
			} else if i%3 == round {
				v.SetDecoded(i, 100)
			}
		}
		if items, bytes, costs := m.sum(); bytes != costs || bytes > 1<<20 || items == 0 {
			t.Fatalf("%d values: %d bytes, %d by their own count", items, bytes, costs)
		}
	}
	if m.evicted.Load() == 0 {
		t.Error("nothing was evicted")
	}
	for i := range 2000 {
		m.drop(fmt.Sprint([]string{"e:", "p:"}[i%2], i))
	}
	if items, bytes, _ := m.sum(); items != 0 || bytes != 0 {
		t.Errorf("after everything is dropped: %d items, %d bytes", items, bytes)
	}
}

// A form that is charged is not given up for one that is not: its cost would stay.
func TestSharedFormLeavesADecodedOne(t *testing.T) {
	m, st := laidOut(64 << 20)
	st.keep("k", "v")
	v := m.find([]byte("k"), time.Now())
	v.SetDecoded("mine", 100)
	v.Share(v.Shared(), NewDecoded("shared"))
	if got := v.Decoded(); got != "mine" {
		t.Errorf("the form is %v", got)
	}
	if _, bytes, costs := m.sum(); bytes != costs {
		t.Errorf("%d bytes, %d by their own count", bytes, costs)
	}
}
