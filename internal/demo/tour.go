package demo

import (
	"context"
	"fmt"
	"time"
)

// patience bounds every wait of the tour for something that is to come. Only a
// broken or a very busy machine needs it.
const patience = 10 * time.Second

// step is one thing that the tour shows and checks.
type step struct {
	title string
	run   func(ctx context.Context, r *report)
}

// report is what a step did, saw and missed.
type report struct {
	lines  []string
	broken []string
}

// saw notes what was done and what was seen.
func (r *report) saw(did, format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf("%-28s ", did)+fmt.Sprintf(format, args...))
}

// want notes a promise that does not hold.
func (r *report) want(held bool, format string, args ...any) {
	if !held {
		r.broken = append(r.broken, fmt.Sprintf(format, args...))
	}
}

// show notes an answer, which must have this status.
func (r *report) show(a answer, status int) {
	r.saw(a.request, "%s", a.seen())
	r.want(a.err == nil && a.status == status, "%s: the status must be %d, not %d%s", a.request, status, a.status, orError(a.err))
}

func orError(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// tour is the state that the steps share.
type tour struct {
	*rig
	visitor
	ada, grace string // session ids
}

// takeTour runs every step and gives an error when one did not hold.
func (r *rig) takeTour(ctx context.Context) error {
	client := newClient()
	defer client.CloseIdleConnections()
	t := &tour{rig: r, visitor: visitor{http: client, base: "http://" + r.proxy, app: r.app}}
	r.banner()
	return runSteps(ctx, r.screen, t.steps())
}

func (t *tour) steps() []step {
	return []step{
		{"pillion is ready, and knows how this Redis can be used", t.ready},
		{"a page is made once, then it is a hit", t.missThenHit},
		{"HEAD is answered from the same stored page", t.head},
		{"an unknown product reaches the application once", t.negative},
		{"50 first requests at once reach the application once", t.stampede},
		{"without a session a protected page is refused", t.refused},
		{"nobody can claim to be a user by a header", t.spoofed},
		{"logging in", t.login},
		{"a profile is made once per user, then it is a hit", t.profiles},
		{"one Redis SET purges a tag, and only that tag", t.purgeTag},
		{"the admin listener purges one URL", t.purgeURL},
		{"a task on a list is delivered at once", t.enqueue},
		{"a delayed task is delivered when due, not before", t.delay},
		{"a failed delivery is tried again", t.retry},
		{"after a log-out the session is refused", t.logout},
		{"Redis is killed: public pages go on, protected ones say 503", t.outage},
		{"Redis comes back, empty: everything works again by itself", t.recovery},
		{"a stop lets what is in flight finish", t.drain},
	}
}

// runSteps runs the steps in order and prints each with its result. The error says
// how many did not hold.
func runSteps(ctx context.Context, out *screen, steps []step) error {
	began, failed := time.Now(), 0
	for i, s := range steps {
		r, start := &report{}, time.Now()
		s.run(ctx, r)
		if ctx.Err() != nil {
			return fmt.Errorf("the tour was interrupted in step %d of %d", i+1, len(steps))
		}
		if len(r.broken) > 0 {
			failed++
		}
		r.print(out, i+1, s.title, time.Since(start))
	}
	took := short(time.Since(began))
	if failed > 0 {
		return fmt.Errorf("%d of %d steps of the tour did not hold (%s)", failed, len(steps), took)
	}
	out.line("%s", out.paint("32", fmt.Sprintf("All %d steps held, in %s.", len(steps), took)))
	return nil
}

func (r *report) print(out *screen, n int, title string, took time.Duration) {
	verdict := out.paint("32", "    ok")
	if len(r.broken) > 0 {
		verdict = out.paint("31", "NOT OK")
	}
	out.line("%s  %2d. %s (%s)", verdict, n, title, short(took))
	for _, l := range r.lines {
		out.line("            %s", l)
	}
	for _, b := range r.broken {
		out.line("         %s %s", out.paint("31", "!!"), b)
	}
	out.line("")
}

// eventually waits until it holds, and gives how long that took. When it does not
// within the tour's patience, that is noted as what it waited for.
func (r *report) eventually(ctx context.Context, what string, until func() bool) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	err := poll(ctx, until)
	r.want(err == nil, "waited %s in vain: %s", patience, what)
	return time.Since(began)
}
