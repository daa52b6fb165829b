package redisconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/hashfields"
)

// Mode says how Get treats a key that is absent.
type Mode uint8

const (
	// ForgetAbsent keeps nothing about an absent key.
	ForgetAbsent Mode = iota
	// RememberAbsent keeps the absence in memory until the key is written. For
	// keys whose names the configuration bounds, such as purge marks.
	RememberAbsent
	// ProbeFirst asks without tracking first, so that keys named by strangers, such
	// as made-up session ids, leave nothing in the server's tracking table.
	ProbeFirst
	// ProbeHash is ProbeFirst for a Redis hash: all of its fields, as
	// internal/hashfields writes them, are the value (HGETALL).
	ProbeHash
)

// flight is one read from Redis that any number of callers wait for.
type flight struct {
	mode Mode
	done chan struct{}
	v    *Value
	err  error
}

// Peek looks the key up in memory: nil when it is not there, or when memory cannot
// be trusted now. It costs no Redis command and no allocation. now must carry the
// monotonic clock, as time.Now gives it.
func (c *Conn) Peek(key []byte, now time.Time) *Value {
	if !c.trusted(now) {
		return nil
	}
	return c.mem.get(key, now)
}

// requestWait is how long a request waits for Redis: the configured timeout less a
// tenth, which is left for the answer that says that Redis is down.
func (c *Conn) requestWait() time.Duration { return c.cfg.Timeout - c.cfg.Timeout/10 }

// Get reads the key from Redis (GET, with CLIENT CACHING YES where tracking is on)
// and keeps it in memory; without tracking for max_staleness, and not with ProbeFirst. Callers at the same time share one read. An absent key is
// a Value that does not exist, not an error; any error wraps ErrUnavailable and
// means that nothing is known, within the configured timeout.
func (c *Conn) Get(ctx context.Context, key string, mode Mode) (*Value, error) {
	if !c.Up() {
		return nil, fmt.Errorf("%w: redis is down", ErrUnavailable)
	}
	s := c.mem.shard(key)
	s.mu.Lock()
	f := s.flights[key]
	lead := f == nil || f.mode != mode
	if lead {
		f = &flight{mode: mode, done: make(chan struct{})}
		s.flights[key] = f
	}
	s.mu.Unlock()
	if lead {
		f.v, f.err = call(c, context.Background(), c.requestWait(), func(ctx context.Context, client rueidis.Client) (*Value, error) {
			return c.read(ctx, client, key, mode)
		})
		s.mu.Lock()
		if s.flights[key] == f {
			delete(s.flights, key)
		}
		s.mu.Unlock()
		close(f.done)
		return f.v, f.err
	}
	select {
	case <-f.done:
		return f.v, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
}

func (c *Conn) read(ctx context.Context, client rueidis.Client, key string, mode Mode) (*Value, error) {
	c.stats.reads.Add(1)
	if c.untracked.Load() {
		v, err := c.readUntracked(ctx, client, key, mode)
		if err == nil && mode != ProbeFirst && mode != ProbeHash {
			c.keepUntracked(v, mode)
		}
		return v, err
	}
	if mode == ProbeFirst || mode == ProbeHash {
		n, err := client.Do(ctx, client.B().Exists().Key(key).Build()).AsInt64()
		if err != nil {
			return nil, unavailable(err)
		}
		if n == 0 {
			return newValue(key, "", false), nil
		}
	}
	cmd := client.B().Get().Key(key).Cache()
	if mode == ProbeHash {
		cmd = client.B().Hgetall().Key(key).Cache()
	}
	msg, err := client.DoCache(ctx, cmd, maxLocal).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, unavailable(err)
	}
	// The same value, or a newer one, so that it is decoded once.
	if v := c.mem.find([]byte(key), time.Now()); v != nil {
		return v, nil
	}
	if err != nil {
		return newValue(key, "", false), nil
	}
	data, exists, err := content(msg)
	v := newValue(key, data, exists)
	v.expireAt = max(msg.CachePXAT(), 0)
	return v, unavailable(err)
}

func (c *Conn) readUntracked(ctx context.Context, client rueidis.Client, key string, mode Mode) (*Value, error) {
	now := time.Now()
	cmd := client.B().Get().Key(key).Build()
	if mode == ProbeHash {
		cmd = client.B().Hgetall().Key(key).Build()
	}
	out := client.DoMulti(ctx, cmd, client.B().Pttl().Key(key).Build())
	msg, err := out[0].ToMessage()
	if rueidis.IsRedisNil(err) {
		return newValue(key, "", false), nil
	}
	if err != nil {
		return nil, unavailable(err)
	}
	data, exists, err := content(msg)
	v := newValue(key, data, exists)
	if err != nil || !exists {
		return v, unavailable(err)
	}
	if pttl, err := out[1].AsInt64(); err == nil && pttl >= 0 {
		v.expireAt = now.UnixMilli() + pttl
	}
	return v, nil
}

// content gives what Redis answered as one string: the string, or the fields of a
// hash. A hash without fields is an absent key.
func content(msg rueidis.RedisMessage) (data string, exists bool, err error) {
	if !msg.IsMap() && !msg.IsArray() {
		data, err = msg.ToString()
		exists = err == nil
	} else {
		data, exists, err = fieldsOf(msg)
	}
	if len(data) > maxData {
		return "", false, fmt.Errorf("%w: a value of %d bytes", ErrUnavailable, len(data))
	}
	return data, exists, err
}

func fieldsOf(msg rueidis.RedisMessage) (data string, exists bool, err error) {
	fields, err := msg.AsStrMap()
	var out []byte
	for name, value := range fields {
		out = hashfields.Append(out, name, value)
	}
	return string(out), len(fields) > 0, err
}

// keepUntracked keeps a value for as long as memory may be stale, when the server does
// not say what changes: for stored responses and purge marks, never for sessions, which
// are read with ProbeFirst.
func (c *Conn) keepUntracked(v *Value, mode Mode) {
	if !v.Exists() && mode != RememberAbsent {
		return
	}
	kept := newValue(v.frontText(), v.backText(), v.Exists())
	kept.owner, kept.expireAt = &c.mem.untracked, v.expireAt
	kept.localUntil = time.Now().Add(c.cfg.MaxStaleness).UnixMilli()
	if v.expireAt > 0 {
		kept.localUntil = min(kept.localUntil, v.expireAt)
	}
	c.mem.put(kept)
}

// Forget drops keys from this process's memory, after a change of our own to them. With
// tracking it does nothing: it has happened already, see Write, and what is there now may
// be new. Not so on a Cluster: while a slot migrates, the node that did the write and the
// one that the value came from, which tells that it has handed the key over, may be two.
func (c *Conn) Forget(keys ...string) {
	if c.Tracking() && !c.mem.cluster {
		return
	}
	for _, key := range keys {
		c.mem.drop(key)
	}
}

// ForgetAll drops everything from this process's memory.
func (c *Conn) ForgetAll() { c.mem.flush() }

// unavailable makes every failure one kind: the caller does not know. WRONGTYPE,
// NOAUTH and LOADING are among them; none of them says that the key is absent.
func unavailable(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
