package sessioncheck

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/redisconn"
)

// Store reads sessions and renews them. *redisconn.Conn is one.
type Store interface {
	// Peek looks in trusted memory: nil when the key is not there.
	Peek(key []byte, now time.Time) *redisconn.Value
	// Get asks Redis. Any error means that nothing is known.
	Get(ctx context.Context, key string, mode redisconn.Mode) (*redisconn.Value, error)
	// Raise gives keys a longer lifetime in one pipeline, and says how many needed it.
	Raise(ctx context.Context, list []redisconn.Lifetime) (int64, error)
	// Watch signals when the key may have changed since it was read.
	Watch(key string) (changed <-chan struct{}, stop func())
	// Tracking says whether Watch ever signals.
	Tracking() bool
}

// Status is the outcome of a check.
type Status uint8

// The outcomes. The zero value is the one that gives no access and blames nobody.
const (
	Unknown Status = iota // Redis gave no answer: 503
	Absent                // no session: 401
	Valid
)

// Result is what a check found.
type Result struct {
	Status  Status
	Session *Session // set when Status is Valid
	Reason  Reason   // why Status is not Valid
	// FromCookie says that the id came with a cookie, which a browser sends by itself.
	FromCookie bool

	outage bool // Redis gave no answer; see grace
}

// Checker checks requests for a session. It is safe for concurrent use.
type Checker struct {
	store    Store
	log      zerolog.Logger
	sources  []source
	schema   *schema
	renewal  *renewal
	watches  *watches
	grace    *grace // nil when it is off
	counters counters
	scratch  sync.Pool
	// idHeaders are those of sources, for AppendWithout.
	idHeaders []string
	users     *Users       // nil: whom it sees is not recorded
	probes    probeLimit   // the checks that wait for Redis
	lastLog   atomic.Int64 // Unix milliseconds of the last line about a malformed session
}

// scratch is what one check needs beside its result.
type scratch struct {
	found [maxSources + 1]found // one for the cookie of the lifecycle
	key   [maxKeyFixed + maxIDBytes]byte
}

// Option changes a Checker when it is made.
type Option func(*options)

type options struct {
	fields    []string
	staleness time.Duration
	users     *Users
}

// WithFields names session fields that policies and tags will ask for, so that they
// are looked up once for each session and not for each request.
func WithFields(paths ...string) Option {
	return func(o *options) { o.fields = append(o.fields, paths...) }
}

// New makes a Checker. Its error is Problems, about the settings. Run must run for
// sessions to be renewed; Close ends what Watch started.
func New(cfg Config, store Store, log zerolog.Logger, opts ...Option) (*Checker, error) {
	if err := Problems(cfg.Check()).err(); err != nil {
		return nil, err
	}
	o := options{staleness: time.Second}
	for _, opt := range opts {
		opt(&o)
	}
	c := &Checker{store: store, log: log, schema: newSchema(&cfg, o.fields), renewal: newRenewal(&cfg), watches: newWatches(o.staleness)}
	c.users, c.probes = o.users, newProbeLimit()
	cfg.Sources = cfg.lifecycleSources()
	c.sources = compileSources(&cfg)
	c.grace, c.idHeaders = newGrace(&cfg), idHeaders(c.sources)
	c.scratch.New = func() any { return new(scratch) }
	return c, nil
}

// Check finds the session of a request. rawHeader is the block of its header lines
// as they were received; it is not kept. now must come from time.Now. With the
// session in memory it costs no Redis command and no allocation; else it takes at
// most the Redis timeout. The context may end the wait sooner.
func (c *Checker) Check(ctx context.Context, rawHeader []byte, now time.Time) Result {
	sc := c.scratch.Get().(*scratch)
	ids, reason := credentials(c.sources, rawHeader, &sc.found)
	var r Result
	var fromMemory bool
	switch len(ids) {
	case 0:
		r = Result{Status: Absent, Reason: reason}
	case 1:
		r, fromMemory = c.known(ctx, c.appendKey(sc.key[:0], ids[0]), now)
	default:
		r = c.lookupAll(ctx, ids, now)
	}
	r.FromCookie = fromCookie(c.sources, sc.found[:])
	c.scratch.Put(sc)
	c.account(r, fromMemory, now)
	return r
}

// Recall is Check as far as memory goes, for who must not wait: it gives a valid session
// that is there. In every other case ok is false, nothing is counted, and Check is to be
// asked. The fields are those of the header that Check would be given.
func (c *Checker) Recall(fields Fields, now time.Time) (r Result, ok bool) {
	sc := c.scratch.Get().(*scratch)
	defer c.scratch.Put(sc)
	ids, _ := fieldCredentials(c.sources, fields, &sc.found)
	if len(ids) != 1 {
		return r, false
	}
	v := c.store.Peek(c.appendKey(sc.key[:0], ids[0]), now)
	if v == nil || !v.Exists() {
		return r, false
	}
	if r = c.assess(v, now); r.Status != Valid {
		return r, false
	}
	if c.grace != nil {
		c.grace.note(r.Session, now)
	}
	r.FromCookie = fromCookie(c.sources, sc.found[:])
	c.account(r, true, now)
	return r, true
}

