package sessioncheck

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

//go:embed scripts/index.lua
var indexScript string

const (
	// maxIndexed bounds the sessions of one user where session.max_per_user does not.
	maxIndexed = 1000
	// adminTimeout bounds one step of what a person asks for.
	adminTimeout = 5 * time.Second
	hashBytes    = 16
	// minIndexTTL is for sessions that live shorter than the time between two sights.
	minIndexTTL = 48 * time.Hour
	indexBatch  = 256
)

var errNotConnected = errors.New("redis has not been reached yet")

// SessionInfo is a session in a list. It does not have the id.
type SessionInfo struct {
	// Handle names the session for End. Nothing else can be done with it.
	Handle  string
	Created time.Time // when it was created, or first seen here
	// LastSeen is zero where it is not known. It is right to within the time between two
	// renewals.
	LastSeen time.Time
	Expires  time.Time // zero: it does not
}

// member is a session in an index.
type member struct {
	id      string
	created time.Time
	left    int64 // PTTL: -2 for none, -1 for no expiry
}

// indexKey names the sorted set of a user's sessions.
func (u *Users) indexKey(user string) string { return u.redis.Prefix() + "u:" + shortHash(user) }

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:hashBytes])
}

// indexMin is the least life of an index without a new sight.
func (u *Users) indexMin() time.Duration { return max(2*u.cfg.TTL, minIndexTTL) }

// indexTTL outlives the session: one without an expiry by being seen.
func (u *Users) indexTTL(s *Session, now time.Time) time.Duration {
	ttl := u.indexMin()
	if s.expireAt == 0 {
		return max(ttl, activeTTL)
	}
	return min(max(ttl, time.UnixMilli(s.expireAt).Sub(now)+minIndexTTL), activeTTL)
}

func (u *Users) limit() int {
	if u.cfg.MaxPerUser > 0 {
		return min(u.cfg.MaxPerUser, maxIndexed)
	}
	return maxIndexed
}

// enter adds a session to its user's index, and ends the oldest ones that are too many.
// leaving is the session that this one is about to replace, if any: it does not count,
// and a rotated one hands its age on. A session without a user has no index.
func (u *Users) enter(ctx context.Context, s, leaving *Session, rotated bool, ttl time.Duration) error {
	if s.User() == "" {
		return nil
	}
	left, timeOf := "", ""
	if leaving != nil && leaving.User() == s.User() {
		left = leaving.id()
	}
	if rotated {
		timeOf = left
	}
	key, id := u.indexKey(s.User()), s.id()
	ttl = max(ttl+minIndexTTL, u.indexTTL(s, time.Now()))
	n, err := u.redis.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return c.Do(ctx, indexCommand(c, key, id, timeOf, ttl)).AsInt64()
	})
	if err != nil {
		return err
	}
	if left != "" {
		n--
	}
	if n > int64(u.limit()) {
		return u.trim(ctx, key, id, left)
	}
	return nil
}

func indexCommand(c rueidis.Client, key, id, timeOf string, ttl time.Duration) rueidis.Completed {
	return c.B().Eval().Script(indexScript).Numkeys(1).Key(key).Arg(strconv.FormatInt(expiresIn(ttl), 10), id, timeOf).Build()
}

// leave takes a session that has ended out of its index. Should that fail, it is found
// to be of no session later.
func (u *Users) leave(ctx context.Context, s *Session) {
	if s.User() == "" {
		return
	}
	_ = u.drop(ctx, u.indexKey(s.User()), []string{s.id()})
}

func (u *Users) drop(ctx context.Context, key string, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	_, err := u.redis.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		return c.Do(ctx, c.B().Zrem().Key(key).Member(ids...).Build()).AsInt64()
	})
	return err
}

// trim ends the oldest sessions of an index that holds too many, but for keep. Those
// that have ended already do not count, and leave; nor does the one that is leaving. Two
// that trim at once end the same ones, since both see the same order.
func (u *Users) trim(ctx context.Context, key, keep, leaving string) error {
	alive, err := u.members(ctx, key)
	if err != nil {
		return err
	}
	alive = slices.DeleteFunc(alive, func(m member) bool { return m.id == leaving })
	var ids, keys []string
	for _, m := range alive {
		if len(alive)-len(ids) <= u.limit() {
			break
		}
		if m.id != keep {
			ids, keys = append(ids, m.id), append(keys, u.schema.key(m.id))
		}
	}
	if _, err := u.redis.Remove(ctx, keys...); err != nil {
		return err
	}
	return u.drop(ctx, key, ids)
}

// members gives the sessions of an index that exist, oldest first, and removes the
// others from it.
func (u *Users) members(ctx context.Context, key string) ([]member, error) {
	type found struct {
		alive []member
		gone  []string
	}
	out, err := ask(ctx, u.redis, func(ctx context.Context, c rueidis.Client) (f found, err error) {
		f.alive, f.gone, err = u.readMembers(ctx, c, key)
		return f, err
	})
	if err != nil {
		return nil, err
	}
	return out.alive, u.drop(ctx, key, out.gone)
}

// ask runs fn within the Redis timeout: a request waits for its answer.
func ask[T any](ctx context.Context, r Redis, fn func(context.Context, rueidis.Client) (T, error)) (out T, err error) {
	answer := make(chan T, 1) // fn may go on when nobody waits any more
	_, err = r.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		v, err := fn(ctx, c)
		answer <- v
		return 0, err
	})
	if err != nil {
		return out, err
	}
	return <-answer, nil
}

