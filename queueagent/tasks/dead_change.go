package tasks

import (
	"context"
	"errors"
	"fmt"
)

// Swept says how far a change of many dead letters has come.
type Swept struct {
	Changed int // dead letters that were replayed or deleted
	// Done is false when the time was up. The same filter with this After and Before does
	// the rest, and nothing that was given up meanwhile.
	Done          bool
	After, Before EntryID
}

// ReplayDead makes tasks of all dead letters that are chosen, oldest first, up to the last
// one that was there when it began: a task that dies again meanwhile is not
// replayed for ever. When ctx ends, it has done a part.
func (s *Store) ReplayDead(ctx context.Context, f DeadFilter) (Swept, error) {
	return s.sweep(ctx, f, s.ReplayEntries)
}

// DeleteDead removes all dead letters that are chosen, as ReplayDead replays them.
func (s *Store) DeleteDead(ctx context.Context, f DeadFilter) (Swept, error) {
	return s.sweep(ctx, f, s.DeleteEntries)
}

// ReplayEntries makes tasks of dead letters by their entries, and gives how many it was.
// What is not there any more, or whose task is, is left out. Due at once, no attempt consumed.
func (s *Store) ReplayEntries(ctx context.Context, entries []EntryID) (moved int, err error) {
	return inParts(entries, func(ids []string) (int64, error) {
		reply, err := s.run(ctx, s.Scripts.replay, []string{s.Keys.Records, s.Keys.Retry, s.Keys.Dead}, ids)
		if err != nil {
			return 0, err
		}
		n, err := ints(reply, 2)
		if err != nil {
			return 0, err
		}
		return n[1], nil
	})
}

// DeleteEntries removes dead letters by their entries, and gives how many were there.
func (s *Store) DeleteEntries(ctx context.Context, entries []EntryID) (removed int, err error) {
	return inParts(entries, func(ids []string) (int64, error) {
		c, err := s.client()
		if err != nil {
			return 0, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CallTimeout)
		defer cancel()
		return c.Do(ctx, c.B().Xdel().Key(s.Keys.Dead).Id(ids...).Build()).AsInt64()
	})
}

// inParts makes calls of as many entries as one may have.
func inParts(entries []EntryID, call func(ids []string) (int64, error)) (sum int, err error) {
	for len(entries) > 0 {
		n := min(len(entries), maxReplay)
		ids := make([]string, n)
		for i, e := range entries[:n] {
			ids[i] = e.String()
		}
		changed, err := call(ids)
		sum += int(changed)
		if err != nil {
			return sum, err
		}
		entries = entries[n:]
	}
	return sum, nil
}

// sweepRange gives the entries that a change of all is about.
func (s *Store) sweepRange(ctx context.Context, f *DeadFilter) (low, high EntryID, ok bool, err error) {
	low, high, ok = f.bounds()
	if !ok {
		return low, high, false, nil
	}
	ok = false
	err = s.scanDead(ctx, deadRange{low: low, high: high, newest: true, one: true}, func(d *DeadLetter) error {
		high, ok = d.Entry, true
		return errEnough
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return low, high, ok, err
}

// sweep makes a change of all dead letters that are chosen.
func (s *Store) sweep(ctx context.Context, f DeadFilter, change func(context.Context, []EntryID) (int, error)) (Swept, error) {
	low, high, ok, err := s.sweepRange(ctx, &f)
	if err != nil || !ok {
		return Swept{Done: err == nil}, err
	}
	out := Swept{After: f.After, Before: high.next()}
	var found []EntryID
	flush := func(last EntryID) error {
		n, err := change(ctx, found)
		out.Changed += n
		if err != nil {
			return fmt.Errorf("after %d dead letters: %w", out.Changed, err)
		}
		found, out.After = found[:0], last
		return nil
	}
	var last EntryID
	err = s.scanDead(ctx, deadRange{low: low, high: high, payload: f.payload(0)}, func(d *DeadLetter) error {
		last = d.Entry
		if f.match(d) {
			if found = append(found, d.Entry); len(found) == maxReplay {
				return flush(last)
			}
		}
		return nil
	})
	cut := err != nil && errors.Is(err, ctx.Err())
	if cut {
		err = nil
	}
	if err == nil && !last.IsZero() { // or a filter that finds little would never come on
		err = flush(last)
	}
	out.Done = err == nil && !cut
	return out, err
}
