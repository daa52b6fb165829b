package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxCall bounds the body of a call about queues.
	maxCall = 64 << 10
	// maxTaskID bounds the id of a task in a path.
	maxTaskID = 256
	// maxAfter bounds how far the end of a lease, or a retry, may be ahead.
	maxAfter = 30 * 24 * time.Hour
	// maxLarge bounds the calls about dead letters that are answered at the same time.
	maxLarge = 8
	// maxDetail bounds what is kept with a dead letter.
	maxDetail = 1024
	// leaseTokenHeader proves that a task is the caller's: it came with its delivery.
	leaseTokenHeader = "Pillion-Lease-Token"
)

// QueueDepth is how many tasks of a queue are in Redis; Ready is nil where that is not
// known.
type QueueDepth struct {
	Ready     *int64     `json:"ready"`
	Scheduled int64      `json:"scheduled"`
	Retrying  int64      `json:"retrying"`
	Leased    int64      `json:"leased"`
	Dead      int64      `json:"dead"`
	OldestDue *time.Time `json:"oldest_due,omitempty"`
}

// QueueCounts are what this process has done since its start.
type QueueCounts struct {
	InFlight     int    `json:"in_flight"`
	Claimed      uint64 `json:"claimed"`
	Delivered    uint64 `json:"delivered"`
	Failed       uint64 `json:"failed"`
	Retries      uint64 `json:"retries"`
	DeadLettered uint64 `json:"dead_lettered"`
	Redelivered  uint64 `json:"redelivered"`
	Throttled    uint64 `json:"throttled"`
	UnknownAcks  uint64 `json:"unknown_acks"`
}

// QueueConfig is a summary of a queue's settings.
type QueueConfig struct {
	Kind        string `json:"kind"`
	Key         string `json:"key"`
	Webhook     string `json:"webhook,omitempty"` // only to those who may change things
	Concurrency int    `json:"concurrency"`
	FIFO        bool   `json:"fifo"`
	Rate        string `json:"rate,omitempty"`
	MaxAttempts int    `json:"max_attempts"`
}

// Queue is the state of one queue. Depth is nil while Redis does not answer; Paused is
// then what this process knew last.
type Queue struct {
	Name        string      `json:"name"`
	Paused      bool        `json:"paused"`
	Throttled   bool        `json:"throttled"`
	BreakerOpen bool        `json:"breaker_open"`
	LastError   string      `json:"last_error,omitempty"`
	Depth       *QueueDepth `json:"depth"`
	Process     QueueCounts `json:"process"`
	Config      QueueConfig `json:"config"`
}

// Resolution is what the application, or an operator, says of a task: Action is "ack",
// "extend", "retry", "release" or "dead-letter". Without a token it is the operator's word.
type Resolution struct {
	Queue, ID, Token, Action string
	After                    time.Duration
	Detail                   string
}

// Queues shows queues, and does what an operator does with them. Its errors are
// *TaskProblem; any other is taken for a Redis that does not answer.
type Queues interface {
	DeadLetters
	Queues(ctx context.Context) []Queue
	HasQueue(name string) bool
	Pause(ctx context.Context, queue string) error
	Resume(ctx context.Context, queue string) error
	// Resolve says why the task went to the dead letters, if it did.
	Resolve(ctx context.Context, r Resolution) (dead string, err error)
}

func (s *Server) handleQueues(mux *http.ServeMux) {
	if s.deps.Queues == nil {
		return
	}
	q := &queues{s.deps.Queues, s, make(chan struct{}, maxLarge)}
	mux.HandleFunc("GET /queues", q.list)
	mux.HandleFunc("GET /queues/{queue}", q.show)
	mux.Handle("POST /queues/{queue}/pause", s.guarded(q.known(q.pause)))
	mux.Handle("POST /queues/{queue}/resume", s.guarded(q.known(q.resume)))
	mux.HandleFunc("POST /queues/{queue}/tasks/{id}/{action}", q.known(q.resolve))
	mux.Handle("GET /queues/{queue}/dead", s.guarded(q.known(q.large(q.deadList))))
	mux.Handle("GET /queues/{queue}/dead/{entry}", s.guarded(q.known(q.large(q.deadShow))))
	mux.Handle("GET /queues/{queue}/dead/export", s.guarded(q.known(q.large(q.deadExport))))
	mux.Handle("POST /queues/{queue}/dead/replay", s.guarded(q.known(q.large(q.deadReplay))))
	mux.Handle("DELETE /queues/{queue}/dead/{entry}", s.guarded(q.known(q.deadDelete)))
	mux.Handle("DELETE /queues/{queue}/dead", s.guarded(q.known(q.large(q.deadDeleteMany))))
}

// queues answers calls about queues.
type queues struct {
	Queues
	s     *Server
	slots chan struct{} // one element for each call about dead letters
}

// large bounds the calls that hold payloads in memory, or change many dead letters.
func (q *queues) large(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case q.slots <- struct{}{}:
			defer func() { <-q.slots }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			writeProblem(w, http.StatusServiceUnavailable, "Too many calls about dead letters are being answered. Try again.")
		}
	}
}

