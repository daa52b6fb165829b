package tasks

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Action is what the application says of a task that it has.
type Action string

// The actions. Release gives the task back without consuming an attempt.
const (
	ActAck     Action = "ack"
	ActExtend  Action = "extend"
	ActRetry   Action = "retry"
	ActRelease Action = "release"
	ActBury    Action = "bury"
)

// Resolution ends or extends a lease on behalf of the application.
type Resolution struct {
	ID, Token string
	Action    Action
	After     time.Duration // extend: the lease from now; retry and release: the delay
	Reason    string        // bury
	Detail    string        // bury, and retry if that was the last attempt
}

// Resolved is what Resolve did.
type Resolved struct {
	// Done is false when the token's lease has ended: then nothing was changed.
	Done bool
	// Next is when a retry is due; zero: none waits.
	Next time.Time
	// Attempts are the failed attempts of the task, Dead why it went to the dead letters, or
	// "": of a retry, of which it was the last attempt, too.
	Attempts int
	Dead     string
}

// Resolve does what the application says.
func (s *Store) Resolve(ctx context.Context, r Resolution) (Resolved, error) {
	k := &s.Keys
	reply, err := s.run(ctx, s.Scripts.resolve, []string{k.Records, k.Leases, k.Retry, k.Dead}, []string{
		r.ID + "|" + r.Token, string(r.Action), millis(max(r.After, 0)), r.Reason, r.Detail,
		strconv.Itoa(s.MaxAttempts), millis(s.MaxAge),
	})
	if err != nil {
		return Resolved{}, err
	}
	if len(reply) != 5 {
		return Resolved{}, fmt.Errorf("resolve gave %d values: want 5", len(reply))
	}
	n, err := ints(reply[:4], 4)
	if err != nil {
		return Resolved{}, err
	}
	dead, err := reply[4].ToString()
	return Resolved{Done: n[1] == 1, Next: s.clock.after(n[0], n[2]), Attempts: int(n[3]), Dead: dead}, err
}
