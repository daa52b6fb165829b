package queue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/sink"
)

// pillion is the agent that this suite is for.
type pillion struct{ b *Bench }

func (p *pillion) name() string { return "pillion" }

func (p *pillion) available(ctx context.Context) (string, error) {
	return proc.PillionVersion(ctx, p.b.Pillion)
}

// source is the key of a queue; so long names do not matter, they are short.
func source(queue int) string { return fmt.Sprintf("bench:q%d", queue) }

func (p *pillion) enqueue(ctx context.Context, r *proc.Redis, n int, due func(int) time.Time) error {
	const batch = 1000
	for begin := 0; begin < n; begin += batch {
		pipe := r.Pipeline()
		for id := begin; id < min(begin+batch, n); id++ {
			if due == nil {
				pipe.RPush(ctx, source(0), sink.Payload(id, 0))
				continue
			}
			at := due(id)
			pipe.ZAdd(ctx, source(0), redis.Z{Score: float64(at.UnixMicro()) / 1e6, Member: sink.Payload(id, at.UnixMicro())})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *pillion) trickle(ctx context.Context, r *proc.Redis, n int, every time.Duration, queues int) error {
	return trickle(ctx, n, every, func(id int) error {
		return r.RPush(ctx, source(id%queues), sink.Payload(id, time.Now().UnixMicro())).Err()
	})
}

func (p *pillion) start(ctx context.Context, r *proc.Redis, url string, o options) (*proc.Process, error) {
	return proc.StartPillion(ctx, proc.PillionSpec{
		Path: p.b.Pillion, Dir: p.b.Work, Config: pillionConfig(url, p.b.Concurrency, o), Redis: r.Addr,
	})
}

// pillionConfig is queues and nothing else; all that is not named has its default.
func pillionConfig(url string, concurrency int, o options) string {
	kind := "list"
	if o.delay {
		kind = "delay"
	}
	var b strings.Builder
	b.WriteString("listen: \"off\"\nqueues:\n")
	for i := range o.queues {
		fmt.Fprintf(&b, "  - { name: q%d, %s: %q, webhook: { url: %q }, concurrency: %d }\n", i, kind, source(i), url, concurrency)
	}
	return b.String()
}
