//go:build linux

package ledger

import (
	"bytes"
	"hash/maphash"
	"strconv"
	"sync/atomic"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// sources are the three kinds; task n is of the source n mod 3.
var sources = [...]tasks.Kind{tasks.List, tasks.Delay, tasks.Stream}

// payload appends what task n consists of: its number, and bytes of any value whose
// number and content depend on it.
func payload(buf []byte, n int) []byte {
	buf = append(strconv.AppendInt(buf, int64(n), 10), ' ')
	x := uint64(n)*0x9E3779B97F4A7C15 + 1
	for range 8 + x>>59 { // 8 to 39 bytes
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		buf = append(buf, byte(x>>24))
	}
	return buf
}

// number reads the number of a task from its payload; false unless every byte is right.
func number(got []byte, total int) (int, bool) {
	digits, _, ok := bytes.Cut(got, []byte(" "))
	n, err := strconv.Atoi(string(digits))
	if !ok || err != nil || n < 0 || n >= total {
		return 0, false
	}
	var room [64]byte
	return n, bytes.Equal(got, payload(room[:0], n))
}

// book is the ledger: what the application did, and what may excuse a repetition. Safe
// for concurrent use.
type book struct {
	done    []atomic.Uint32 // by task: how often the application did it
	id      []atomic.Uint64 // by task: hash of the webhook-id at the first time
	excuses []atomic.Uint32 // by task: failures during which it was in flight
	seed    maphash.Seed

	distinct atomic.Int64               // tasks done
	corrupt  atomic.Int64               // deliveries with wrong bytes, or at the wrong URL
	renamed  atomic.Int64               // repetitions under another webhook-id
	byReason [len(reasons)]atomic.Int64 // repetitions
}

// reasons are the values of Pillion-Reason that a repetition is counted under.
var reasons = [...]string{"first", "retry", "crash", "other"}

func newBook(total int) *book {
	return &book{
		done: make([]atomic.Uint32, total), id: make([]atomic.Uint64, total),
		excuses: make([]atomic.Uint32, total), seed: maphash.MakeSeed(),
	}
}

// note enters that the application has done a task.
func (b *book) note(n int, id, reason []byte) {
	sum := maphash.Bytes(b.seed, id) | 1
	if !b.id[n].CompareAndSwap(0, sum) && b.id[n].Load() != sum {
		b.renamed.Add(1)
	}
	if b.done[n].Add(1) == 1 {
		b.distinct.Add(1)
		return
	}
	for i, r := range reasons {
		if r == string(reason) || i == len(reasons)-1 {
			b.byReason[i].Add(1)
			break
		}
	}
}

// excuse enters that a failure happened while these tasks were in flight.
func (b *book) excuse(ns ...int) {
	for _, n := range ns {
		b.excuses[n].Add(1)
	}
}

// line is the balance of one source.
type line struct {
	source                        string
	tasks, delivered, lost, twice int
	// bound is the sum of the deliveries in flight over all failures; unexcused counts
	// repetitions of tasks that were in flight at no failure, or at fewer.
	bound, unexcused int
}

// balance adds up one source's tasks.
func (b *book) balance(source int) line {
	l := line{source: string(sources[source])}
	for n := source; n < len(b.done); n += len(sources) {
		done, excuses := int(b.done[n].Load()), int(b.excuses[n].Load())
		l.tasks++
		l.bound += excuses
		if done == 0 {
			l.lost++
			continue
		}
		l.delivered++
		l.twice += done - 1
		l.unexcused += max(0, done-1-excuses)
	}
	return l
}
