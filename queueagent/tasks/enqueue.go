package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ErrFIFODelay says that a queue in strict order takes no delayed tasks.
var ErrFIFODelay = errors.New("the queue is strictly in order (fifo), so a task of it cannot be delayed: use another queue")

// ErrFIFOSource says that nothing can be added in order to the source of a queue in
// strict order: a record would overtake what waits in the source.
var ErrFIFOSource = errors.New("the queue is strictly in order (fifo), and its source is neither a list nor a stream with a field, so a task would overtake others: name the field, or use another queue")

// NewTask is a task to add.
type NewTask struct {
	Payload string
	// ID must be unique; it becomes the task's id where the source does not hold it.
	ID string
	// Delay is how long it must not be delivered yet.
	Delay time.Duration
	// Dedup names the task: while a task of that name was added no longer than DedupFor
	// ago, whatever became of it, another is not added. "" adds in any case.
	Dedup    string
	DedupFor time.Duration
}

// Added says what became of a NewTask.
type Added struct {
	// Duplicate: a task of that deduplication key was there, and nothing was added.
	Duplicate bool
	// Due is when a task that the source does not hold is due, by our clock; else zero.
	Due time.Time
}

// Enqueue adds a task. A task that is due at once goes into a list, or a stream with a
// named field, where others are; any other becomes a record that waits for its time.
// After an error it is not known whether the task was added; with a deduplication key
// the call can be repeated.
func (s *Store) Enqueue(ctx context.Context, t NewTask) (Added, error) {
	if err := s.Accepts(t.Delay); err != nil {
		return Added{}, err
	}
	where, dedupKey, ttl := s.placeOf(t), s.Keys.Records, int64(0)
	if t.Dedup != "" {
		dedupKey, ttl = s.Keys.dedup(t.Dedup), max(t.DedupFor.Milliseconds(), 1)
	}
	reply, err := s.run(ctx, s.Scripts.enqueue,
		[]string{s.Keys.Source, s.Keys.Records, s.Keys.Retry, dedupKey},
		[]string{where, t.Payload, t.ID, millisUp(t.Delay), strconv.FormatInt(ttl, 10), s.Source.Field})
	if err != nil {
		return Added{}, err
	}
	n, err := ints(reply, 3)
	if err != nil {
		return Added{}, fmt.Errorf("enqueue: %w", err)
	}
	added := Added{Duplicate: n[1] == 0}
	if n[2] > 0 {
		added.Due = s.clock.local(n[2])
	}
	return added, nil
}

// Accepts says why a task with such a delay cannot be added in order; nil when it can.
func (s *Store) Accepts(delay time.Duration) error {
	switch {
	case s.FIFO && delay > 0:
		return ErrFIFODelay
	case s.FIFO && s.placeOf(NewTask{}) == "record":
		return ErrFIFOSource
	}
	return nil
}

// millisUp gives a delay in ms that is not shorter, also from a time of Redis that is
// rounded down to ms.
func millisUp(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	return millis(d + 2*time.Millisecond - 1)
}

// placeOf says where enqueue.lua puts a task.
func (s *Store) placeOf(t NewTask) string {
	switch {
	case t.Delay > 0, s.Source.Kind == Delay, s.Source.Kind == Stream && s.Source.Field == "":
		return "record"
	}
	return s.Source.mode()
}
