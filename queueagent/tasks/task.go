package tasks

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Reason says why a task is delivered now.
type Reason byte

// The reasons.
const (
	First  Reason = 'f'
	Retry  Reason = 'r' // after a failed attempt
	Crash  Reason = 'c' // after a lease that nobody ended
	Replay Reason = 'p' // from the dead letters
)

// String gives the word that the Pillion-Reason header carries.
func (r Reason) String() string {
	switch r {
	case Retry:
		return "retry"
	case Crash:
		return "crash"
	case Replay:
		return "replay"
	}
	return "first"
}

// Task is one leased task.
type Task struct {
	ID       string
	Member   string // what the lease is called in Redis: "<id>|<token>"
	Payload  string // as the producer wrote it
	Reason   Reason
	Attempts int // failed attempts before this delivery
	Abandons int // leases that ended without a result
	// Since is when the task could first have been delivered, by the clock of Redis:
	// when it was due (delay) or added (stream), else when it was first claimed.
	Since time.Time
	// Damaged says why the record, which is all in Payload then, cannot be read: somebody else
	// wrote it. Such a task is not to be delivered.
	Damaged string
}

// Token gives the part of the lease member that proves ownership.
func (t Task) Token() string {
	_, token, _ := strings.Cut(t.Member, "|")
	return token
}

// parseEnvelope reads "<reason> <attempts> <abandons> <since, ms>\n<payload>"; see
// scripts/common.lua.
func parseEnvelope(envelope string) (Task, error) {
	head, payload, ok := strings.Cut(envelope, "\n")
	bad := func(what string) (Task, error) {
		return Task{}, fmt.Errorf("record starts with %.40q: %s", envelope, what)
	}
	if !ok || len(head) < 2 || head[1] != ' ' || strings.IndexByte("frcp", head[0]) < 0 {
		return bad("want reason, attempts, abandons and time")
	}
	rest := head[2:]
	var n [3]int64
	for i := range n {
		field, next, more := strings.Cut(rest, " ")
		if more == (i == len(n)-1) {
			return bad("want reason, attempts, abandons and time")
		}
		v, err := strconv.ParseInt(field, 10, 64)
		if err != nil || v < 0 {
			return bad(strconv.Quote(field) + " is not a count")
		}
		n[i], rest = v, next
	}
	return Task{
		Payload: payload, Reason: Reason(head[0]),
		Attempts: int(n[0]), Abandons: int(n[1]), Since: time.UnixMilli(n[2]),
	}, nil
}
