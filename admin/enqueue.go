package admin

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// maxEnqueues bounds the calls that hold a task in memory at the same time.
	maxEnqueues = 16
	// enqueueTimeout is for the whole body of a task.
	enqueueTimeout = time.Minute
)

// NewTask is a task to add to a queue.
type NewTask struct {
	Payload string
	Delay   time.Duration
	// Dedup is the deduplication key; "" for none. A DedupFor of 0 is the default.
	Dedup    string
	DedupFor time.Duration
}

// TaskProblem is an error of an Enqueuer, as it is answered.
type TaskProblem struct {
	Status int
	Detail string
}

// Error gives the detail.
func (p *TaskProblem) Error() string { return p.Detail }

// Enqueuer adds tasks to queues. Its errors are *TaskProblem; any other is taken for a
// task that may or may not have been added.
type Enqueuer interface {
	// MaxPayload gives the bound of a queue's tasks in bytes; false when there is no such
	// queue.
	MaxPayload(queue string) (bytes int64, ok bool)
	// Now gives the time by the clock that tasks are due by, as far as it is known.
	Now(ctx context.Context, queue string) time.Time
	// Enqueue is true when a task of that deduplication key was added before.
	Enqueue(ctx context.Context, queue string, t NewTask) (duplicate bool, err error)
}

func (s *Server) handleEnqueue(mux *http.ServeMux) {
	if s.deps.Enqueuer == nil {
		return
	}
	e := &enqueuer{queues: s.deps.Enqueuer, slots: make(chan struct{}, maxEnqueues)}
	mux.Handle("POST /queues/{queue}/tasks", s.guarded(e.enqueue))
}

type enqueuer struct {
	queues Enqueuer
	slots  chan struct{} // one element for each call that reads a body
}

// enqueue answers POST /queues/{queue}/tasks: the body is the task.
func (e *enqueuer) enqueue(w http.ResponseWriter, r *http.Request) {
	queue := r.PathValue("queue")
	limit, ok := e.queues.MaxPayload(queue)
	if !ok {
		writeProblem(w, http.StatusNotFound, "There is no queue "+strconv.Quote(queue)+": use the name of an entry of queues.")
		return
	}
	t, at, problem := taskOptions(r)
	if problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		writeProblem(w, http.StatusServiceUnavailable, "The task is not queued: too many are being added at once. Try again.")
		return
	}
	var p *TaskProblem
	if t.Payload, p = readTask(w, r, limit); p != nil {
		writeProblem(w, p.Status, p.Detail)
		return
	}
	if !at.IsZero() { // only now: a large body takes its time
		t.Delay = max(at.Sub(e.queues.Now(r.Context(), queue)), 0)
	}
	duplicate, err := e.queues.Enqueue(r.Context(), queue, t)
	switch {
	case err != nil:
		writeTaskProblem(w, err)
	case duplicate:
		writeJSON(w, http.StatusOK, map[string]any{"queued": false, "duplicate": true})
	default:
		writeJSON(w, http.StatusAccepted, map[string]any{"queued": true})
	}
}

func writeTaskProblem(w http.ResponseWriter, err error) {
	p := &TaskProblem{http.StatusServiceUnavailable, "It is not known whether the task is queued: " + err.Error()}
	errors.As(err, &p)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeProblem(w, p.Status, p.Detail)
}

// readTask reads the body, of any bytes.
func readTask(w http.ResponseWriter, r *http.Request, limit int64) (string, *TaskProblem) {
	tooLarge := &TaskProblem{http.StatusRequestEntityTooLarge, "The task has more than " + strconv.FormatInt(limit, 10) + " bytes, which is max_payload of the queue: make it smaller, or max_payload larger."}
	if r.ContentLength > limit {
		return "", tooLarge
	}
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(enqueueTimeout)) // else that of small calls holds
	var text strings.Builder
	text.Grow(int(max(r.ContentLength, 0)))
	_, err := io.Copy(&text, http.MaxBytesReader(w, r.Body, limit))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return "", tooLarge
	case err != nil:
		return "", &TaskProblem{http.StatusBadRequest, "The body, which is the task, ended early: " + err.Error()}
	}
	return text.String(), nil
}

// taskOptions reads what the query and the header say of the task; at is when it is due,
// or zero.
func taskOptions(r *http.Request) (t NewTask, at time.Time, problem string) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return t, at, "The query is malformed: percent-encode its values."
	}
	for name, values := range query {
		switch name {
		case "delay", "at", "dedup", "dedup_for":
		default:
			return t, at, "The query has " + strconv.Quote(name) + ": use delay or at, dedup and dedup_for."
		}
		if len(values) != 1 || values[0] == "" {
			return t, at, "The query has " + name + " without a value, or twice: give it one."
		}
	}
	if t.Delay, at, problem = dueOf(query.Get("delay"), query.Get("at")); problem != "" {
		return t, at, problem
	}
	if text := query.Get("dedup_for"); text != "" {
		if t.DedupFor, err = time.ParseDuration(text); err != nil || t.DedupFor <= 0 {
			return t, at, "dedup_for " + strconv.Quote(text) + " is not a positive duration: write it as 1h."
		}
	}
	t.Dedup, problem = dedupOf(query.Get("dedup"), r.Header.Values("Idempotency-Key"))
	return t, at, problem
}

// dedupOf takes the key from the query or from Idempotency-Key: a string of a structured
// field, in quotes, or plain text.
func dedupOf(query string, header []string) (key, problem string) {
	if len(header) == 0 {
		return query, ""
	}
	key = header[0]
	if len(key) >= 2 && key[0] == '"' && key[len(key)-1] == '"' {
		key = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(key[1 : len(key)-1])
	}
	if key == "" || len(header) > 1 || query != "" && query != key {
		return "", "Idempotency-Key is empty, or there are two keys: give one, as that field or as dedup in the query."
	}
	return key, ""
}

// dueOf reads a duration, or a time: RFC 3339, or Unix seconds.
func dueOf(delay, at string) (d time.Duration, when time.Time, problem string) {
	switch {
	case delay != "" && at != "":
		return 0, when, "Both delay and at are given: give one."
	case delay != "":
		d, err := time.ParseDuration(delay)
		if err != nil || d < 0 {
			return 0, when, "delay " + strconv.Quote(delay) + " is not a duration: write it as 30s."
		}
		return d, when, ""
	case at == "":
		return 0, when, ""
	}
	when, err := time.Parse(time.RFC3339, strings.ReplaceAll(at, " ", "+")) // a plus that was not encoded
	if err != nil {
		var ok bool
		if when, ok = unixTime(at); !ok {
			return 0, when, "at " + strconv.Quote(at) + " is not a time: write RFC 3339, such as 2026-11-25T12:00:00Z, or Unix seconds."
		}
	}
	return 0, when, ""
}

// unixTime reads seconds, up to the year 9999.
func unixTime(text string) (time.Time, bool) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || !(seconds >= 0 && seconds < 253402300800) {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}
