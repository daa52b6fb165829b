package tasks

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// EntryID names an entry of a stream: "<ms>-<number>", where ms is when it was added by
// the clock of Redis. The zero value names none.
type EntryID struct{ MS, Seq uint64 }

// ParseEntryID reads a whole id: "<ms>-<number>".
func ParseEntryID(s string) (EntryID, error) {
	ms, seq, ok := strings.Cut(s, "-")
	a, errA := strconv.ParseUint(ms, 10, 64)
	b, errB := strconv.ParseUint(seq, 10, 64)
	if !ok || errA != nil || errB != nil || a == 0 && b == 0 { // Redis gives no entry the id 0-0
		return EntryID{}, fmt.Errorf("%.40q is not the id of an entry: write it as 1700000000000-0", s)
	}
	return EntryID{a, b}, nil
}

// String writes the id as Redis does.
func (e EntryID) String() string {
	return strconv.FormatUint(e.MS, 10) + "-" + strconv.FormatUint(e.Seq, 10)
}

// IsZero says that it names no entry.
func (e EntryID) IsZero() bool { return e == EntryID{} }

// Time gives when the entry was added, by the clock of Redis.
func (e EntryID) Time() time.Time { return time.UnixMilli(int64(min(e.MS, math.MaxInt64))) }

// Less orders ids as the stream does.
func (e EntryID) Less(other EntryID) bool {
	return e.MS < other.MS || e.MS == other.MS && e.Seq < other.Seq
}

// next gives the id after this one; the last is its own next.
func (e EntryID) next() EntryID {
	switch {
	case e.Seq < math.MaxUint64:
		e.Seq++
	case e.MS < math.MaxUint64:
		e.MS, e.Seq = e.MS+1, 0
	}
	return e
}

// prev gives the id before this one; the first is its own.
func (e EntryID) prev() EntryID {
	switch {
	case e.Seq > 0:
		e.Seq--
	case e.MS > 0:
		e.MS, e.Seq = e.MS-1, math.MaxUint64
	}
	return e
}