func (c *Checker) appendKey(dst, id []byte) []byte {
	dst = append(dst, c.schema.prefix...)
	dst = append(dst, id...)
	return append(dst, c.schema.suffix...)
}

// lookup asks memory, then Redis. The key is copied before it goes to Redis: a
// command may still wait to be sent when the request's buffers hold another request.
func (c *Checker) lookup(ctx context.Context, key []byte, now time.Time) (r Result, fromMemory bool) {
	v := c.store.Peek(key, now)
	fromMemory = v != nil
	if v == nil {
		var err error
		// Probing first, made-up ids leave nothing in Redis's tracking table.
		if v, err = c.probe(ctx, string(key)); err != nil {
			return Result{Status: Unknown, Reason: ReasonUnavailable}, false
		}
	}
	return c.assess(v, now), fromMemory
}

// assess says what a value in Redis, or its absence, means for the request.
func (c *Checker) assess(v *redisconn.Value, now time.Time) Result {
	if !v.Exists() {
		return Result{Status: Absent, Reason: ReasonNotFound}
	}
	s := c.session(v)
	if s.malformed {
		c.logMalformed(s, now)
		return Result{Status: Absent, Reason: ReasonMalformed}
	}
	if s.guest {
		return Result{Status: Absent, Reason: ReasonGuest}
	}
	if s.idleUntil != 0 && now.UnixMilli() >= s.idleUntil {
		// To its framework it has ended, though Redis keeps it for a while.
		return Result{Status: Absent, Reason: ReasonNotFound}
	}
	if s.tooOld(now) {
		return Result{Status: Absent, Reason: ReasonTooOld}
	}
	return Result{Status: Valid, Session: s}
}

// session gives the decoded form, which lives and dies with the value: an
// invalidation takes both. Two requests may decode at once; one result stays.
func (c *Checker) session(v *redisconn.Value) *Session {
	if s, ok := v.Decoded().(*Session); ok && s.schema == c.schema {
		return s
	}
	s, omitted := c.schema.decode(v.Key(), v.String(), v.ExpireAt())
	s.value = v
	c.counters.omitted.Add(uint64(omitted))
	v.SetDecoded(s, s.size())
	return s
}

// lookupAll tries several cookies of one name, all at once so that a slow Redis is
// waited for once. Valid sessions of two users are refused: whose request it is
// cannot be told, and an attacker may have planted one of them.
func (c *Checker) lookupAll(ctx context.Context, ids [][]byte, now time.Time) Result {
	var wg sync.WaitGroup
	results := make([]Result, len(ids))
	for i, id := range ids {
		key := c.appendKey(nil, id)
		wg.Go(func() { results[i], _ = c.known(ctx, key, now) })
	}
	wg.Wait()
	if i := slices.IndexFunc(results, func(r Result) bool { return r.Status == Unknown }); i >= 0 {
		return results[i] // the one not known may be the valid one, or a second
	}
	first := results[0]
	for _, r := range results {
		switch {
		case r.Status != Valid:
		case first.Status != Valid:
			first = r
		case first.Session.UserKey() != r.Session.UserKey():
			return Result{Status: Absent, Reason: ReasonAmbiguous}
		}
	}
	return first
}

// account counts the result and has a session renewed that is due.
func (c *Checker) account(r Result, fromMemory bool, now time.Time) {
	switch {
	case r.Status != Valid:
		c.counters.reasons[r.Reason].Add(1)
		return
	case r.outage:
		c.counters.grace.Add(1)
		return
	case fromMemory:
		c.counters.memory[r.Session.shard].Add(1)
	default:
		c.counters.redis.Add(1)
	}
	c.users.saw(r.Session, now)
	if c.renewal.due(r.Session, now) {
		c.enqueue(r.Session)
	}
}

// logMalformed writes at most one line a minute: what one client can ask for again
// and again must not fill the log.
func (c *Checker) logMalformed(s *Session, now time.Time) {
	last, ms := c.lastLog.Load(), now.UnixMilli()
	if ms-last < time.Minute.Milliseconds() || !c.lastLog.CompareAndSwap(last, ms) {
		return
	}
	c.log.Warn().Str("session", s.LogID()).Int("bytes", len(s.raw)).
		Msg("a session in redis is not " + c.schema.format.Stored + ": it counts as absent")
}
