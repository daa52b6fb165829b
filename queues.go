package pillion

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// depthTime bounds the question how full the queues are.
const depthTime = time.Second

// adminQueues gives nil without queues.
func (p *Pillion) adminQueues() admin.Queues {
	if p.queues == nil {
		return nil
	}
	return adminQueues{p.queues}
}

// HasQueue says whether the configuration has a queue of that name.
func (q adminQueues) HasQueue(name string) bool {
	_, ok := q.agent.MaxPayload(name)
	return ok
}

// Now gives the time by the clock of Redis, as far as it is known.
func (q adminQueues) Now(ctx context.Context, queue string) time.Time {
	return q.agent.Now(ctx, queue)
}

// Queues tells of every queue; without what Redis would have to tell when it does not.
func (q adminQueues) Queues(ctx context.Context) []admin.Queue {
	ctx, cancel := context.WithTimeout(ctx, depthTime)
	defer cancel()
	infos, _ := q.agent.Queues(ctx) // the depths are absent then
	out := make([]admin.Queue, len(infos))
	for i, info := range infos {
		out[i] = adminQueue(info)
	}
	return out
}

func adminQueue(info queueagent.QueueInfo) admin.Queue {
	s := info.Stats
	out := admin.Queue{
		Name: s.Name, Paused: s.Paused, Throttled: s.HeldBack, BreakerOpen: s.BreakerOpen, LastError: s.LastError,
		Process: admin.QueueCounts{
			InFlight: s.InFlight, Claimed: s.Claimed, Delivered: s.Delivered, Failed: s.Failed, Retries: s.Retries,
			DeadLettered: s.DeadLettered, Redelivered: s.Redelivered, Throttled: s.Throttled, UnknownAcks: s.UnknownAcks,
		},
		Config: admin.QueueConfig{
			Kind: s.Source, Key: info.Source, Webhook: info.Webhook, Concurrency: info.Concurrency, FIFO: info.FIFO,
			MaxAttempts: info.Retry.MaxAttempts,
		},
	}
	if info.Rate.Limit > 0 {
		out.Config.Rate = fmt.Sprintf("%d per %s", info.Rate.Limit, info.Rate.Per)
	}
	if d := info.Depth; d != nil {
		out.Paused = d.Paused
		out.Depth = &admin.QueueDepth{Scheduled: d.Scheduled, Retrying: d.Retrying, Leased: d.Leased, Dead: d.Dead}
		if d.Ready >= 0 {
			out.Depth.Ready = &d.Ready
		}
		if !d.OldestDue.IsZero() {
			at := d.OldestDue.UTC()
			out.Depth.OldestDue = &at
		}
	}
	return out
}

// Pause stops a queue on every pod.
func (q adminQueues) Pause(ctx context.Context, queue string) error {
	return q.agent.Pause(ctx, queue)
}

// Resume ends a pause.
func (q adminQueues) Resume(ctx context.Context, queue string) error {
	return q.agent.Resume(ctx, queue)
}

// Resolve ends or extends the lease of a task.
func (q adminQueues) Resolve(ctx context.Context, r admin.Resolution) error {
	res := tasks.Resolution{ID: r.ID, Token: r.Token, Action: tasks.Action(r.Action), After: r.After, Detail: r.Detail}
	if r.Action == "dead-letter" {
		res.Action, res.Reason = tasks.ActBury, "rejected"
		if r.Token == "" {
			res.Reason = "operator"
		}
	}
	err := q.agent.Resolve(ctx, r.Queue, res)
	switch {
	case errors.Is(err, queueagent.ErrNoLease):
		return &admin.TaskProblem{Status: http.StatusConflict, Detail: "Nothing was changed: " + err.Error() + "."}
	case errors.Is(err, queueagent.ErrNoTask):
		return &admin.TaskProblem{Status: http.StatusConflict, Detail: "Nothing was changed: " + err.Error() + "."}
	}
	return err
}

// CheckEntry says what is wrong with the id of an entry.
func (q adminQueues) CheckEntry(entry string) error {
	_, err := tasks.ParseEntryID(entry)
	return err
}

