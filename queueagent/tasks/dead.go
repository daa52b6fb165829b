package tasks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

const (
	// MaxDeadPage is how many dead letters one call of DeadLetters gives at most.
	MaxDeadPage = 1000
	// DeadExcerpt is how many bytes of a payload DeadLetters gives.
	DeadExcerpt = 1024
	// deadLook and deadBytes bound what one call of DeadLetters looks at.
	deadLook  = 20_000
	deadBytes = 64 << 20
	// scriptLook and scriptBytes bound what one script call reads: it holds up everything
	// else in Redis.
	scriptLook  = 256
	scriptBytes = 4 << 20
	// maxReplay is how many entries one call of replay.lua takes.
	maxReplay = 100
)

// DeadLetter is a task that was given up.
type DeadLetter struct {
	Entry  EntryID
	ID     string // of the task
	Reason string // "max_attempts", "poison", "gone", "rejected", "bad_payload", ...
	Detail string
	// Attempts and Abandons are failed attempts and leases that ended without a result.
	Attempts, Abandons int
	// Since is when the task could first have been delivered.
	Since time.Time
	// Payload may be cut short; PayloadBytes is its whole length.
	Payload      string
	PayloadBytes int
	// Damaged says what is wrong with an entry that pillion cannot have written; it
	// cannot be replayed.
	Damaged string

	typePath string
}

// Type gives the task's type, at Options.TypePath of the payload, or "". Of a payload that
// was cut short it may be missing.
func (d *DeadLetter) Type() string { return typeOf(d.Payload, d.typePath) }

// DeadFilter chooses dead letters. What is not set does not matter; the zero value
// chooses all.
type DeadFilter struct {
	Reason, ID string
	// Type is the task's type; see DeadLetter.Type.
	Type string
	// Contains is looked for in the detail and in the payload.
	Contains string
	// Since and Until bound, both included, when the task was given up, by the clock of Redis.
	Since, Until time.Time
	// After and Before bound the entry, both excluded.
	After, Before EntryID
}

// bounds gives the lowest and the highest entry; false: there is none between them.
func (f *DeadFilter) bounds() (low, high EntryID, ok bool) {
	low, high = EntryID{0, 1}, EntryID{math.MaxUint64, math.MaxUint64}
	raise := func(e EntryID) {
		if low.Less(e) {
			low = e
		}
	}
	lower := func(e EntryID) {
		if e.Less(high) {
			high = e
		}
	}
	if !f.After.IsZero() {
		raise(f.After.next())
	}
	if !f.Before.IsZero() {
		lower(f.Before.prev())
	}
	if !f.Since.IsZero() {
		raise(EntryID{uint64(max(f.Since.UnixMilli(), 0)), 0})
	}
	if !f.Until.IsZero() {
		lower(EntryID{uint64(max(f.Until.UnixMilli(), 0)), math.MaxUint64})
	}
	return low, high, !high.Less(low) && low != f.After // the last id has no next
}

// match says whether a dead letter is chosen, but for its place in the stream.
func (f *DeadFilter) match(d *DeadLetter) bool {
	switch {
	case f.Reason != "" && f.Reason != d.Reason,
		f.ID != "" && f.ID != d.ID,
		f.Contains != "" && !strings.Contains(d.Detail, f.Contains) && !strings.Contains(d.Payload, f.Contains),
		f.Type != "" && f.Type != d.Type():
		return false
	}
	return true
}

// payload gives how many bytes of each payload are needed, when a caller wants some of them.
func (f *DeadFilter) payload(want int) int {
	if f.Type != "" || f.Contains != "" {
		return -1
	}
	return want
}

// DeadQuery asks for a page of dead letters.
type DeadQuery struct {
	DeadFilter
	Newest bool // the newest first
	Limit  int  // at most MaxDeadPage; 0: that
}

// DeadPage is a page of dead letters.
type DeadPage struct {
	Letters []DeadLetter
	// Next is set when there may be more: the last entry that was looked at, as the After
	// (or Before, with Newest) of the next page. A page that a filter has emptied may
	// have one.
	Next EntryID
}

var errEnough = errors.New("the page is full")

