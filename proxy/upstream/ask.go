package upstream

import "errors"

var (
	// errUnfit says that a pooled connection proved unfit before anything was sent on it.
	errUnfit = errors.New("the connection cannot be used again")
	// errNotSent says that the request did not go out whole; see asker.wrote and err.
	errNotSent = errors.New("the request was not sent")
)

// askable says whether ask works on this connection: it needs the socket itself.
func (s *source) askable() bool { return s.asker.able() }
