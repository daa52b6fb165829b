// Package queueagent drains Redis lists, sorted sets and streams into webhook calls, at least
// once.
//
// Every state change is one Lua script on keys of one slot (tasks/scripts/*.lua), so Redis
// never holds half a move. A claim moves a task from its source into a record with a
// lease; an acknowledgement removes it; a failed attempt puts it into the retry set; a
// lease that nobody renews is taken away and its task delivered again. A task that
// cannot be delivered ends in a stream of dead letters, which is never trimmed here.
package queueagent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// Redis is what the agent needs of a connection to Redis. Its methods must be safe for
// concurrent use.
type Redis interface {
	// Client gives the client, or nil as long as Redis was never reached.
	Client() rueidis.Client
	// Watch signals (on a channel of capacity 1) when a key that was read by DoCache
	// may have changed, and when the connection that tells was lost. Without
	// tracking it never does.
	Watch(key string) (changed <-chan struct{}, stop func())
	// Up is false while Redis cannot be reached: the agent waits then.
	Up() bool
	// Tracking says whether Redis tells of changed keys.
	Tracking() bool
}

// defaultGrace is how long deliveries under way may take to end when Run is stopped.
const defaultGrace = 20 * time.Second

// Agent drains queues. Its methods are safe for concurrent use.
type Agent struct {
	redis   Redis
	log     zerolog.Logger
	queues  []*queue
	grace   time.Duration
	stop    context.CancelFunc // claim nothing more
	stopped context.Context
	abort   context.CancelFunc // end POSTs too
	aborted context.Context

	mu      sync.Mutex
	running bool
	done    chan struct{} // closed when Run has ended
}

// Option changes an Agent as it is made.
type Option func(*Agent)

// WithGrace sets how long deliveries under way may take to end when Run's context is
// done. What has not ended then is given back, without consuming an attempt. The
// default is 20 seconds.
func WithGrace(d time.Duration) Option { return func(a *Agent) { a.grace = d } }

// New makes an agent for some queues. The prefix starts the name of every key that it
// writes. The agent id must be the same after a restart, and no other's: then the
// agent takes back at once what its predecessor was working on; a Kubernetes pod's UID
// is one. The error is about the arguments; Redis need not be up.
func New(cfgs []Config, redis Redis, prefix, agentID string, log zerolog.Logger, opts ...Option) (*Agent, error) {
	if strings.Contains(prefix, "{") {
		return nil, fmt.Errorf("redis.prefix %q must not contain \"{\": it would decide the cluster slot of the queues' keys", prefix)
	}
	if agentID == "" {
		return nil, errors.New("the queue agent's id is empty: use what names this pod or host, and stays the same after a restart")
	}
	if strings.HasPrefix(agentID+":", "pending:") {
		return nil, fmt.Errorf("the queue agent's id %q begins with \"pending\" as its first part, which marks leases of the application: use another", agentID)
	}
	s, err := tasks.LoadScripts()
	if err != nil {
		return nil, err
	}
	a := &Agent{redis: redis, log: log, grace: defaultGrace, done: make(chan struct{})}
	a.stopped, a.stop = context.WithCancel(context.Background())
	a.aborted, a.abort = context.WithCancel(context.Background())
	for _, opt := range opts {
		opt(a)
	}
	h := &health{log: log}
	names := make(map[string]bool)
	for i, cfg := range cfgs {
		q, err := a.newQueue(cfg, s, h, prefix, agentID)
		if err == nil && names[cfg.Name] {
			err = errors.New("another queue has that name: give each its own")
		}
		if err != nil {
			return nil, fmt.Errorf("queues[%d] (%s): %w", i, cfg.Name, err)
		}
		names[cfg.Name] = true
		a.queues = append(a.queues, q)
	}
	return a, nil
}

func (a *Agent) newQueue(cfg Config, s *tasks.Scripts, h *health, prefix, agentID string) (*queue, error) {
	if err := check(cfg); err != nil {
		return nil, err
	}
	hook, err := webhook.New(cfg.Webhook, cfg.Task, cfg.Name, cfg.Retry.MaxAttempts)
	if err != nil {
		return nil, err
	}
	policy, err := newPolicy(cfg.Retry)
	if err != nil {
		return nil, err
	}
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	nonce := hex.EncodeToString(raw[:])
	if cfg.FIFO {
		cfg.Concurrency = 1
	}
	log := a.log.With().Str("queue", cfg.Name).Logger()
	q := &queue{
		cfg: cfg, redis: a.redis, hook: hook, policy: policy, log: log, health: access{health: h},
		failed: log.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Second}),
		store: tasks.New(tasks.Options{
			Redis: a.redis, Scripts: s, Prefix: prefix, Queue: cfg.Name, Source: cfg.source(),
			Agent: agentID, Nonce: nonce, Lease: cfg.Lease, TypePath: cfg.Task.Type,
			FIFO: cfg.FIFO, Every: cfg.Rate.every(), Burst: cfg.Rate.burst(),
			MaxAttempts: cfg.Retry.MaxAttempts, MaxAbandons: cfg.Retry.MaxAbandons, MaxAge: cfg.Retry.MaxAge,
		}),
		gate: newGate(hook.AsksReady()), alarm: newAlarm(), slots: newSlots(cfg.Concurrency), acks: newAckBox(), flight: newFlight(), times: newDistributions(),
		stop: a.stopped, abort: a.aborted, giveUp: make(chan struct{}),
		armed: make(chan struct{}, 1), wake: make(chan struct{}, 1), handed: make(chan struct{}, 1),
		work: make(chan *delivery, cfg.Concurrency), outcomes: make(chan outcome, cfg.Concurrency),
	}
	if hook.AsksReady() {
		q.ready = newReadiness(q.gate, hook.Ready, q.noteReady)
	}
	return q, nil
}