// DeadLetters gives a page of dead letters, with the beginning of their payloads. It looks
// at a bounded number of them, so with a filter it may find fewer than there are.
func (s *Store) DeadLetters(ctx context.Context, q DeadQuery) (page DeadPage, err error) {
	limit := q.Limit
	if limit <= 0 || limit > MaxDeadPage {
		limit = MaxDeadPage
	}
	looked, bytes := 0, 0
	var last EntryID
	low, high, ok := q.bounds()
	if !ok {
		return DeadPage{}, nil
	}
	want := q.payload(DeadExcerpt)
	err = s.scanDead(ctx, deadRange{low: low, high: high, newest: q.Newest, payload: want}, func(d *DeadLetter) error {
		if len(page.Letters) == limit || looked == deadLook || bytes > deadBytes {
			page.Next = last
			return errEnough
		}
		looked, last = looked+1, d.Entry
		bytes += len(d.Payload)
		if q.match(d) {
			// A copy: what is kept of ten megabytes must not be all of them.
			d.Payload = strings.Clone(d.Payload[:min(len(d.Payload), DeadExcerpt)])
			page.Letters = append(page.Letters, *d)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return page, err
}

// DeadLetter gives one dead letter whole; false: there is none of that name.
func (s *Store) DeadLetter(ctx context.Context, entry EntryID) (d DeadLetter, found bool, err error) {
	err = s.scanDead(ctx, deadRange{low: entry, high: entry, payload: -1}, func(got *DeadLetter) error {
		d, found = *got, true
		return nil
	})
	return d, found, err
}

// EachDead calls visit with every dead letter that is chosen, oldest first and whole, up to
// the last one that was there when it began. It ends with visit's error, or ctx's.
func (s *Store) EachDead(ctx context.Context, f DeadFilter, visit func(*DeadLetter) error) error {
	low, high, ok, err := s.sweepRange(ctx, &f)
	if err != nil || !ok {
		return err
	}
	return s.scanDead(ctx, deadRange{low: low, high: high, payload: -1}, func(d *DeadLetter) error {
		if !f.match(d) {
			return nil
		}
		return visit(d)
	})
}

// deadRange says which dead letters to read, and how much of their payloads.
type deadRange struct {
	low, high EntryID
	newest    bool
	payload   int
	one       bool // the first is enough
}

// scanDead calls visit with each dead letter of a range. No more than a page of them is held
// at a time.
func (s *Store) scanDead(ctx context.Context, r deadRange, visit func(*DeadLetter) error) error {
	order, most := "old", scriptLook
	if r.newest {
		order = "new"
	}
	if r.one {
		most = 1
	}
	for !r.high.Less(r.low) {
		if err := ctx.Err(); err != nil {
			return err
		}
		reply, err := s.exec(ctx, s.Scripts.dead, []string{s.Keys.Dead}, []string{
			r.low.String(), r.high.String(), order, strconv.Itoa(most), strconv.Itoa(scriptBytes), strconv.Itoa(r.payload),
		}).ToArray()
		if err != nil {
			return err
		}
		last, more, err := eachEntry(reply, func(d *DeadLetter) error {
			d.typePath = s.TypePath
			return visit(d)
		})
		if err != nil || !more {
			return err
		}
		if r.newest {
			r.high = last.prev() // of 0-1, the first that there can be, 0-0: below any low
		} else if r.low = last.next(); r.low == last {
			return nil
		}
	}
	return nil
}

// eachEntry takes a reply of dead.lua apart.
func eachEntry(reply []rueidis.RedisMessage, visit func(*DeadLetter) error) (last EntryID, more bool, err error) {
	if len(reply) == 0 {
		return last, false, errors.New("dead gave an empty reply")
	}
	n, err := reply[0].AsInt64()
	if err != nil {
		return last, false, err
	}
	for i := range reply[1:] {
		d, err := parseDead(&reply[i+1])
		if err != nil {
			return last, false, err
		}
		if err := visit(&d); err != nil {
			return last, false, err
		}
		last = d.Entry
	}
	return last, n == 1 && len(reply) > 1, nil
}

// parseDead reads one entry as dead.lua gives it.
func parseDead(m *rueidis.RedisMessage) (d DeadLetter, err error) {
	parts, err := m.ToArray()
	if err != nil || len(parts) < 2 || len(parts)%2 != 0 {
		return d, fmt.Errorf("dead gave an entry of %d values: want an even number", len(parts))
	}
	id, err := parts[0].ToString()
	if err != nil {
		return d, err
	}
	if d.Entry, err = ParseEntryID(id); err != nil {
		return d, err
	}
	size, err := parts[1].AsInt64()
	if err != nil {
		return d, err
	}
	fields := make(map[string]string, len(parts)/2)
	for i := 2; i < len(parts); i += 2 {
		name, errA := parts[i].ToString()
		value, errB := parts[i+1].ToString()
		if err := errors.Join(errA, errB); err != nil {
			return d, err
		}
		fields[name] = value
	}
	d.PayloadBytes = int(size)
	d.read(fields)
	return d, nil
}

// read takes in the fields, as bury in common.lua writes them.
func (d *DeadLetter) read(fields map[string]string) {
	d.ID, d.Reason, d.Detail, d.Payload = fields["id"], fields["reason"], fields["detail"], fields["payload"]
	number := func(name string) int64 {
		n, err := strconv.ParseInt(fields[name], 10, 64)
		if err != nil || n < 0 {
			d.Damaged = "its field " + name + " is not a count"
			return 0
		}
		return n
	}
	d.Attempts, d.Abandons = int(number("attempts")), int(number("abandons"))
	d.Since = time.UnixMilli(number("since"))
	switch {
	case d.ID == "":
		d.Damaged = "it has no field id"
	case strings.ContainsAny(d.ID, "| \t\n\v\f\r"):
		d.Damaged = "its field id has a | or white space in it"
	case d.PayloadBytes < 0:
		d.Damaged, d.PayloadBytes = "it has no field payload", 0
	}
}
