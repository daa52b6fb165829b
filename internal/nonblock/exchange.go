package nonblock

import "errors"

// Verdict is what a look at an idle connection found.
type Verdict uint8

// The verdicts.
const (
	Quiet       Verdict = iota // nothing to read: fit for use
	Gone                       // closed or broken
	Unsolicited                // bytes that answer no request
)

var (
	// ErrUnfit says that a connection proved unfit before anything was sent on it.
	ErrUnfit = errors.New("the connection cannot be used again")
	// ErrNotSent says that the request did not go out whole; see Exchange.
	ErrNotSent = errors.New("the request was not sent")
)
