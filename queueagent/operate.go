package queueagent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// The errors of Resolve, beside *UnknownQueueError.
var (
	ErrNoLease = errors.New("the lease has ended, or is somebody else's: nothing was changed")
	ErrNoTask  = errors.New("there is no such task in hand: it was delivered, or has not been claimed yet")
)

// QueueInfo is what there is to know about a queue.
type QueueInfo struct {
	Stats QueueStats
	// Depth is nil while Redis does not tell.
	Depth *Depth
	// Source is the key that is drained; Webhook says where tasks go, without what may be
	// secret, as webhook.Endpoint.URL does.
	Source, Webhook string
	Concurrency     int
	FIFO            bool
	Rate            Rate
	Retry           Retry
}

// Queues tells of every queue, in the order of the configuration. With an error, which is
// that Redis does not answer, what this process knows itself is there all the same.
func (a *Agent) Queues(ctx context.Context) ([]QueueInfo, error) {
	out := make([]QueueInfo, len(a.queues))
	for i, q := range a.queues {
		out[i] = QueueInfo{
			Stats: q.snapshot(), Source: q.store.Keys.Source, Webhook: q.hook.URL(),
			Concurrency: q.cfg.Concurrency, FIFO: q.cfg.FIFO, Rate: q.cfg.Rate, Retry: q.cfg.Retry,
		}
	}
	depths, err := a.Depths(ctx)
	for i := range depths {
		out[i].Depth = &depths[i]
	}
	return out, err
}

// Now gives the time by the clock of Redis, by which all times of a queue go. As long as
// Redis has never told it, and for a queue that there is not, it is this machine's.
func (a *Agent) Now(ctx context.Context, name string) time.Time {
	if q := a.find(name); q != nil {
		if now, err := q.store.Clock(ctx); err == nil {
			return now
		}
	}
	return time.Now()
}

func (a *Agent) queue(name string) (*queue, error) {
	if q := a.find(name); q != nil {
		return q, nil
	}
	return nil, &UnknownQueueError{name}
}

// Pause stops every agent from claiming tasks of a queue, until Resume, over restarts too.
// Deliveries under way go on.
func (a *Agent) Pause(ctx context.Context, name string) error {
	q, err := a.queue(name)
	if err != nil {
		return err
	}
	return q.store.Pause(ctx)
}

// Resume ends a pause. Agents notice within about a second.
func (a *Agent) Resume(ctx context.Context, name string) error {
	q, err := a.queue(name)
	if err != nil {
		return err
	}
	return q.store.Resume(ctx)
}

// Resolve ends or extends the lease of a task. With a token, which is the application's,
// the lease must be that of the token, else ErrNoLease. Without one it is the operator's
// word: whoever has the lease loses it. ErrNoTask says that there is nothing to end.
func (a *Agent) Resolve(ctx context.Context, name string, r tasks.Resolution) error {
	q, err := a.queue(name)
	if err != nil {
		return err
	}
	if r.Token == "" {
		return q.overrule(ctx, r)
	}
	return q.resolve(ctx, r, kindApplication)
}

// The kinds of what is said of a task outside of an answer: by the application, or by an
// operator.
const (
	kindApplication = "application"
	kindOperator    = "operator"
)

// resolve ends or extends a lease.
func (q *queue) resolve(ctx context.Context, r tasks.Resolution, kind string) error {
	if r.Action == tasks.ActRetry {
		r.Detail = "the attempt was called failed after its delivery"
	}
	got, err := q.store.Resolve(ctx, r)
	switch {
	case err != nil:
		return err
	case !got.Done:
		return ErrNoLease
	}
	q.alarm.set(got.Next)
	poke(q.handed) // the lease may be a short one now
	q.noteResolved(r, got, kind)
	return nil
}

