package pillion

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/queueagent"
)

// NewTask is a task to add to a queue.
type NewTask = queueagent.NewTask

// ErrNoQueues says that the configuration has no queues.
var ErrNoQueues = errors.New("there are no queues: add one to queues")

// Enqueue adds a task to one of the configuration's queues. duplicate says that a task
// with that deduplication key was added before, and this one was not. The error is
// ErrNoQueues or one of package queueagent: an *UnknownQueueError, a *TaskError, or an
// *UnavailableError, after which the task may be queued; with a deduplication key the
// call can then be repeated.
func (p *Pillion) Enqueue(ctx context.Context, queue string, t NewTask) (duplicate bool, err error) {
	if p.queues == nil {
		return false, ErrNoQueues
	}
	return p.queues.Enqueue(ctx, queue, t)
}

// adminQueues is the agent as the admin API has it.
type adminQueues struct{ agent *queueagent.Agent }

// adminEnqueuer gives nil without queues.
func (p *Pillion) adminEnqueuer() admin.Enqueuer {
	if p.queues == nil {
		return nil
	}
	return adminQueues{p.queues}
}

// MaxPayload gives the bound of a queue's tasks.
func (q adminQueues) MaxPayload(queue string) (int64, bool) {
	size, ok := q.agent.MaxPayload(queue)
	return int64(size), ok
}

// Enqueue adds a task.
func (q adminQueues) Enqueue(ctx context.Context, queue string, t admin.NewTask) (bool, error) {
	duplicate, err := q.agent.Enqueue(ctx, queue, queueagent.NewTask(t))
	if err == nil {
		return duplicate, nil
	}
	p := &admin.TaskProblem{Status: http.StatusServiceUnavailable, Detail: err.Error()}
	var wrong *queueagent.TaskError
	var unknown *queueagent.UnknownQueueError
	var down *queueagent.UnavailableError
	switch {
	case errors.As(err, &unknown):
		p.Status = http.StatusNotFound
	case errors.As(err, &wrong) && wrong.TooLarge:
		p.Status = http.StatusRequestEntityTooLarge
	case errors.As(err, &wrong):
		p.Status = http.StatusBadRequest
	case errors.As(err, &down) && down.Unknown:
		p.Detail += ": repeat the call if the task may be done twice, or if it has a deduplication key"
	}
	return false, p
}

// responseQueues is the agent as responses of the application have it.
type responseQueues struct{ agent *queueagent.Agent }

// taskField gives what proxy needs; nil when enqueue is off.
func (p *Pillion) taskField() *proxy.TaskField {
	if p.queues == nil || !p.cfg.Enqueue.Enabled {
		return nil
	}
	return proxy.NewTaskField(p.cfg.Enqueue.Header, responseQueues{p.queues})
}

// Check says what is wrong with a task, if anything.
func (q responseQueues) Check(t proxy.Task) error {
	return q.agent.CheckTask(t.Queue, newTask(t))
}

// Enqueue adds a task.
func (q responseQueues) Enqueue(ctx context.Context, t proxy.Task) (bool, error) {
	duplicate, err := q.agent.Enqueue(ctx, t.Queue, newTask(t))
	if err != nil {
		return false, fmt.Errorf("queue %s: %w", t.Queue, err)
	}
	return duplicate, nil
}

func newTask(t proxy.Task) queueagent.NewTask {
	return queueagent.NewTask{Payload: t.Payload, Delay: t.Delay, Dedup: t.Dedup, DedupFor: t.DedupFor}
}
