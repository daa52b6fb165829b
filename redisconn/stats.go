package redisconn

import "sync/atomic"

type counters struct {
	reads, writes, timeouts, rejected atomic.Uint64
}

// Stats are counters since the start, and the size of memory now.
type Stats struct {
	Reads         uint64 // keys read from Redis
	Writes        uint64 // commands that changed a key
	Timeouts      uint64 // calls that got no answer in time
	Rejected      uint64 // calls refused because too many were waiting
	Invalidations uint64 // keys that the server said have changed
	Evictions     uint64 // values that memory had no room for
	Items         int    // values in memory
	Bytes         int64  // what they cost, overhead included
}

// Stats gives the counters. It takes each shard's lock for a moment.
func (c *Conn) Stats() Stats {
	s := Stats{
		Reads: c.stats.reads.Load(), Writes: c.stats.writes.Load(),
		Timeouts: c.stats.timeouts.Load(), Rejected: c.stats.rejected.Load(),
		Invalidations: c.mem.pushed.Load(), Evictions: c.mem.evicted.Load(),
	}
	for i := range c.mem.shards {
		sh := &c.mem.shards[i]
		sh.mu.RLock()
		s.Items += sh.filled()
		s.Bytes += sh.bytes
		sh.mu.RUnlock()
	}
	return s
}
