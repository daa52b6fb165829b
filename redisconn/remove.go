package redisconn

import (
	"context"

	"github.com/redis/rueidis"
)

// removeBatch is how many keys one call removes.
const removeBatch = 256

// Remove deletes keys, in any slots, and returns when it has been done and this
// process's memory holds none of them: see Write. It gives how many there were. After an
// error some may be gone.
func (c *Conn) Remove(ctx context.Context, keys ...string) (int64, error) {
	var total int64
	for len(keys) > 0 {
		n := min(len(keys), removeBatch)
		removed, err := c.removeBatch(ctx, keys[:n:n])
		total += removed
		if err != nil {
			return total, err
		}
		keys = keys[n:]
	}
	return total, nil
}

func (c *Conn) removeBatch(ctx context.Context, keys []string) (int64, error) {
	c.stats.writes.Add(uint64(len(keys)))
	n, err := c.Run(ctx, func(ctx context.Context, client rueidis.Client) (int64, error) {
		cmds := make(rueidis.Commands, 0, 2*len(keys))
		for _, k := range keys {
			// EXISTS: its reply comes behind the invalidation of the DEL.
			cmds = append(cmds, client.B().Del().Key(k).Build(), client.B().Exists().Key(k).Build())
		}
		var removed int64
		for i, r := range client.DoMulti(ctx, cmds...) {
			n, err := r.AsInt64()
			if err != nil {
				return removed, err
			}
			if i%2 == 0 {
				removed += n
			}
		}
		return removed, nil
	})
	c.Forget(keys...)
	return n, err
}
