package upstream

import "sync/atomic"

// Stats counts what the client did since New, and what it holds now.
type Stats struct {
	Requests     uint64 // calls of Do and Upgrade
	Dials        uint64 // connections opened, raw ones and upgrades included
	DialErrors   uint64 // attempts that failed
	Reused       uint64 // exchanges begun on a pooled connection
	Stale        uint64 // pooled connections found closed, unsolicited bytes included
	Unsolicited  uint64 // pooled connections found with bytes that nobody asked for
	Retries      uint64 // requests sent again because a pooled connection had died
	Interim      uint64 // 1xx responses consumed
	NoConnection uint64 // requests that found no connection in time
	HealthGood   uint64 // health checks that found the application well
	HealthBad    uint64 // and the others
	Up           bool   // the breaker is closed
	Open         int    // connections that count against MaxConnections, those being opened included
	Idle         int    // of these, the unused
	Waiting      int    // requests waiting for a connection
}

type counters struct {
	requests, dials, dialErrors, reused, stale, unsolicited, retries, interim, noConnection, healthGood, healthBad atomic.Uint64
}

// Stats may be called at any time, concurrently with everything else. The
// numbers are each exact, but not one instant's.
func (c *Client) Stats() Stats {
	open, idle, waiting := c.pool.sizes()
	return Stats{
		Requests:     c.n.requests.Load(),
		Dials:        c.n.dials.Load(),
		DialErrors:   c.n.dialErrors.Load(),
		Reused:       c.n.reused.Load(),
		Stale:        c.n.stale.Load(),
		Unsolicited:  c.n.unsolicited.Load(),
		Retries:      c.n.retries.Load(),
		Interim:      c.n.interim.Load(),
		NoConnection: c.n.noConnection.Load(),
		HealthGood:   c.n.healthGood.Load(),
		HealthBad:    c.n.healthBad.Load(),
		Up:           !c.breaker.blocked.Load(),
		Open:         open, Idle: idle, Waiting: waiting,
	}
}
