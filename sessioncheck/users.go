package sessioncheck

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// maxPending bounds what waits to be written, and flushEvery for how long.
	maxPending = 65536
	flushEvery = time.Second
	// recentSlots is the size of what a process remembers to have written.
	recentSlots = 1 << 16
)

// Users keeps records of users beside the requests: the index of their sessions, and who
// was active on which day. It is safe for concurrent use.
type Users struct {
	cfg     Config
	redis   Redis
	log     zerolog.Logger
	schema  *schema
	cluster bool
	header  string // of the lifecycle, in lower case
	seed    maphash.Seed
	// What this process has noted lately: a hash for each slot. Two that share a slot
	// cost a write too many, never one too few.
	users, sessions []atomic.Uint64

	mu       sync.Mutex // taken for the first request of a session only
	active   map[activity]struct{}
	sights   map[string]sight // by session id
	dropped  atomic.Uint64
	marked   atomic.Uint64
	indexed  atomic.Uint64
	failures atomic.Uint64
}

// activity is one user on one day.
type activity struct {
	day  int32 // since 1970-01-01, UTC
	user string
}

// sight is a session to be entered into its user's index.
type sight struct {
	session *Session
	ttl     time.Duration
}

// NewUsers makes the records that the settings ask for; nil, which is valid and does
// nothing, when they ask for none. Run must run for anything to be written. cluster
// says that Redis is a Cluster.
func NewUsers(cfg Config, redis Redis, cluster bool, log zerolog.Logger) *Users {
	if !cfg.Lifecycle && !cfg.Index && !cfg.ActiveUsers.Enabled {
		return nil
	}
	u := &Users{
		cfg: cfg, redis: redis, log: log, schema: newSchema(&cfg, nil), cluster: cluster,
		header: strings.ToLower(cfg.LifecycleHeader), seed: maphash.MakeSeed(),
		active: make(map[activity]struct{}), sights: make(map[string]sight),
	}
	if cfg.ActiveUsers.Enabled {
		u.users = make([]atomic.Uint64, recentSlots)
	}
	if u.indexes() {
		u.sessions = make([]atomic.Uint64, recentSlots)
	}
	return u
}

func (u *Users) indexes() bool { return u.cfg.Index || u.cfg.Lifecycle }

// WithUsers has a Checker report whom it has seen.
func WithUsers(u *Users) Option { return func(o *options) { o.users = u } }

// saw notes a valid session. But for the first time on a day it is one comparison:
// the day is in the session, which lives as long as it is unchanged.
func (u *Users) saw(s *Session, now time.Time) {
	if u == nil {
		return
	}
	day := dayOf(now)
	if s.sighted.Load() == day {
		return
	}
	if s.userKey[0] != 'u' || u.note(s, day, now) {
		s.sighted.Store(day)
	}
}

// note gives false when there was no room: the next request tries again.
func (u *Users) note(s *Session, day int32, now time.Time) bool {
	noted := true
	if u.users != nil {
		noted = u.remember(u.users, s.userKey, uint64(day), func() bool {
			return put(u, &u.active, activity{day, s.userKey[1:]}, struct{}{})
		})
	}
	if u.sessions == nil {
		return noted
	}
	ttl := u.indexTTL(s, now)
	// Twice in the life of the index, so that it outlives its sessions.
	period := uint64(now.UnixMilli() / max(1, u.indexMin().Milliseconds()/2))
	return u.remember(u.sessions, s.sessionKey, period, func() bool {
		return put(u, &u.sights, s.id(), sight{s, ttl})
	}) && noted
}

// remember calls add unless it has done so for name in this period.
func (u *Users) remember(slots []atomic.Uint64, name string, period uint64, add func() bool) bool {
	h := maphash.String(u.seed, name) ^ (period+1)*0x9e3779b97f4a7c15
	slot := &slots[maphash.String(u.seed, name)%recentSlots]
	if slot.Load() == h {
		return true
	}
	if !add() {
		return false
	}
	slot.Store(h)
	return true
}

// put takes a pointer, since Flush replaces the map.
func put[K comparable, V any](u *Users, into *map[K]V, k K, v V) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	m := *into
	if _, there := m[k]; !there && len(m) >= maxPending {
		u.dropped.Add(1)
		return false
	}
	m[k] = v
	return true
}

// Run writes what was noted, each second, until the context ends, and then once more.
// One goroutine at a time may run it.
func (u *Users) Run(ctx context.Context) {
	if u == nil {
		return
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushEvery)
			defer cancel()
			u.Flush(last)
			return
		case <-tick.C:
			u.Flush(ctx)
		}
	}
}

// Flush writes what was noted, now. What Redis does not take waits for the next time.
func (u *Users) Flush(ctx context.Context) {
	if u == nil {
		return
	}
	u.mu.Lock()
	active, sights := u.active, u.sights
	u.active, u.sights = make(map[activity]struct{}), make(map[string]sight)
	u.mu.Unlock()
	u.flushActive(ctx, active)
	u.flushSights(ctx, sights)
}

// UserStats are counters since the start.
type UserStats struct {
	Marked   uint64 // users marked as active on a day
	Indexed  uint64 // sessions entered into an index
	Dropped  uint64 // first sights that found no room; the next request tries again
	Failures uint64 // writes that Redis did not take; they are tried again
}

// Stats gives the counters.
func (u *Users) Stats() UserStats {
	if u == nil {
		return UserStats{}
	}
	return UserStats{Marked: u.marked.Load(), Indexed: u.indexed.Load(), Dropped: u.dropped.Load(), Failures: u.failures.Load()}
}

func dayOf(t time.Time) int32 { return int32(t.Unix() / 86400) }
