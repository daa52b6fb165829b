package cache

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/redisconn"
)

//go:embed lua/put.lua
var putScript string

//go:embed lua/release.lua
var releaseScript string

//go:embed lua/variant.lua
var variantScript string

//go:embed lua/alias.lua
var aliasScript string

//go:embed lua/renew.lua
var renewScript string

// Conn is what the store needs of Redis.
type Conn interface {
	Peek(key []byte, now time.Time) *redisconn.Value
	Get(ctx context.Context, key string, mode redisconn.Mode) (*redisconn.Value, error)
	Write(ctx context.Context, key string, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error)
	WriteAll(ctx context.Context, keys []string, build func(b rueidis.Builder, i int) rueidis.Completed) error
	Run(ctx context.Context, fn func(context.Context, rueidis.Client) (int64, error)) (int64, error)
	Watch(key string) (changed <-chan struct{}, stop func())
	Forget(keys ...string)
	ForgetAll()
	Tracking() bool
	Up() bool
	Prefix() string
}

// Store keeps entries, fill leases and purge marks in Redis. It is safe for
// concurrent use. Errors wrap redisconn.ErrUnavailable.
type Store struct {
	conn    Conn
	maxTTL  time.Duration
	put     *rueidis.Lua
	release *rueidis.Lua
	renew   *rueidis.Lua
	alias   *rueidis.Lua
	variant *rueidis.Lua
}

// NewStore makes a store. maxTTL is the longest lifetime of an entry: purge marks
// live longer.
func NewStore(conn Conn, maxTTL time.Duration) *Store {
	return &Store{
		conn: conn, maxTTL: maxTTL,
		put: rueidis.NewLuaScript(putScript), release: rueidis.NewLuaScript(releaseScript),
		renew: rueidis.NewLuaScript(renewScript), alias: rueidis.NewLuaScript(aliasScript), variant: rueidis.NewLuaScript(variantScript),
	}
}

// Up says whether Redis answers, as far as is known.
func (s *Store) Up() bool { return s.conn.Up() }

// Prefix is what the store's key names start with.
func (s *Store) Prefix() string { return s.conn.Prefix() }

// Peek looks in memory only: no command, no allocation.
func (s *Store) Peek(key []byte, now time.Time) *redisconn.Value { return s.conn.Peek(key, now) }

// Get reads an entry from Redis, into memory. An absent one is a value that does
// not exist.
func (s *Store) Get(ctx context.Context, key []byte) (*redisconn.Value, error) {
	return s.conn.Get(ctx, string(key), redisconn.ForgetAbsent)
}

// Remember is Get that keeps an absence in memory too, until the key is written.
func (s *Store) Remember(ctx context.Context, key string, now time.Time) (*redisconn.Value, error) {
	if v := s.conn.Peek([]byte(key), now); v != nil {
		return v, nil
	}
	return s.conn.Get(ctx, key, redisconn.RememberAbsent)
}

// leaseTTL bounds how long a pod that died keeps others from filling a key. A fill
// that takes long renews its lease.
const (
	leaseTTL   = 3 * time.Second
	leaseRenew = time.Second
)

// Lease is the right to store one entry. Whoever holds it is the one that asks the
// application; others wait for the entry.
type Lease struct {
	key, token string
	store      *Store

	mu    sync.Mutex
	ended bool
	timer *time.Timer
}

// end stops the renewal.
func (l *Lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.timer.Stop()
}

// keep renews the lease once and arms the timer again, until end.
func (l *Lease) keep() {
	l.mu.Lock()
	ended := l.ended
	l.mu.Unlock()
	if ended {
		return
	}
	held, err := l.store.conn.Run(context.Background(), func(ctx context.Context, c rueidis.Client) (int64, error) {
		return l.store.renew.Exec(ctx, c, []string{l.key}, []string{l.token, strconv.FormatInt(leaseTTL.Milliseconds(), 10)}).AsInt64()
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended && (held == 1 || err != nil) {
		l.timer.Reset(leaseRenew)
	}
}

// Begin takes the fill lease of a key (SET NX PX): nil when another fill has it. It
// must be ended by Put or Release, and is renewed until then.
func (s *Store) Begin(ctx context.Context, leaseKey string) (*Lease, error) {
	l, _, err := s.begin(ctx, leaseKey, "")
	return l, err
}

// BeginFill is Begin, and says whether there is an entry (EXISTS) once the lease is taken:
// another fill may have stored one since it was looked for.
func (s *Store) BeginFill(ctx context.Context, leaseKey, entryKey string) (l *Lease, there bool, err error) {
	return s.begin(ctx, leaseKey, entryKey)
}

func (s *Store) begin(ctx context.Context, leaseKey, entryKey string) (*Lease, bool, error) {
	// Not a named result: after a timeout the function still runs, and reads it.
	l := &Lease{key: leaseKey, token: rand.Text(), store: s}
	got, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		cmds := []rueidis.Completed{c.B().Set().Key(l.key).Value(l.token).Nx().Px(leaseTTL).Build()}
		if entryKey != "" {
			cmds = append(cmds, c.B().Exists().Key(entryKey).Build())
		}
		replies := c.DoMulti(ctx, cmds...)
		if err := replies[0].Error(); err != nil {
			return 0, err // nil reply: another has it
		}
		if entryKey == "" {
			return 1, nil
		}
		n, _ := replies[1].AsInt64() // the lease is ours in any case
		return 1 + n, nil
	})
	if err != nil || got == 0 {
		return nil, false, err
	}
	l.mu.Lock()
	l.timer = time.AfterFunc(leaseRenew, l.keep)
	l.mu.Unlock()
	return l, got > 1, nil
}