// noteResolved counts and logs as note does.
func (q *queue) noteResolved(r tasks.Resolution, got tasks.Resolved, kind string) {
	switch {
	case r.Action == tasks.ActAck:
		q.stats.delivered.Add(1)
	case got.Dead != "":
		q.stats.failed.Add(1)
		q.stats.dead.Add(1)
		q.resolved(q.log.Error(), r, got, kind).Str("detail", webhook.Printable([]byte(r.Detail), maxDetail)).
			Str("reason", got.Dead).Msg("task moved to the dead letters")
	case r.Action == tasks.ActRetry && got.Attempts > 0:
		q.stats.failed.Add(1)
		q.stats.retries.Add(1)
		q.resolved(q.failed.Warn(), r, got, kind).Dur("next_ms", r.After).Time("next", time.Now().Add(r.After).UTC()).Msg("delivery failed")
	}
}

// resolved puts in what each such line has.
func (q *queue) resolved(e *zerolog.Event, r tasks.Resolution, got tasks.Resolved, kind string) *zerolog.Event {
	q.stats.fail(kind)
	return e.Str("id", r.ID).Str("kind", kind).Int("attempt", got.Attempts).Int("max_attempts", q.cfg.Retry.MaxAttempts)
}

// overrule is Resolve without a token.
func (q *queue) overrule(ctx context.Context, r tasks.Resolution) error {
	token, err := q.store.Holder(ctx, r.ID)
	if err != nil {
		return err
	}
	if r.Action == tasks.ActAck {
		// By id: also a task that waits for a retry is done with. The lease may be
		// another by now; then it is left without a record, and goes when it ends.
		n, err := q.store.Ack(ctx, []string{r.ID + "|" + token})
		if err == nil && n == 0 {
			err = ErrNoTask
		}
		return err
	}
	if token == "" {
		return fmt.Errorf("%w; a task that waits for a retry can only be acknowledged", ErrNoTask)
	}
	r.Token = token
	return q.resolve(ctx, r, kindOperator)
}

// DeadLetters gives a page of a queue's dead letters.
func (a *Agent) DeadLetters(ctx context.Context, name string, query tasks.DeadQuery) (tasks.DeadPage, error) {
	q, err := a.queue(name)
	if err != nil {
		return tasks.DeadPage{}, err
	}
	return q.store.DeadLetters(ctx, query)
}

// DeadLetter gives one dead letter whole; false: there is none of that name.
func (a *Agent) DeadLetter(ctx context.Context, name string, entry tasks.EntryID) (d tasks.DeadLetter, found bool, err error) {
	q, err := a.queue(name)
	if err != nil {
		return d, false, err
	}
	return q.store.DeadLetter(ctx, entry)
}

// EachDead calls visit with every dead letter that is chosen, oldest first and whole.
func (a *Agent) EachDead(ctx context.Context, name string, f tasks.DeadFilter, visit func(*tasks.DeadLetter) error) error {
	q, err := a.queue(name)
	if err != nil {
		return err
	}
	return q.store.EachDead(ctx, f, visit)
}

// Replay makes tasks of dead letters: of those that are named, or, if none is, of all that
// the filter chooses.
func (a *Agent) Replay(ctx context.Context, name string, entries []tasks.EntryID, f tasks.DeadFilter) (tasks.Swept, error) {
	q, err := a.queue(name)
	if err != nil {
		return tasks.Swept{}, err
	}
	var got tasks.Swept
	if len(entries) > 0 {
		got.Changed, err = q.store.ReplayEntries(ctx, entries)
		got.Done = err == nil
	} else {
		got, err = q.store.ReplayDead(ctx, f)
	}
	if got.Changed > 0 {
		q.alarm.set(time.Now()) // other agents look when their reapers see a retry
		q.log.Info().Int("tasks", got.Changed).Msg("dead letters were replayed")
	}
	return got, err
}

// DeleteDead removes dead letters for good, chosen as for Replay.
func (a *Agent) DeleteDead(ctx context.Context, name string, entries []tasks.EntryID, f tasks.DeadFilter) (tasks.Swept, error) {
	q, err := a.queue(name)
	if err != nil {
		return tasks.Swept{}, err
	}
	var got tasks.Swept
	if len(entries) > 0 {
		got.Changed, err = q.store.DeleteEntries(ctx, entries)
		got.Done = err == nil
	} else {
		got, err = q.store.DeleteDead(ctx, f)
	}
	if got.Changed > 0 {
		q.log.Warn().Int("tasks", got.Changed).Msg("dead letters were deleted")
	}
	return got, err
}