// known answers 404 for a queue that is not there.
func (q *queues) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if name := r.PathValue("queue"); !q.HasQueue(name) {
			noQueue(w, name)
			return
		}
		next(w, r)
	}
}

func noQueue(w http.ResponseWriter, name string) {
	writeProblem(w, http.StatusNotFound, "There is no queue "+strconv.Quote(name)+": use the name of an entry of queues.")
}

func (q *queues) list(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"queues": q.shown(r)})
}

// shown gives what a caller may see: a webhook's path may be as good as a password.
func (q *queues) shown(r *http.Request) []Queue {
	list, allowed := q.Queues.Queues(r.Context()), q.s.allowed(r)
	for i := range list {
		if !allowed {
			list[i].Config.Webhook = ""
		}
	}
	return list
}

func (q *queues) show(w http.ResponseWriter, r *http.Request) {
	for _, one := range q.shown(r) {
		if one.Name == r.PathValue("queue") {
			writeJSON(w, http.StatusOK, one)
			return
		}
	}
	noQueue(w, r.PathValue("queue"))
}

func (q *queues) pause(w http.ResponseWriter, r *http.Request) {
	q.answer(w, q.Pause(r.Context(), r.PathValue("queue")), map[string]any{"queue": r.PathValue("queue"), "paused": true})
}

func (q *queues) resume(w http.ResponseWriter, r *http.Request) {
	q.answer(w, q.Resume(r.Context(), r.PathValue("queue")), map[string]any{"queue": r.PathValue("queue"), "paused": false})
}

// answer says that a call is done, or what its error is.
func (q *queues) answer(w http.ResponseWriter, err error, done map[string]any) {
	var p *TaskProblem
	switch {
	case err == nil:
		writeJSON(w, http.StatusOK, done)
	case errors.As(err, &p):
		writeProblem(w, p.Status, p.Detail)
	default:
		w.Header().Set("Retry-After", "1")
		writeProblem(w, http.StatusServiceUnavailable, "Redis did not answer, so it is not known whether this is done: "+err.Error())
	}
}

// resolve ends or extends the lease of a task: for the application, which has the token
// of the lease, and needs no other then; or for an operator.
func (q *queues) resolve(w http.ResponseWriter, r *http.Request) {
	res := Resolution{
		Queue: r.PathValue("queue"), ID: r.PathValue("id"), Action: r.PathValue("action"), Token: r.Header.Get(leaseTokenHeader),
	}
	if res.Token == "" && !q.s.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="pillion admin"`)
		writeProblem(w, http.StatusUnauthorized, "Send the "+leaseTokenHeader+" of the task's delivery, or admin.token as a bearer token.")
		return
	}
	// A page in a browser cannot know a token; without one it is refused above.
	if len(res.ID) > maxTaskID || len(res.Token) > maxTaskID || strings.Contains(res.ID, "|") {
		writeProblem(w, http.StatusBadRequest, "That is not the id of a task: use webhook-id of its delivery.")
		return
	}
	if problem := res.read(w, r); problem != "" {
		writeProblem(w, http.StatusBadRequest, problem)
		return
	}
	dead, err := q.Resolve(r.Context(), res)
	done := map[string]any{"queue": res.Queue, "id": res.ID, "action": res.Action, "done": true}
	if dead != "" {
		done["dead_letter"] = dead
	}
	q.answer(w, err, done)
}

// read takes in the body, which may be empty, and checks it against the action.
func (res *Resolution) read(w http.ResponseWriter, r *http.Request) (problem string) {
	var body struct {
		After  string `json:"after"`
		Detail string `json:"detail"`
	}
	if err := readCall(w, r, &body); err != nil {
		return `The body is not {"after": "30s"} or {"detail": "…"}: ` + err.Error()
	}
	var err error
	if body.After != "" {
		if res.After, err = time.ParseDuration(body.After); err != nil || res.After <= 0 || res.After > maxAfter {
			return `"after" ` + strconv.Quote(body.After) + " is not a duration above 0 and up to 720h: write it as 30s."
		}
	}
	switch res.Action {
	case "ack":
		if body.After != "" || body.Detail != "" {
			return `"ack" takes neither "after" nor "detail".`
		}
	case "extend":
		if body.After == "" || body.Detail != "" {
			return `"extend" needs "after", the lease from now on, and nothing else.`
		}
	case "retry", "release":
		if body.Detail != "" {
			return strconv.Quote(res.Action) + ` takes no "detail".`
		}
	case "dead-letter":
		if body.After != "" || len(body.Detail) > maxDetail {
			return `"dead-letter" takes a "detail" of at most 1024 bytes, and no "after".`
		}
		res.Detail = body.Detail
	default:
		return "There is no action " + strconv.Quote(res.Action) + ": use ack, extend, retry, release or dead-letter."
	}
	return ""
}

// readCall reads a JSON object without unknown fields; an empty body is an empty object.
func readCall(w http.ResponseWriter, r *http.Request, v any) error {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCall))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if dec.More() {
		return errors.New("something follows it")
	}
	return nil
}