// check refuses what would make the agent misbehave; what is merely unwise is for who
// loads the configuration to say.
func check(c Config) error {
	switch {
	case c.Name == "":
		return errors.New("name is empty: it is part of the queue's keys")
	case sources(c) != 1:
		return errors.New("set one of list, delay and stream: the key of the source")
	case c.List != "" && c.Pop != PopLeft && c.Pop != PopRight:
		return fmt.Errorf("pop %q: write left or right", c.Pop)
	case c.Delay != "" && c.Score != ScoreSeconds && c.Score != ScoreMilliseconds:
		return fmt.Errorf("score %q: write seconds or milliseconds", c.Score)
	case c.Stream != "" && c.Group == "":
		return errors.New("group is empty: name the consumer group of the stream")
	case c.Stream != "" && c.MinIdle < time.Second:
		return fmt.Errorf("min_idle %s: set 1s or more", c.MinIdle)
	case c.Rate.Limit < 0 || c.Rate.Burst < 0 || c.Rate.Limit > 0 && c.Rate.Per <= 0:
		return fmt.Errorf("rate %d per %s, burst %d: set limit and burst to 0 or more, per above 0", c.Rate.Limit, c.Rate.Per, c.Rate.Burst)
	case c.Concurrency < 1:
		return fmt.Errorf("concurrency %d: set 1 or more", c.Concurrency)
	case c.MaxPayload < 1 || c.MaxPayload > MaxPayload:
		return fmt.Errorf("max_payload %s: set 1B to %s", c.MaxPayload, MaxPayload)
	case c.Lease < 100*time.Millisecond:
		return fmt.Errorf("lease %s is too short to be renewed: set some seconds", c.Lease)
	case c.Retry.MaxAttempts < 1:
		return fmt.Errorf("retry.max_attempts %d: set 1 or more", c.Retry.MaxAttempts)
	case c.Retry.MaxAge < 0:
		return fmt.Errorf("retry.max_age %s: set more than 0, or 0 for none", c.Retry.MaxAge)
	case c.Retry.MaxAbandons < 1:
		return fmt.Errorf("retry.max_abandons %d: set 1 or more", c.Retry.MaxAbandons)
	case c.Retry.Min <= 0 || c.Retry.Max < c.Retry.Min:
		return fmt.Errorf("retry.min %s, retry.max %s: set min above 0 and max not below it", c.Retry.Min, c.Retry.Max)
	}
	return nil
}

// sources counts the sources that are set.
func sources(c Config) (n int) {
	for _, key := range []string{c.List, c.Delay, c.Stream} {
		if key != "" {
			n++
		}
	}
	return n
}

// Run drains the queues until ctx is done or Shutdown is called. Then it claims
// nothing more, lets deliveries under way end within the grace period, gives the rest
// back without consuming an attempt, and returns nil. The error says that some tasks
// could not be given back since Redis did not answer: their leases end by themselves.
// Run can be called once.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	if a.running {
		a.mu.Unlock()
		return errors.New("the queue agent has been run already: make a new one")
	}
	a.running = true
	a.mu.Unlock()
	defer close(a.done)
	defer a.abort()
	defer context.AfterFunc(ctx, a.stopWithGrace)()

	var all sync.WaitGroup
	all.Go(a.warnOfEviction)
	left := make([]int, len(a.queues))
	for i, q := range a.queues {
		all.Go(func() { left[i] = q.run() })
	}
	<-a.stopped.Done()
	all.Wait()
	total := 0
	for _, n := range left {
		total += n
	}
	if total > 0 {
		return fmt.Errorf("%d tasks could not be given back, since redis did not answer: they are delivered again when their leases end", total)
	}
	return nil
}

// stopWithGrace stops claiming, and ends POSTs after the grace period unless Run has
// ended before.
func (a *Agent) stopWithGrace() {
	a.stop()
	t := time.NewTimer(a.grace)
	defer t.Stop()
	select {
	case <-t.C:
		a.abort()
	case <-a.aborted.Done():
	}
}

// Shutdown stops claiming and waits until Run has ended. When ctx is done first, it
// ends the POSTs under way, whose tasks are given back without consuming an attempt,
// and gives ctx's error once Run has ended, which takes a few seconds at most.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	running := a.running
	a.mu.Unlock()
	a.stop()
	if !running {
		return nil
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		a.abort()
		<-a.done
		return ctx.Err()
	}
}

// Stats gives each queue's numbers in this process, in the order of the configuration.
func (a *Agent) Stats() []QueueStats {
	out := make([]QueueStats, len(a.queues))
	for i, q := range a.queues {
		out[i] = q.snapshot()
	}
	return out
}
