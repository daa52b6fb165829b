package queueagent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/units"
)

// Bounds of a NewTask.
const (
	MaxDelay        = 365 * 24 * time.Hour
	MaxDedup        = 256 // bytes of a deduplication key
	MaxDedupFor     = 30 * 24 * time.Hour
	DefaultDedupFor = time.Hour
)

// MaxPayload bounds Config.MaxPayload: Redis keeps a task in one string of at most
// 512 MiB, together with what the agent notes of it.
const MaxPayload = 256 * units.MiB

// NewTask is a task to add to a queue.
type NewTask struct {
	// Payload is what a producer would write: at least one byte, at most
	// Config.MaxPayload.
	Payload string
	// Delay is for how long the task is not delivered yet; at most MaxDelay.
	Delay time.Duration
	// Dedup, when set, names the task: as long as one of that name was added no longer
	// than DedupFor ago, whatever became of it, another is not added. At most MaxDedup
	// bytes. With it, a call whose outcome is not known can be repeated.
	Dedup string
	// DedupFor is at most MaxDedupFor; 0 is DefaultDedupFor.
	DedupFor time.Duration
}

// UnknownQueueError says that the agent has no queue of that name.
type UnknownQueueError struct{ Queue string }

// Error names the queue and says what to do.
func (e *UnknownQueueError) Error() string {
	return fmt.Sprintf("there is no queue %.64q: use the name of an entry of queues", e.Queue)
}

// TaskError says that a task cannot be added to its queue as it is: to try again is of
// no use.
type TaskError struct {
	TooLarge bool // the payload has more than Config.MaxPayload
	err      error
}

// Error says what is wrong, and what to do.
func (e *TaskError) Error() string { return e.err.Error() }

// Unwrap gives the cause.
func (e *TaskError) Unwrap() error { return e.err }

// UnavailableError says that Redis did not take a task.
type UnavailableError struct {
	// Unknown: Redis gave no answer, so the task may have been added. Otherwise it was
	// not.
	Unknown bool
	err     error
}

// Error says whether the task may have been added.
func (e *UnavailableError) Error() string {
	if e.Unknown {
		return "redis gave no answer, so it is not known whether the task is queued: " + e.err.Error()
	}
	return "the task is not queued: " + e.err.Error()
}

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.err }

// MaxPayload gives the bound of a queue's payloads; false when there is no such queue.
func (a *Agent) MaxPayload(queue string) (units.Size, bool) {
	if q := a.find(queue); q != nil {
		return q.cfg.MaxPayload, true
	}
	return 0, false
}

// CheckTask says what Enqueue would refuse without asking Redis.
func (a *Agent) CheckTask(queue string, t NewTask) error {
	q := a.find(queue)
	if q == nil {
		return &UnknownQueueError{queue}
	}
	return q.checkTask(t)
}

// Enqueue adds a task to a queue for a caller without a Redis client. It works also
// while the agent does not run. duplicate says that nothing was added, since a task of
// that deduplication key was. The error is an *UnknownQueueError, a *TaskError or an
// *UnavailableError.
func (a *Agent) Enqueue(ctx context.Context, queue string, t NewTask) (duplicate bool, err error) {
	if err := a.CheckTask(queue, t); err != nil {
		return false, err
	}
	q := a.find(queue)
	if !q.redis.Up() {
		q.stats.enqueueFailed.Add(1)
		return false, &UnavailableError{err: errors.New("redis cannot be reached")}
	}
	if t.DedupFor == 0 {
		t.DedupFor = DefaultDedupFor
	}
	added, err := q.store.Enqueue(ctx, tasks.NewTask{
		Payload: t.Payload, ID: q.newTaskID(), Delay: t.Delay, Dedup: t.Dedup, DedupFor: t.DedupFor,
	})
	if err != nil {
		q.stats.enqueueFailed.Add(1)
		return false, notEnqueued(err)
	}
	if added.Duplicate {
		q.stats.duplicates.Add(1)
		return true, nil
	}
	q.stats.enqueued.Add(1)
	// Nobody else tells the claimer of a record: what it watches is the source. Set after
	// the script, so that a claim that clears the alarm comes behind it and sees the task.
	q.alarm.set(added.Due)
	return false, nil
}

// notEnqueued tells an error that Redis replied with from a missing reply.
func notEnqueued(err error) error {
	if _, replied := rueidis.IsRedisErr(err); replied || errors.Is(err, tasks.ErrNotConnected) {
		return &UnavailableError{err: err}
	}
	return &UnavailableError{Unknown: true, err: err}
}

func (a *Agent) find(name string) *queue {
	for _, q := range a.queues {
		if q.cfg.Name == name {
			return q
		}
	}
	return nil
}

// newTaskID gives an id that no claim gives: those have a number where this has "e".
func (q *queue) newTaskID() string {
	return q.store.Nonce + "-e" + strconv.FormatUint(q.stats.taskID.Add(1), 10)
}

func (q *queue) checkTask(t NewTask) error {
	wrong := func(format string, args ...any) error {
		return &TaskError{err: fmt.Errorf("queue %s: "+format, append([]any{q.cfg.Name}, args...)...)}
	}
	if err := q.store.Accepts(t.Delay); err != nil {
		return wrong("%w", err)
	}
	switch {
	case t.Payload == "":
		return wrong("the task is empty: give what the application is to get")
	case int64(len(t.Payload)) > int64(q.cfg.MaxPayload):
		return &TaskError{TooLarge: true, err: fmt.Errorf("queue %s: the task has %d bytes, and max_payload is %s: make it smaller, or max_payload larger", q.cfg.Name, len(t.Payload), q.cfg.MaxPayload)}
	case t.Delay < 0 || t.Delay > MaxDelay:
		return wrong("the delay %s is out of range: use 0s to %s", t.Delay, MaxDelay)
	case len(t.Dedup) > MaxDedup:
		return wrong("the deduplication key has %d bytes: use at most %d", len(t.Dedup), MaxDedup)
	case t.DedupFor != 0 && t.Dedup == "":
		return wrong("a time of deduplication is given without a key: give one, or leave it out")
	case t.DedupFor < 0 || t.DedupFor > MaxDedupFor:
		return wrong("the time of deduplication %s is out of range: use 1s to %s", t.DedupFor, MaxDedupFor)
	}
	return nil
}
