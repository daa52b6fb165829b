package sessioncheck

import "sync/atomic"

// Reason says why a check did not find a valid session.
type Reason uint8

// The reasons. All but ReasonUnavailable go with Absent.
const (
	// ReasonNone goes with Valid.
	ReasonNone Reason = iota
	// ReasonMissing: the request has no session id.
	ReasonMissing
	// ReasonBadID: the id has no valid form; Redis was not asked.
	ReasonBadID
	// ReasonConflict: header lines name different ids; Redis was not asked.
	ReasonConflict
	// ReasonAmbiguous: cookies name valid sessions of different users.
	ReasonAmbiguous
	// ReasonNotFound: Redis has no such session.
	ReasonNotFound
	// ReasonGuest: nobody is logged in, by session.login.
	ReasonGuest
	// ReasonMalformed: what the application stored is no session.
	ReasonMalformed
	// ReasonTooOld: the session is older than session.absolute_timeout, or does not say
	// how old it is.
	ReasonTooOld
	// ReasonUnavailable goes with Unknown.
	ReasonUnavailable
	reasons
)

// String gives the reason in one word, fit for a metric's label.
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case ReasonMissing:
		return "missing"
	case ReasonBadID:
		return "bad_id"
	case ReasonConflict:
		return "conflict"
	case ReasonAmbiguous:
		return "ambiguous"
	case ReasonNotFound:
		return "not_found"
	case ReasonGuest:
		return "guest"
	case ReasonMalformed:
		return "malformed"
	case ReasonTooOld:
		return "too_old"
	case ReasonUnavailable:
		return "unavailable"
	}
	return "unknown"
}

const hitShards = 16

// counters keeps the count of hits in several places: one that every core writes
// for every request would bounce between them.
type counters struct {
	memory                             [hitShards]paddedCount
	redis                              atomic.Uint64
	grace                              atomic.Uint64
	reasons                            [reasons]atomic.Uint64
	omitted                            atomic.Uint64
	renewed, renewDropped, renewFailed atomic.Uint64
	ended                              atomic.Uint64
}

type paddedCount struct {
	atomic.Uint64
	_ [56]byte
}

// Stats are counters since the start.
type Stats struct {
	ValidMemory     uint64            // checks that memory answered
	ValidRedis      uint64            // checks that Redis answered
	ValidGrace      uint64            // checks that Redis did not answer, of sessions that were valid shortly before
	Absent          map[string]uint64 // by reason
	Unknown         uint64
	Renewed         uint64 // sessions whose lifetime was set again
	RenewDropped    uint64 // renewals that found the queue full; the next request tries again
	RenewFailed     uint64 // renewals that Redis did not answer; likewise
	Watched         int    // sessions on which something long-lived depends now
	ProbesRejected  uint64 // checks that were not made since too many waited for Redis
	WatchEnded      uint64 // what was told that its session is over
	IdentityOmitted uint64 // decoded fields left out because they are no safe header values
}

// Stats gives the counters.
func (c *Checker) Stats() Stats {
	n := &c.counters
	s := Stats{
		ValidRedis: n.redis.Load(), ValidGrace: n.grace.Load(), Unknown: n.reasons[ReasonUnavailable].Load(), Absent: make(map[string]uint64),
		Renewed: n.renewed.Load(), RenewDropped: n.renewDropped.Load(), RenewFailed: n.renewFailed.Load(),
		IdentityOmitted: n.omitted.Load(), WatchEnded: n.ended.Load(), ProbesRejected: c.probes.rejected.Load(),
	}
	c.watches.mu.Lock()
	s.Watched = len(c.watches.byKey)
	c.watches.mu.Unlock()
	for i := range n.memory {
		s.ValidMemory += n.memory[i].Load()
	}
	for r := ReasonMissing; r < ReasonUnavailable; r++ {
		s.Absent[r.String()] = n.reasons[r].Load()
	}
	return s
}
