package redisconn

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// Against a map, with hashes of few bits: most searches pass others of the same home and
// the same hash, and every order of removing is tried.
func TestTableIsAMap(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		bits := r.IntN(9) // 0: all have one hash
		hashes := make([]uint64, 300)
		for i := range hashes {
			hashes[i] = r.Uint64() << (64 - bits) // to the upper half, which the home is of
		}
		var tab table
		model := make(map[int]*Value)
		for step := range 2000 {
			i := r.IntN(1 + r.IntN(len(hashes)))
			n := name{hash: hashes[i], key: fmt.Sprint(i)}
			switch v := model[i]; {
			case v != nil && r.IntN(2) == 0:
				tab.remove(n.hash, v)
				delete(model, i)
			case v == nil:
				model[i] = newValue(n.key, "", true)
				tab.put(n.hash, model[i])
			}
			for j := range min(step, len(hashes)) {
				if got := tab.get(name{hash: hashes[j], key: fmt.Sprint(j)}); got != model[j] {
					t.Fatalf("seed %d, step %d: key %d gives %p, want %p", seed, step, j, got, model[j])
				}
				if step%50 != 0 {
					break
				}
			}
			if tab.filled != len(model) || tab.filled > 0 && tab.filled > len(tab.slots)*4/5 {
				t.Fatalf("seed %d: %d filled of %d, %d in the map", seed, tab.filled, len(tab.slots), len(model))
			}
		}
	}
}

// laidWith makes a value that is laid out, of a key with that hash.
func laidWith(hash uint64, data string) *Value {
	v := newValue(string(binary.LittleEndian.AppendUint64(nil, hash)), data, true)
	v.flags.set(flagLaid)
	return v
}

// Keys with one hash: no key gets the value of one that is not its like, and what is
// changed is gone, whatever has the same hash.
func TestCollisionOfHashes(t *testing.T) {
	m, st := laidOut(1 << 20)
	hash := m.hash("e:1")
	entry := name{hash, "e:1", true}
	s := m.shardOf(hash)
	add := func(v *Value) *Value {
		v.owner = st
		s.table(hash).put(hash, v)
		return v
	}
	laid := add(laidWith(hash, "a response"))
	if s.table(hash).get(name{hash: hash, key: "session:1"}) != nil {
		t.Error("a response is given for a session")
	}
	mine := add(newValue("session:1", "a session", true))
	for key, want := range map[string]*Value{"session:1": mine, "session:2": nil} {
		if got := s.table(hash).get(name{hash: hash, key: key}); got != want {
			t.Errorf("%s: %v", key, got)
		}
	}
	if s.table(hash).get(entry) != laid || s.table(hash).get(name{hash + 1, "e:1", true}) != nil {
		t.Error("a response is not found by its hash, or by another")
	}
	// An absence has its key. The response of another key may hide it.
	absent := add(newValue("e:1", "", false))
	m.forget(s, entry)
	if s.table(hash).get(entry) != nil || laid.Unchanged() || absent.Unchanged() {
		t.Error("a change left something behind")
	}
	if s.table(hash).get(name{hash: hash, key: "session:1"}) != mine || !mine.Unchanged() {
		t.Error("a change of another key took the session")
	}
}
