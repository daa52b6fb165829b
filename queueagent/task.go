package queueagent

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// reason says why a task is delivered now.
type reason byte

const (
	reasonFirst reason = 'f'
	reasonRetry reason = 'r'
	reasonCrash reason = 'c'
)

// String gives the word that the Pillion-Reason header carries.
func (r reason) String() string {
	switch r {
	case reasonRetry:
		return "retry"
	case reasonCrash:
		return "crash"
	}
	return "first"
}

// task is one leased task.
type task struct {
	id       string
	member   string // what the lease is called in Redis: "<id>|<token>"
	payload  string // as the producer wrote it
	reason   reason
	attempts int       // failed attempts before this delivery
	abandons int       // leases that ended without a result
	first    time.Time // when it was first claimed, by the clock of Redis
}

// parseEnvelope reads "<reason> <attempts> <abandons> <first, ms>\n<payload>"; see
// scripts/common.lua.
func parseEnvelope(envelope string) (task, error) {
	head, payload, ok := strings.Cut(envelope, "\n")
	fields := strings.Split(head, " ")
	if !ok || len(fields) != 4 || len(fields[0]) != 1 {
		return task{}, fmt.Errorf("record starts with %.40q: want reason, attempts, abandons and time", envelope)
	}
	var n [3]int64
	for i, f := range fields[1:] {
		v, err := strconv.ParseInt(f, 10, 64)
		if err != nil || v < 0 {
			return task{}, fmt.Errorf("record starts with %.40q: %q is not a count", envelope, f)
		}
		n[i] = v
	}
	return task{
		payload: payload, reason: reason(fields[0][0]),
		attempts: int(n[0]), abandons: int(n[1]), first: time.UnixMilli(n[2]),
	}, nil
}