// DeadLetters gives a page of dead letters.
func (q adminQueues) DeadLetters(ctx context.Context, queue string, f admin.DeadFilter, newest bool, limit int) ([]admin.DeadLetter, string, error) {
	filter, err := deadFilter(f)
	if err != nil {
		return nil, "", err
	}
	page, err := q.agent.DeadLetters(ctx, queue, tasks.DeadQuery{DeadFilter: filter, Newest: newest, Limit: limit})
	if err != nil {
		return nil, "", err
	}
	out := make([]admin.DeadLetter, len(page.Letters))
	for i := range page.Letters {
		out[i] = adminDead(&page.Letters[i])
	}
	next := ""
	if !page.Next.IsZero() {
		next = page.Next.String()
	}
	return out, next, nil
}

// DeadLetter gives one dead letter.
func (q adminQueues) DeadLetter(ctx context.Context, queue, entry string) (admin.DeadLetter, bool, error) {
	id, err := tasks.ParseEntryID(entry)
	if err != nil {
		return admin.DeadLetter{}, false, err
	}
	d, found, err := q.agent.DeadLetter(ctx, queue, id)
	return adminDead(&d), found, err
}

// EachDead calls visit with each dead letter that is chosen.
func (q adminQueues) EachDead(ctx context.Context, queue string, f admin.DeadFilter, visit func(admin.DeadLetter) error) error {
	filter, err := deadFilter(f)
	if err != nil {
		return err
	}
	return q.agent.EachDead(ctx, queue, filter, func(d *tasks.DeadLetter) error { return visit(adminDead(d)) })
}

// ReplayDead makes tasks of dead letters.
func (q adminQueues) ReplayDead(ctx context.Context, queue string, entries []string, f admin.DeadFilter) (admin.Swept, error) {
	return sweep(ctx, queue, entries, f, q.agent.Replay)
}

// DeleteDead removes dead letters.
func (q adminQueues) DeleteDead(ctx context.Context, queue string, entries []string, f admin.DeadFilter) (admin.Swept, error) {
	return sweep(ctx, queue, entries, f, q.agent.DeleteDead)
}

func sweep(ctx context.Context, queue string, entries []string, f admin.DeadFilter,
	change func(context.Context, string, []tasks.EntryID, tasks.DeadFilter) (tasks.Swept, error),
) (admin.Swept, error) {
	filter, err := deadFilter(f)
	if err != nil {
		return admin.Swept{}, err
	}
	ids := make([]tasks.EntryID, len(entries))
	for i, e := range entries {
		if ids[i], err = tasks.ParseEntryID(e); err != nil {
			return admin.Swept{}, err
		}
	}
	got, err := change(ctx, queue, ids, filter)
	out := admin.Swept{Changed: got.Changed, Done: got.Done, Before: got.Before.String()}
	if !got.After.IsZero() {
		out.After = got.After.String()
	}
	return out, err
}

func deadFilter(f admin.DeadFilter) (out tasks.DeadFilter, err error) {
	out = tasks.DeadFilter{Reason: f.Reason, ID: f.ID, Type: f.Type, Contains: f.Contains, Since: f.Since, Until: f.Until}
	if f.After != "" {
		if out.After, err = tasks.ParseEntryID(f.After); err != nil {
			return out, err
		}
	}
	if f.Before != "" {
		out.Before, err = tasks.ParseEntryID(f.Before)
	}
	return out, err
}

func adminDead(d *tasks.DeadLetter) admin.DeadLetter {
	out := admin.DeadLetter{
		Entry: d.Entry.String(), ID: d.ID, Reason: d.Reason, Detail: d.Detail, Type: d.Type(),
		Attempts: d.Attempts, Abandons: d.Abandons, Since: writable(d.Since), Died: writable(d.Entry.Time()),
		PayloadBytes: d.PayloadBytes, Damaged: d.Damaged,
	}
	out.SetPayload(d.Payload, len(d.Payload) < d.PayloadBytes)
	return out
}

// writable gives a time as JSON can have it: an entry that others wrote may name any.
func writable(t time.Time) time.Time {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
