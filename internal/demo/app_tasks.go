package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// maxReceived bounds how many deliveries are remembered.
const maxReceived = 100

// delivery is one webhook call.
type delivery struct {
	id, kind, body string
	attempt        int
	status         int // what the application answered
	at             time.Time
}

// taskData is what the demo's own tasks carry. The times are Unix seconds.
type taskData struct {
	Token string  `json:"token,omitempty"`
	At    float64 `json:"queued_at,omitempty"`
	Due   float64 `json:"due,omitempty"`
}

// task is one entry of a queue, as pillion wants it.
type task struct {
	Type string   `json:"type"`
	Data taskData `json:"data"`
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// task receives a delivery. Tasks of type flaky fail the first time, so that there is
// a retry to see; those of type slow take until they are let go on.
func (a *app) task(w http.ResponseWriter, r *http.Request) {
	d := delivery{at: time.Now(), id: r.Header.Get("webhook-id"), kind: r.PathValue("type"), status: http.StatusNoContent}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": err.Error()})
		return
	}
	d.body = string(body)
	d.attempt, _ = strconv.Atoi(r.Header.Get("Pillion-Attempt"))
	switch {
	case d.kind == "slow":
		a.pause(r.Context(), "task")
	case d.kind == "flaky" && d.attempt <= 1:
		d.status = http.StatusInternalServerError
	}
	a.note(d)
	a.event(describeDelivery(d))
	w.WriteHeader(d.status)
}

func (a *app) note(d delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d.status/100 == 2 {
		a.tasks++
	}
	if len(a.received) == maxReceived {
		a.received = append(a.received[:0], a.received[1:]...)
	}
	a.received = append(a.received, d)
}

// deliveries gives the calls so far whose body is this payload, in order.
func (a *app) deliveries(payload string) (out []delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.received {
		if d.body == payload {
			out = append(out, d)
		}
	}
	return out
}

func (a *app) delivered() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tasks
}

// describeDelivery is the line that a delivery is worth. How late it is can be told
// only for a task that carries its time.
func describeDelivery(d delivery) string {
	text := fmt.Sprintf("webhook POST /tasks/%s", d.kind)
	var t task
	if json.Unmarshal([]byte(d.body), &t) == nil {
		switch {
		case t.Data.Due > 0:
			text += fmt.Sprintf(", %s after it was due", since(d.at, t.Data.Due))
		case t.Data.At > 0:
			text += fmt.Sprintf(", %s after it was queued", since(d.at, t.Data.At))
		}
	}
	if d.attempt > 1 {
		text += fmt.Sprintf(", attempt %d", d.attempt)
	}
	if d.status/100 != 2 {
		text += fmt.Sprintf(", answered %d: it will be tried again", d.status)
	}
	return text + ": " + d.body
}

func since(at time.Time, seconds float64) string {
	return short(at.Sub(time.UnixMilli(int64(seconds * 1000))))
}

// short writes a duration for a person.
func short(d time.Duration) string {
	switch {
	case d.Abs() < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d.Abs() < 100*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// enqueue puts a task of the type that the query names on the list.
func (a *app) enqueue(w http.ResponseWriter, r *http.Request) {
	payload := encode(task{Type: queryOr(r, "type", "hello"), Data: taskData{At: unix(time.Now())}})
	if err := a.push(r.Context(), payload); err != nil {
		redisDown(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "RPUSH %s %s\n", listKey, payload)
}

// remind puts a task into the sorted set, due in as many seconds as the query says.
func (a *app) remind(w http.ResponseWriter, r *http.Request) {
	in, err := strconv.ParseFloat(queryOr(r, "in", "3"), 64)
	if err != nil || !(in >= 0 && in <= 24*3600) {
		reply(w, http.StatusBadRequest, map[string]any{"error": "in is not a number of seconds of at most a day"})
		return
	}
	due := time.Now().Add(time.Duration(in * float64(time.Second)))
	payload := encode(task{Type: queryOr(r, "type", "reminder"), Data: taskData{Due: unix(due)}})
	if err := a.schedule(r.Context(), payload, due); err != nil {
		redisDown(w, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, "ZADD %s %.3f %s\n", delayKey, unix(due), payload)
}

func queryOr(r *http.Request, name, fallback string) string {
	if v := r.URL.Query().Get(name); v != "" {
		return v
	}
	return fallback
}

func encode(t task) string {
	b, _ := json.Marshal(t) // strings and finite numbers always have a form
	return string(b)
}

// push is how an application enqueues: RPUSH.
func (a *app) push(ctx context.Context, payload string) error {
	return a.do(ctx, a.redis.B().Rpush().Key(listKey).Element(payload).Build())
}

// schedule is how an application delays: ZADD, with the Unix time when it is due.
func (a *app) schedule(ctx context.Context, payload string, due time.Time) error {
	return a.do(ctx, a.redis.B().Zadd().Key(delayKey).ScoreMember().ScoreMember(unix(due), payload).Build())
}

// purge is how an application purges: any new value of the tag's mark will do. It
// must live for markLife.
func (a *app) purge(ctx context.Context, prefix, tag, value string) error {
	return a.do(ctx, a.redis.B().Set().Key(prefix+"t:"+tag).Value(value).Ex(markLife).Build())
}
