package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/redisconn"
)

const (
	// podMemory is what a pod keeps at most: none of the scenarios fills it.
	podMemory = 16 << 20
	// patience bounds every wait for what should come at once.
	patience = 30 * time.Second
	// look is between two looks at something that is waited for.
	look = 2 * time.Millisecond
	// maxTTL is the longest lifetime of an entry, as cache.max_ttl is.
	maxTTL = 7 * 24 * time.Hour
)

// rig is a redis-server, a client beside the pods that stands for the application, and the pods.
type rig struct {
	server *redisproc.Server
	app    rueidis.Client
	pods   []*pod
}

// pod is what one pillion has on Redis.
type pod struct {
	conn  *redisconn.Conn
	store *cache.Store
}

// start starts a redis-server of its own, so that scenarios leave nothing to each other.
func start(args ...string) (*rig, error) {
	server, err := redisproc.Start(redisproc.Options{TCP: true, Args: args})
	if err != nil {
		return nil, err
	}
	app, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{server.Addr}, DisableCache: true, ForceSingleClient: true, PipelineMultiplex: -1,
		Dialer: net.Dialer{Timeout: patience, KeepAlive: -1}, // its own PINGs would be counted
	})
	if err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	return &rig{server: server, app: app}, nil
}

func (r *rig) close() {
	r.leave()
	r.app.Close()
	_ = r.server.Stop()
}

// leave ends all pods.
func (r *rig) leave() {
	var all sync.WaitGroup
	for _, p := range r.pods {
		all.Go(p.conn.Close)
	}
	all.Wait()
	r.pods = nil
}

// defaults are the settings of redis: that a user has who sets none.
func defaults() redisconn.Config { return redisconn.Default() }

// patient are settings with which a pod does not count Redis as down when this machine
// has no core left for it. There are few PINGs then.
func patient() redisconn.Config {
	cfg := redisconn.Default()
	cfg.Timeout, cfg.MaxStaleness = patience, patience
	return cfg
}

// join adds n pods.
func (r *rig) join(ctx context.Context, n int, cfg redisconn.Config) error {
	cfg.URL = "redis://" + r.server.Addr
	joined := make([]*pod, n)
	err := times(n, func(i int) error {
		conn, err := redisconn.Open(cfg, podMemory, zerolog.Nop(), redisconn.WithLayout(cache.Layout(cfg.Prefix)))
		if err != nil {
			return err
		}
		joined[i] = &pod{conn: conn, store: cache.NewStore(conn, maxTTL)}
		return await(ctx, "a pod reaches redis", func() (bool, error) { return conn.Up(), nil })
	})
	for _, p := range joined {
		if p != nil {
			r.pods = append(r.pods, p)
		}
	}
	return err
}

// with starts a rig with n pods.
func with(ctx context.Context, n int, cfg redisconn.Config, args ...string) (*rig, error) {
	r, err := start(args...)
	if err != nil {
		return nil, err
	}
	if err := r.join(ctx, n, cfg); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// do runs a command, given as words, as the application.
func (r *rig) do(ctx context.Context, words ...string) rueidis.RedisResult {
	return r.app.Do(ctx, r.app.B().Arbitrary(words...).Build())
}

// set writes many keys with one value.
func (r *rig) set(ctx context.Context, keys []string, value string) error {
	cmds := make(rueidis.Commands, 0, len(keys))
	for _, k := range keys {
		cmds = append(cmds, r.app.B().Set().Key(k).Value(value).Build())
	}
	for _, reply := range r.app.DoMulti(ctx, cmds...) {
		if err := reply.Error(); err != nil {
			return err
		}
	}
	return nil
}

// invalidations is how many keys all pods were told of.
func (r *rig) invalidations() (n uint64) {
	for _, p := range r.pods {
		n += p.conn.Stats().Invalidations
	}
	return n
}

// told waits until the pods have heard of n keys more than before.
func (r *rig) told(ctx context.Context, before uint64, n int) error {
	return await(ctx, fmt.Sprintf("%d invalidations arrive", n), func() (bool, error) {
		return r.invalidations()-before >= uint64(n), nil
	})
}

// readAll has every pod read every key, all pods at once, each one key after another.
func (r *rig) readAll(ctx context.Context, keys []string) error {
	return times(len(r.pods), func(i int) error {
		for _, k := range keys {
			if _, err := r.pods[i].store.Get(ctx, []byte(k)); err != nil {
				return err
			}
		}
		return nil
	})
}

// entryKeys are names of stored responses, of the length that they have.
func entryKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = cache.KeyName(defaults().Prefix, cache.HashKey(fmt.Append(nil, i)))
	}
	return keys
}

// entry stands for a stored response.
func entry() string { return strings.Repeat("x", 512) }

// times runs do n times at once and gives all errors.
func times(n int, do func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// await looks again and again until it is done.
func await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for: %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// pause lets time pass that is measured; the error is that of the context.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
