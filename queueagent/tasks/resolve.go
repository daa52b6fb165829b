package tasks

import (
	"context"
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
	Detail    string        // bury
}

// Resolve does what the application says. It is false when the token's lease has ended:
// then nothing was changed. next is when a retry is due; zero: none waits.
func (s *Store) Resolve(ctx context.Context, r Resolution) (done bool, next time.Time, err error) {
	k := &s.Keys
	reply, err := s.run(ctx, s.Scripts.resolve, []string{k.Records, k.Leases, k.Retry, k.Dead},
		[]string{r.ID + "|" + r.Token, string(r.Action), millis(max(r.After, 0)), r.Reason, r.Detail})
	if err != nil {
		return false, time.Time{}, err
	}
	n, err := ints(reply, 3)
	if err != nil {
		return false, time.Time{}, err
	}
	return n[1] == 1, s.clock.after(n[0], n[2]), nil
}
