package demo

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"
)

// newTask makes a task whose payload is unlike any other.
func newTask(kind string, due time.Time) string {
	d := taskData{Token: rand.Text()[:8]}
	if due.IsZero() {
		d.At = unix(time.Now())
	} else {
		d.Due = unix(due)
	}
	return encode(task{Type: kind, Data: d})
}

// accepted waits until the application has accepted the payload, and gives every
// delivery of it.
func (t *tour) accepted(ctx context.Context, r *report, payload string) (all []delivery) {
	r.eventually(ctx, "the delivery of "+payload, func() bool {
		all = t.rig.app.deliveries(payload)
		return len(all) > 0 && all[len(all)-1].status == http.StatusNoContent
	})
	if len(all) == 0 {
		return []delivery{{}}
	}
	return all
}

func (t *tour) enqueue(ctx context.Context, r *report) {
	payload := newTask("hello", time.Time{})
	began := time.Now()
	err := t.rig.app.push(ctx, payload)
	r.saw("RPUSH "+listKey, "%s%s", payload, orError(err))
	d := t.accepted(ctx, r, payload)[0]
	r.saw("webhook POST /tasks/"+d.kind, "%s after the push, with the payload as it was", short(d.at.Sub(began)))
	r.want(d.kind == "hello" && d.body == payload, "the webhook's path must name the type, and its body be the payload")
	r.want(d.id != "" && d.attempt == 1, "it must be the first attempt, with an id")
}

func (t *tour) delay(ctx context.Context, r *report) {
	due := time.UnixMilli(time.Now().Add(time.Second).UnixMilli()) // the score has milliseconds
	payload := newTask("tea", due)
	err := t.rig.app.schedule(ctx, payload, due)
	r.saw("ZADD "+delayKey, "due in one second%s", orError(err))
	d := t.accepted(ctx, r, payload)[0]
	late := d.at.Round(0).Sub(due) // by the clock that the score is of
	r.saw("webhook POST /tasks/"+d.kind, "%s after it was due", short(late))
	r.want(late >= 0, "it must not come before it is due")
	r.want(d.body == payload, "the body must be the payload")
}

func (t *tour) retry(ctx context.Context, r *report) {
	payload := newTask("flaky", time.Time{})
	err := t.rig.app.push(ctx, payload)
	r.saw("RPUSH "+listKey, "a task whose first delivery the application refuses%s", orError(err))
	all := t.accepted(ctx, r, payload)
	for _, d := range all {
		r.saw("webhook POST /tasks/"+d.kind, "attempt %d, answered %d, %s after the first", d.attempt, d.status, short(d.at.Sub(all[0].at)))
	}
	r.want(len(all) == 2, "there must be two attempts, not %d", len(all))
	last := all[len(all)-1]
	r.want(all[0].status == http.StatusInternalServerError && last.attempt == 2, "the first must fail and the second be accepted")
	r.want(all[0].id == last.id, "both must have one id, so that the application can tell that they are one task")
}
