package queueagent

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

var (
	// errAborted: the grace period is over.
	errAborted = errors.New("the agent is shutting down")
	// errLeaseLost: the task belongs to someone else now.
	errLeaseLost = errors.New("the lease was lost")
	// errLeaseOver: the lease could not be renewed, so the POST was cut short before
	// somebody else may start another.
	errLeaseOver = errors.New("the lease could not be renewed in time")
)

// delivery is one leased task under way. Its fields below mu are shared by the worker
// that POSTs, the keeper that renews its lease, and a shutdown.
type delivery struct {
	tasks.Task
	gen    uint64        // of the gate, when it was claimed
	margin time.Duration // how long before the end of the lease the POST must end

	mu         sync.Mutex
	leaseUntil time.Time // by our clock, from before the claim was sent: never too late
	postUntil  time.Time // the webhook's timeout
	conn       net.Conn  // while a POST runs
	stopped    error     // errAborted or errLeaseLost
}

// deadline is when a POST must have ended.
func (d *delivery) deadline() time.Time {
	lease := d.leaseUntil.Add(-d.margin)
	if lease.Before(d.postUntil) {
		return lease
	}
	return d.postUntil
}

// Begin sets the end of the time that the webhook has, and gives the deadline of
// dialling.
func (d *delivery) Begin(end time.Time) (time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.postUntil = end
	if d.stopped == nil && d.over() {
		return time.Time{}, errLeaseOver // this process stood still; that no dial succeeds now says nothing
	}
	return d.deadline(), d.stopped
}

// over says that the lease is too near its end for a POST.
func (d *delivery) over() bool { return !time.Now().Before(d.leaseUntil.Add(-d.margin)) }

// Attach puts a connection under the delivery's deadline. From now on the keeper may
// move the deadline, and cancel ends the POST at once.
func (d *delivery) Attach(c net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped != nil {
		return d.stopped
	}
	d.conn = c
	return c.SetDeadline(d.deadline())
}

// Detach gives the connection back to the worker, and says whether the POST was cut
// short from outside.
func (d *delivery) Detach() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = nil
	if d.stopped == nil && d.over() {
		return errLeaseOver
	}
	return d.stopped
}

// renewed moves the end of the lease.
func (d *delivery) renewed(until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaseUntil = until
	if d.conn != nil && d.stopped == nil {
		_ = d.conn.SetDeadline(d.deadline())
	}
}

// cancel ends the delivery: a POST under way fails at once.
func (d *delivery) cancel(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped == nil {
		d.stopped = why
	}
	if d.conn != nil {
		_ = d.conn.SetDeadline(time.Unix(1, 0))
	}
}

// flight is the set of deliveries that are under way or whose result is not in Redis
// yet: what must be renewed.
type flight struct {
	mu  sync.Mutex
	set map[*delivery]struct{}
}

func newFlight() *flight { return &flight{set: make(map[*delivery]struct{})} }

func (f *flight) add(ds []*delivery) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range ds {
		f.set[d] = struct{}{}
	}
}

func (f *flight) remove(ds []outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range ds {
		delete(f.set, o.d)
	}
}

func (f *flight) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.set)
}

func (f *flight) list() []*delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*delivery, 0, len(f.set))
	for d := range f.set {
		out = append(out, d)
	}
	return out
}
