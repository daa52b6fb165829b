package redisconn

import (
	"context"
	"fmt"
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
			c.mem.drop(key)
			return msg, unavailable(ignoreNil(err))
		}
		out := client.DoMulti(ctx, build(client.B()), client.B().Exists().Key(key).Build())
		msg, err := out[0].ToMessage()
		if err = ignoreNil(err); err == nil {
			err = out[1].NonRedisError()
		}
		return msg, unavailable(err)
	})
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

// Expire sets the lifetime of several keys in one pipeline (PEXPIRE). Keys that
// are absent stay absent.
func (c *Conn) Expire(ctx context.Context, keys []string, ttl time.Duration) error {
	_, err := c.Run(ctx, func(ctx context.Context, client rueidis.Client) (int64, error) {
		cmds := make(rueidis.Commands, 0, len(keys))
		for _, k := range keys {
			cmds = append(cmds, client.B().Pexpire().Key(k).Milliseconds(ttl.Milliseconds()).Build())
		}
		for _, r := range client.DoMulti(ctx, cmds...) {
			if err := r.Error(); err != nil {
				return 0, err
			}
		}
		return int64(len(keys)), nil
	})
	return err
}
