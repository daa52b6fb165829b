package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy/syntax"
)

// Task is a task that the application adds to a queue by a field of its response.
type Task struct {
	Queue, Payload string
	Delay          time.Duration
	Dedup          string // "" for none
	DedupFor       time.Duration
}

// Enqueuer adds tasks to queues. Both methods are safe for concurrent use.
type Enqueuer interface {
	// Check says what is wrong with a task, without adding it.
	Check(t Task) error
	// Enqueue is true when a task of that deduplication key was added before.
	Enqueue(ctx context.Context, t Task) (duplicate bool, err error)
}

// TaskField is the field of a response that holds tasks. A nil *TaskField is valid and
// does nothing.
type TaskField struct {
	name   string // as it is written
	lower  string
	twin   string // as twinEqual compares
	queues Enqueuer
}

// NewTaskField makes one.
func NewTaskField(name string, queues Enqueuer) *TaskField {
	lower := strings.ToLower(name)
	twin := strings.Map(func(c rune) rune {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return '-'
		}
		return c
	}, lower)
	return &TaskField{name: name, lower: lower, twin: twin, queues: queues}
}

// is says whether the field has that name, in any case.
func (f *TaskField) is(name []byte) bool { return f != nil && syntax.FoldEqual(name, f.lower) }

// isTwin says whether an application could take the client's field for it.
func (f *TaskField) isTwin(name []byte) bool { return f != nil && twinEqual(name, f.twin) }

// drop takes the field out of a response in which it says nothing.
func (f *TaskField) drop(h *fasthttp.ResponseHeader) {
	if f != nil {
		h.Del(f.name)
	}
}

// takeFields carries out what the application's response says to pillion, before the
// response goes on. It is false when the request was answered otherwise: a client must
// not be told of what was not done. The session comes first: one too many that nobody
// has the id of does no harm, unlike a task too many.
func (x *exchange) takeFields() bool {
	lines := x.taskLines()
	if !x.takeLifecycle() {
		if len(lines) > 0 {
			x.h.log.Warn().Bytes("path", x.path).Msg("the tasks of a response are not queued, since what it says about the session could not be done")
		}
		return false
	}
	return len(lines) == 0 || x.addTasks(lines)
}

// taskLines takes the field out of the response: what is stored of it, and what the
// client gets, has no tasks.
func (x *exchange) taskLines() (lines []string) {
	f, h := x.h.tasks, &x.ctx.Response.Header
	if f == nil {
		return nil
	}
	values := h.PeekAll(f.name)
	if len(values) == 0 {
		return nil
	}
	for _, value := range values {
		lines = append(lines, string(value)) // copied: Redis may get it after the response has gone
	}
	h.Del(f.name)
	return lines
}

// addTasks adds the tasks of a response, each by one script. All are looked at before
// the first is added.
func (x *exchange) addTasks(lines []string) bool {
	queues := x.h.tasks.queues
	tasks, err := parseTasks(lines)
	if err != nil {
		err = fmt.Errorf("%s %w", x.h.tasks.name, err)
	}
	for i := 0; err == nil && i < len(tasks); i++ {
		err = queues.Check(tasks[i])
	}
	if err != nil {
		x.h.stats.countTasks(tasksInvalid, 1)
		x.tasksFailed(fasthttp.StatusBadGateway, "The application did not give a valid response.", 0, len(tasks), err)
		return false
	}
	for i, t := range tasks {
		duplicate, err := queues.Enqueue(context.Background(), t)
		if err != nil {
			x.h.stats.countTasks(tasksFailed, len(tasks)-i)
			x.tasksFailed(fasthttp.StatusServiceUnavailable, "A task of this request cannot be queued now.", i, len(tasks), err)
			return false
		}
		if duplicate {
			x.h.stats.countTasks(tasksDuplicate, 1)
		} else {
			x.h.stats.countTasks(tasksQueued, 1)
		}
	}
	return true
}

// tasksFailed answers in place of the application, which believes that its tasks are
// queued. What it has changed is so all the same, and cached responses that this makes
// obsolete are removed (RFC 9111 §4.4).
func (x *exchange) tasksFailed(status int, detail string, queued, all int, err error) {
	x.h.log.Error().Err(err).Bytes("method", x.method).Bytes("path", x.path).Int("queued", queued).Int("of", all).Int("status", status).
		Msg("tasks of a response are not queued")
	if x.fwd == cache.FwdMethod {
		x.invalidate()
	}
	x.outcome = outcomeError
	extra := ""
	if status == fasthttp.StatusServiceUnavailable {
		extra = "Retry-After: " + strconv.Itoa(max(1, int(x.snap.retryAfter/time.Second))) + "\r\n"
	}
	x.problem(status, detail, extra)
}
