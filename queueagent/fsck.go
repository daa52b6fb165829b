package queueagent

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// Fsck proves what must hold in Redis for some queues, while agents work on them or not. It
// gives one report for each queue, and a last one about Redis itself and about keys of
// queues that are not configured. With repair, what is wrong is put right where that is
// possible without a decision.
func Fsck(ctx context.Context, cfgs []Config, redis tasks.Connection, prefix string, repair bool) ([]tasks.Report, error) {
	scripts, err := tasks.LoadScripts()
	if err != nil {
		return nil, err
	}
	var reports []tasks.Report
	var stores []*tasks.Store
	for _, cfg := range cfgs {
		s := tasks.New(tasks.Options{
			Redis: redis, Scripts: scripts, Prefix: prefix, Queue: cfg.Name, Source: cfg.source(),
			Agent: "fsck", Nonce: "00000000000000000000000000000000", Lease: cfg.Lease,
		})
		r, err := s.Fsck(ctx, repair)
		if err != nil {
			return reports, fmt.Errorf("queue %s: %w", cfg.Name, err)
		}
		reports, stores = append(reports, r), append(stores, s)
	}
	all, err := tasks.FsckServer(ctx, redis)
	if err != nil {
		return reports, err
	}
	strays, err := tasks.FsckStrays(ctx, redis, prefix, stores)
	if err != nil {
		return reports, err
	}
	for _, f := range strays.Findings {
		all.Add(f.Fault, f.What, f.Detail)
	}
	return append(reports, all), nil
}

// warnOfEviction says once, when Redis is there, that it may evict tasks.
func (a *Agent) warnOfEviction() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if a.redis.Up() && a.redis.Client() != nil {
			policy, err := tasks.Evicts(a.stopped, a.redis)
			if err == nil {
				if policy != "" {
					a.log.Warn().Str("maxmemory-policy", policy).
						Msg("redis may evict tasks when its memory is full: set maxmemory-policy noeviction")
				}
				return
			}
			if _, refused := rueidis.IsRedisErr(err); refused {
				a.log.Debug().Err(err).Msg("redis does not tell its maxmemory-policy: it must be noeviction")
				return
			}
		}
		select {
		case <-a.stopped.Done():
			return
		case <-tick.C:
		}
	}
}