// Put stores the entry under the lease and gives the lease back. stored is false
// when a purge has taken the lease away meanwhile, and while the entry's slot of a
// Cluster migrates. When Put returns, memory no longer holds what was there before.
func (s *Store) Put(ctx context.Context, l *Lease, key string, entry []byte, ttl time.Duration) (stored bool, err error) {
	l.end()
	ms := max(ttl.Milliseconds(), 1)
	n, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		n, err := s.put.Exec(ctx, c, []string{l.key, key}, []string{l.token, rueidis.BinaryString(entry), strconv.FormatInt(ms, 10)}).AsInt64()
		if err != nil {
			return 0, err
		}
		// Behind the script on the same connection: its reply vouches that the
		// invalidation of what was there has been applied.
		return n, c.Do(ctx, c.B().Exists().Key(key).Build()).Error()
	})
	s.conn.Forget(key)
	if redisconn.IsTryAgain(err) {
		// Nothing was done, and Redis is not down: others must not wait for the lease, nor
		// be given what a purge may have overtaken.
		return false, s.Release(ctx, l)
	}
	return n == 1 && err == nil, err
}

// PutVariant stores an entry that only an index leads to, whose own Put decides
// whether it can be reached.
func (s *Store) PutVariant(ctx context.Context, key string, entry []byte, ttl time.Duration) error {
	_, err := s.conn.Write(ctx, key, func(b rueidis.Builder) rueidis.Completed {
		return b.Set().Key(key).Value(rueidis.BinaryString(entry)).Px(max(ttl, time.Millisecond)).Build()
	})
	return err
}

// MaxVariants bounds the variants of one URL that are stored at the same time.
const MaxVariants = 64

// AllowVariant says whether one more variant may be stored beside those of the same
// index. primary is the index's key, variant the variant's.
func (s *Store) AllowVariant(ctx context.Context, primary, variant string, generation uint64) (bool, error) {
	set := primary + ":v:" + strconv.FormatUint(generation, 36)
	life := strconv.FormatInt((s.maxTTL + MaxStale).Milliseconds(), 10)
	n, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return s.variant.Exec(ctx, c, []string{set}, []string{variant, strconv.Itoa(MaxVariants), life}).AsInt64()
	})
	return n == 1, err
}

// PutAlias stores an entry under a second name, in the slot of its first, as long as
// the first holds an entry with this checksum: a purge that came meanwhile is one for
// both.
func (s *Store) PutAlias(ctx context.Context, key, alias string, of, entry []byte, ttl time.Duration) error {
	sum := string(of[len(of)-checksumSize:])
	ms := strconv.FormatInt(max(ttl.Milliseconds(), 1), 10)
	_, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return s.alias.Exec(ctx, c, []string{key, alias}, []string{sum, rueidis.BinaryString(entry), ms}).AsInt64()
	})
	s.conn.Forget(alias)
	return err
}

// Release gives a lease back without storing anything.
func (s *Store) Release(ctx context.Context, l *Lease) error {
	l.end()
	_, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return s.release.Exec(ctx, c, []string{l.key}, []string{l.token}).AsInt64()
	})
	return err
}

// Await waits until another fill has stored an entry that will do, has given its
// lease back, or ctx ends. An invalidation wakes it; without tracking it polls.
func (s *Store) Await(ctx context.Context, key, leaseKey string, done func(*redisconn.Value) bool) {
	changed, stop := s.conn.Watch(key)
	defer stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		// A tracked read, of an absent key too, is what makes a change known here.
		v, err := s.conn.Get(ctx, key, redisconn.ForgetAbsent)
		if err != nil || v.Exists() && done(v) {
			return
		}
		if held, err := s.Held(ctx, leaseKey); err != nil || !held {
			return
		}
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}

// Held says whether some fill has the lease now: a purge takes it away.
func (s *Store) Held(ctx context.Context, leaseKey string) (bool, error) {
	n, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return c.Do(ctx, c.B().Exists().Key(leaseKey).Build()).AsInt64()
	})
	return n == 1, err
}

// Holds says whether Redis still has the lease as it was taken: a purge takes it away,
// and then another fill may have one of the same name.
func (s *Store) Holds(ctx context.Context, l *Lease) (bool, error) {
	n, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		token, err := c.Do(ctx, c.B().Get().Key(l.key).Build()).ToString()
		if err != nil || token != l.token {
			return 0, err
		}
		return 1, nil
	})
	return n == 1, err
}

