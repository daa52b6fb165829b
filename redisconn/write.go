package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

// Write runs one command that changes key and returns when it has been done and
// this process's memory no longer holds the old value. All bytes handed over must
// be copies.
//
// A reply may overtake the invalidation of its own write; a second command to the
// same node, behind it on the same connection, may not. So EXISTS follows the
// write, and its reply is waited for.
func (c *Conn) Write(ctx context.Context, key string, build func(rueidis.Builder) rueidis.Completed) (rueidis.RedisMessage, error) {
	if !c.Up() {
		return rueidis.RedisMessage{}, fmt.Errorf("%w: redis is down", ErrUnavailable)
	}
	c.stats.writes.Add(1)
	return call(c, ctx, c.requestWait(), func(ctx context.Context, client rueidis.Client) (rueidis.RedisMessage, error) {
		if c.untracked.Load() {
			msg, err := client.Do(ctx, build(client.B())).ToMessage()
			c.Forget(key)
			return msg, unavailable(ignoreNil(err))
		}
		out := client.DoMulti(ctx, build(client.B()), client.B().Exists().Key(key).Build())
		msg, err := out[0].ToMessage()
		if err = ignoreNil(err); err == nil {
			err = out[1].NonRedisError()
		}
		c.Forget(key)
		return msg, unavailable(err)
	})
}

// WriteAll is Write with a command for each of the keys, all in one wait. An error says
// that not all of them are known to be done.
func (c *Conn) WriteAll(ctx context.Context, keys []string, build func(b rueidis.Builder, i int) rueidis.Completed) error {
	if !c.Up() {
		return fmt.Errorf("%w: redis is down", ErrUnavailable)
	}
	c.stats.writes.Add(uint64(len(keys)))
	_, err := call(c, ctx, c.requestWait(), func(ctx context.Context, client rueidis.Client) (_ struct{}, err error) {
		cmds := make([]rueidis.Completed, 0, 2*len(keys))
		for i, key := range keys {
			// Each with an EXISTS of its own: in a cluster they may go to different nodes.
			cmds = append(cmds, build(client.B(), i), client.B().Exists().Key(key).Build())
		}
		for _, r := range client.DoMulti(ctx, cmds...) {
			err = errors.Join(err, ignoreNil(r.Error()))
		}
		c.Forget(keys...)
		return struct{}{}, unavailable(err)
	})
	return err
}

func ignoreNil(err error) error {
	if rueidis.IsRedisNil(err) {
		return nil
	}
	return err
}

// Run runs fn with the client, bounded as Get is, and gives what it returned. fn must
// finish with its context; all bytes that it hands to the client must be copies. It
// may still run when Run has given up, so it must not write to what the caller reads.
func (c *Conn) Run(ctx context.Context, fn func(context.Context, rueidis.Client) (int64, error)) (int64, error) {
	if !c.Up() {
		return 0, fmt.Errorf("%w: redis is down", ErrUnavailable)
	}
	n, err := call(c, ctx, c.requestWait(), fn)
	return n, unavailable(ignoreNil(err))
}

// Lifetime is one that a key is to have at least.
type Lifetime struct {
	Key string
	TTL time.Duration
	// Slack is how much less is good enough.
	Slack time.Duration
}

// raiseScript decides and sets in one step, so that of several pods that find a key
// due at the same moment one sets it: each PEXPIRE drops the key from the memory of
// all. It never shortens a lifetime, gives none to a key that has none, and does not
// bring back one that is gone. PEXPIRE's own GT is in no server before 7.0.
//
// KEYS[1] the key. ARGV[1] its lifetime and ARGV[2] the slack, in milliseconds.
// Returns 1 when it was set, else 0.
const raiseScript = `local left = redis.call('PTTL', KEYS[1])
if left < 0 or left + tonumber(ARGV[2]) >= tonumber(ARGV[1]) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])`

// Raise gives keys a longer lifetime, in one pipeline, and says how many needed it.
func (c *Conn) Raise(ctx context.Context, list []Lifetime) (raised int64, err error) {
	list = slices.Clone(list) // it may still be read when the call has given up
	return c.Run(ctx, func(ctx context.Context, client rueidis.Client) (int64, error) {
		cmds := make(rueidis.Commands, 0, len(list))
		for _, l := range list {
			cmds = append(cmds, client.B().Eval().Script(raiseScript).Numkeys(1).Key(l.Key).
				Arg(strconv.FormatInt(l.TTL.Milliseconds(), 10), strconv.FormatInt(l.Slack.Milliseconds(), 10)).Build())
		}
		var n int64
		for _, r := range client.DoMulti(ctx, cmds...) {
			set, err := r.AsInt64()
			if err != nil {
				return 0, err
			}
			n += set
		}
		return n, nil
	})
}