func (u *Users) readMembers(ctx context.Context, c rueidis.Client, key string) (alive []member, gone []string, err error) {
	scores, err := c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Withscores().Build()).AsZScores()
	if err != nil || len(scores) == 0 {
		return nil, nil, err
	}
	cmds := make(rueidis.Commands, len(scores))
	for i, z := range scores {
		cmds[i] = c.B().Pttl().Key(u.schema.key(z.Member)).Build()
	}
	for i, r := range c.DoMulti(ctx, cmds...) {
		left, err := r.AsInt64()
		if err != nil {
			return nil, nil, err
		}
		if left == -2 {
			gone = append(gone, scores[i].Member)
			continue
		}
		alive = append(alive, member{scores[i].Member, time.UnixMilli(int64(scores[i].Score)), left})
	}
	return alive, gone, nil
}

// List gives the sessions of a user that the index knows, oldest first.
func (u *Users) List(ctx context.Context, user string) ([]SessionInfo, error) {
	alive, err := u.members(ctx, u.indexKey(user))
	if err != nil {
		return nil, err
	}
	out, now := make([]SessionInfo, 0, len(alive)), time.Now()
	for _, m := range alive {
		info := SessionInfo{Handle: shortHash(user) + shortHash(m.id), Created: m.created}
		if m.left >= 0 {
			info.Expires = now.Add(time.Duration(m.left) * time.Millisecond)
			// A renewal sets session.ttl, so what is left of it says when that was.
			if seen := info.Expires.Add(-u.cfg.TTL); u.cfg.Sliding && !seen.Before(m.created.Add(-time.Second)) && !seen.After(now) {
				info.LastSeen = seen
			}
		}
		out = append(out, info)
	}
	return out, nil
}

// EndAll ends every session of a user that the index knows: a log-out everywhere. It
// gives how many there were.
func (u *Users) EndAll(ctx context.Context, user string) (int, error) {
	key := u.indexKey(user)
	ids, err := ask(ctx, u.redis, func(ctx context.Context, c rueidis.Client) ([]string, error) {
		return c.Do(ctx, c.B().Zrange().Key(key).Min("0").Max("-1").Build()).AsStrSlice()
	})
	if err != nil {
		return 0, err
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = u.schema.key(id)
	}
	// The index last: after a failure, the next try finds the rest in it.
	n, err := u.redis.Remove(ctx, keys...)
	if err == nil {
		err = u.drop(ctx, key, ids)
	}
	return int(n), err
}

// ErrNoIndex says that the settings keep no index of sessions.
var ErrNoIndex = errors.New("sessions are not indexed: set session.lifecycle or session.index to true")

// Indexed gives ErrNoIndex where there is no index.
func (u *Users) Indexed() error {
	if u == nil || u.sessions == nil {
		return ErrNoIndex
	}
	return nil
}

// End ends the session that a handle of List names. found is false when there is none.
func (u *Users) End(ctx context.Context, handle string) (found bool, err error) {
	if len(handle) != 4*hashBytes {
		return false, nil
	}
	if _, err := hex.DecodeString(handle); err != nil {
		return false, nil
	}
	key := u.redis.Prefix() + "u:" + handle[:2*hashBytes]
	alive, err := u.members(ctx, key)
	if err != nil {
		return false, err
	}
	for _, m := range alive {
		if shortHash(m.id) != handle[2*hashBytes:] {
			continue
		}
		if _, err := u.redis.Remove(ctx, u.schema.key(m.id)); err != nil {
			return false, err
		}
		return true, u.drop(ctx, key, []string{m.id})
	}
	return false, nil
}

// flushSights enters sessions that were seen, in pipelines.
func (u *Users) flushSights(ctx context.Context, sights map[string]sight) {
	batch := make([]sight, 0, indexBatch)
	for len(sights) > 0 {
		batch = batch[:0]
		for id, s := range sights {
			batch = append(batch, s)
			delete(sights, id)
			if len(batch) == indexBatch {
				break
			}
		}
		if err := u.enterAll(ctx, batch); err != nil {
			u.failures.Add(1)
			u.log.Debug().Err(err).Msg("sessions were not indexed; this is tried again")
			for _, s := range batch {
				sights[s.session.id()] = s
			}
			putBack(u, &u.sights, sights)
			return
		}
		u.indexed.Add(uint64(len(batch)))
	}
}

// putBack keeps what waits, and drops what there is no room for.
func putBack[K comparable, V any](u *Users, into *map[K]V, from map[K]V) {
	for k, v := range from {
		put(u, into, k, v)
	}
}

// enterAll is enter for many sessions.
func (u *Users) enterAll(ctx context.Context, batch []sight) error {
	sights := append([]sight(nil), batch...) // the call may outlive its caller's wait
	counts, err := ask(ctx, u.redis, func(ctx context.Context, c rueidis.Client) ([]int64, error) {
		cmds := make(rueidis.Commands, len(sights))
		for i, s := range sights {
			cmds[i] = indexCommand(c, u.indexKey(s.session.User()), s.session.id(), "", s.ttl)
		}
		out := make([]int64, len(sights))
		for i, r := range c.DoMulti(ctx, cmds...) {
			n, err := r.AsInt64()
			if err != nil {
				return nil, fmt.Errorf("index of sessions: %w", err)
			}
			out[i] = n
		}
		return out, nil
	})
	if err != nil {
		return err
	}
	for i, n := range counts {
		if n <= int64(u.limit()) {
			continue
		}
		s := sights[i].session
		if err := u.trim(ctx, u.indexKey(s.User()), s.id(), ""); err != nil {
			return err
		}
	}
	return nil
}
