package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

// outcome says how a request was answered.
type outcome uint8

const (
	outcomePass         outcome = iota // by the application, the cache had no part
	outcomeHit                         // from memory or Redis
	outcomeMiss                        // by the application, and stored when allowed
	outcomeCollapsed                   // with another request's fill
	outcomeStale                       // stale, since the application failed
	outcomeUnauthorized                // 401
	outcomeForbidden                   // 403
	outcomeUnknown                     // 503, the session could not be checked
	outcomeRefused                     // by the guard
	outcomeError                       // the application gave no valid response
	outcomePurge                       // PURGE
	outcomes
)

// String is the label value in metrics and logs.
func (o outcome) String() string {
	return [...]string{"pass", "hit", "miss", "collapsed", "stale", "unauthorized", "forbidden", "session_unknown", "refused", "error", "purge"}[o]
}

const statShards = 16

// Stats counts requests. Counting touches one of several blocks, so that requests
// on different cores do not share a cache line.
type Stats struct {
	blocks [statShards]statBlock
	panics atomic.Uint64
	mu     sync.Mutex // refusals and failures are rare
	reason map[string]uint64
	failed map[Failure]uint64
	tasks  [taskResults]atomic.Uint64
}

// taskResult is what became of a task that a response of the application has.
type taskResult uint8

const (
	tasksQueued    taskResult = iota
	tasksDuplicate            // one of its deduplication key was there
	tasksInvalid              // counted once for a field that cannot be carried out
	tasksFailed               // Redis did not take it
	taskResults
)

func (r taskResult) String() string {
	return [...]string{"queued", "duplicate", "invalid", "failed"}[r]
}

func (s *Stats) countTasks(r taskResult, n int) { s.tasks[r].Add(uint64(n)) }

type statBlock struct {
	requests [outcomes]atomic.Uint64
	classes  [6]atomic.Uint64
	buckets  [len(bucketBounds) + 1]atomic.Uint64
	sumNanos atomic.Uint64
	_        [64]byte
}

// bucketBounds are the upper bounds of the latency histogram.
var bucketBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

func newStats() *Stats {
	return &Stats{reason: make(map[string]uint64), failed: make(map[Failure]uint64)}
}

func (s *Stats) count(shard int, o outcome, status int, took time.Duration) {
	b := &s.blocks[shard%statShards]
	b.requests[o].Add(1)
	if class := status / 100; class > 0 && class < len(b.classes) {
		b.classes[class].Add(1)
	}
	i := 0
	for i < len(bucketBounds) && took > bucketBounds[i] {
		i++
	}
	b.buckets[i].Add(1)
	b.sumNanos.Add(uint64(max(took, 0)))
}

func (s *Stats) refused(reason string) {
	s.mu.Lock()
	s.reason[reason]++
	s.mu.Unlock()
}

// Failure is what stands for the answer of an application that gave no valid one.
type Failure struct {
	Upstream string
	Status   int
}

func (s *Stats) upstreamFailed(name string, status int) {
	s.mu.Lock()
	s.failed[Failure{name, status}]++
	s.mu.Unlock()
}

// Counts is a copy of the counters since the start.
type Counts struct {
	Outcomes map[string]uint64  // requests by how they were answered
	Classes  map[string]uint64  // responses by status class: 2xx, …
	Refused  map[string]uint64  // requests that the guard refused, by reason
	Failed   map[Failure]uint64 // answers of pillion's own in place of the application's
	Tasks    map[string]uint64  // tasks of responses by what became of them
	Panics   uint64             // panics that were contained
	Buckets  map[float64]uint64
	Count    uint64
	Seconds  float64 // sum of all latencies
}

// Snapshot adds the blocks up.
func (s *Stats) Snapshot() Counts {
	c := Counts{
		Outcomes: make(map[string]uint64), Classes: make(map[string]uint64),
		Refused: make(map[string]uint64), Failed: make(map[Failure]uint64), Tasks: make(map[string]uint64), Buckets: make(map[float64]uint64),
	}
	var buckets [len(bucketBounds) + 1]uint64
	for i := range s.blocks {
		b := &s.blocks[i]
		for o := range outcomes {
			c.Outcomes[o.String()] += b.requests[o].Load()
		}
		for class := 1; class < len(b.classes); class++ {
			c.Classes[string(rune('0'+class))+"xx"] += b.classes[class].Load()
		}
		for j := range buckets {
			buckets[j] += b.buckets[j].Load()
		}
		c.Seconds += time.Duration(b.sumNanos.Load()).Seconds()
	}
	for j, n := range buckets {
		c.Count += n
		if j < len(bucketBounds) {
			c.Buckets[bucketBounds[j].Seconds()] = c.Count // cumulative, as Prometheus wants
		}
	}
	c.Panics = s.panics.Load()
	for r := range taskResults {
		c.Tasks[r.String()] = s.tasks[r].Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for r, n := range s.reason {
		c.Refused[r] = n
	}
	for st, n := range s.failed {
		c.Failed[st] = n
	}
	return c
}

// Stats gives the handler's counters.
func (h *Handler) Stats() Counts { return h.stats.Snapshot() }

// Add adds other's counters to c's.
func (c *Counts) Add(other Counts) {
	if c.Outcomes == nil {
		*c = other
		return
	}
	addTo(c.Outcomes, other.Outcomes)
	addTo(c.Classes, other.Classes)
	addTo(c.Refused, other.Refused)
	addTo(c.Failed, other.Failed)
	addTo(c.Tasks, other.Tasks)
	addTo(c.Buckets, other.Buckets)
	c.Panics += other.Panics
	c.Count += other.Count
	c.Seconds += other.Seconds
}

func addTo[K comparable](dst, src map[K]uint64) {
	for k, n := range src {
		dst[k] += n
	}
}