// Mark gives a tag's purge mark: an opaque value, empty when the tag was not purged
// within the lifetime of any entry. An entry is valid only while each of its tags
// has the mark that it had when the fill began. Comparing for equality needs no
// clock: any new value purges, whoever writes it, and a fill that began before a
// purge carries the mark from before it.
func (s *Store) Mark(ctx context.Context, markKey []byte, now time.Time) (mark string, err error) {
	v := s.conn.Peek(markKey, now)
	if v == nil {
		if v, err = s.conn.Get(ctx, string(markKey), redisconn.RememberAbsent); err != nil {
			return "", err
		}
	}
	return v.String(), nil
}

// MarkSince is Mark for a tag that became known only with the response, whose fill
// began at since: ok is false when the tag was purged after that. The error is that of
// Redis. The mark's remaining life tells when it was written, given that it was
// written to live for MarkLife, as PurgeTag does; of one that was written to live
// longer it cannot be told.
func (s *Store) MarkSince(ctx context.Context, markKey []byte, since time.Time) (mark string, ok bool, err error) {
	v := s.conn.Peek(markKey, time.Now())
	if v == nil {
		if v, err = s.conn.Get(ctx, string(markKey), redisconn.RememberAbsent); err != nil {
			return "", false, err
		}
	}
	if expires := v.ExpireAt(); v.Exists() && !expires.IsZero() {
		written := expires.Add(-MarkLife(s.maxTTL))
		// A little slack for the rounding of a remaining life in whole milliseconds.
		if now := time.Now(); written.Before(now.Add(time.Second)) && written.After(since.Add(-5*time.Millisecond)) {
			return "", false, nil
		}
	}
	return v.String(), true, nil
}

// PurgeTag makes every entry with the tag invalid, on every pod, with one write
// (SET with an expiry), however many entries there are. When it returns, this
// process serves none of them.
func (s *Store) PurgeTag(ctx context.Context, tag string) error {
	key := TagName(s.conn.Prefix(), []byte(tag))
	mark := rand.Text()
	_, err := s.conn.Write(ctx, key, func(b rueidis.Builder) rueidis.Completed {
		return b.Set().Key(key).Value(mark).Px(MarkLife(s.maxTTL)).Build()
	})
	return err
}

// PartsKey is the key of the index of the parts (206) that are stored beside an entry,
// in its slot, and PartsLease that of the lease of their fills.
func PartsKey(key string) string   { return key + ":r" }
func PartsLease(key string) string { return key + ":r:l" }

// purged are the keys that the purge of an entry removes, in the order in which that is
// safe one by one: a fill whose lease is gone stores nothing.
func purged(key, leaseKey string) []string {
	return []string{leaseKey, PartsLease(key), key, PartsKey(key)}
}

// PurgeKey removes one entry, or the index of its variants, that of its parts, and the
// leases of fills that are under way, which then cannot store what they bring (UNLINK). When it
// returns, this process does not serve the entry.
func (s *Store) PurgeKey(ctx context.Context, key, leaseKey string) (found bool, err error) {
	msg, err := s.conn.Write(ctx, key, func(b rueidis.Builder) rueidis.Completed {
		return b.Unlink().Key(purged(key, leaseKey)...).Build()
	})
	s.conn.Forget(PartsKey(key))
	if redisconn.IsTryAgain(err) {
		return s.purgeEach(ctx, []string{key}, []string{leaseKey})
	}
	if err != nil {
		return false, err
	}
	n, err := msg.AsInt64()
	return n > 0, err
}

// PurgeKeys is PurgeKey for several entries, in one wait. An error says that not all are
// known to be removed.
func (s *Store) PurgeKeys(ctx context.Context, keys, leaseKeys []string) error {
	err := s.conn.WriteAll(ctx, keys, func(b rueidis.Builder, i int) rueidis.Completed {
		return b.Unlink().Key(purged(keys[i], leaseKeys[i])...).Build()
	})
	for _, key := range keys {
		s.conn.Forget(PartsKey(key))
	}
	if redisconn.IsTryAgain(err) {
		_, err = s.purgeEach(ctx, keys, leaseKeys)
	}
	return err
}

// purgeEach removes keys one by one, for a slot of a Cluster that migrates: that refuses
// commands of several keys, such as UNLINK of some that are absent, until it has.
func (s *Store) purgeEach(ctx context.Context, keys, leaseKeys []string) (found bool, err error) {
	var all []string
	for i, key := range keys {
		all = append(all, purged(key, leaseKeys[i])...)
	}
	n, err := s.conn.Run(ctx, func(ctx context.Context, c rueidis.Client) (gone int64, err error) {
		cmds := make(rueidis.Commands, 0, 2*len(all))
		for _, key := range all {
			cmds = append(cmds, c.B().Unlink().Key(key).Build(), c.B().Exists().Key(key).Build()) // EXISTS: see Put
		}
		for i, r := range c.DoMulti(ctx, cmds...) {
			n, rerr := r.AsInt64()
			if err = errors.Join(err, rerr); i%2 == 0 {
				gone += n
			}
		}
		return gone, err
	})
	s.conn.Forget(all...)
	return n > 0, err
}
