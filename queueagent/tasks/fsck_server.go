package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/redisconn"
)

// remedy says what a fault means, and what a repair does about it.
func (f Fault) remedy() string {
	switch f {
	case FaultOrphan:
		return "a record that is neither leased nor waits is never delivered; a repair lets it wait"
	case FaultBoth:
		return "leased and waiting at once, it may be delivered twice; a repair keeps the lease"
	case FaultTwice:
		return "leased twice at once; a repair keeps the newest lease"
	case FaultRecord:
		return "its record cannot be read; a repair moves it to the dead letters as it is"
	case FaultLease:
		return "not the name of a lease; a repair removes it"
	case FaultLeaseTime:
		return "a lease that ends at no plausible time; a repair ends it now"
	case FaultDueTime:
		return "due at no plausible time; a repair makes it due now"
	case FaultEmptyLease:
		return "the task was acknowledged by an earlier owner; the lease goes when it ends"
	case FaultEmptyRetry:
		return "the task was acknowledged while it waited; it goes when it is due"
	}
	return ""
}

// dead reads every dead letter as a replay would.
func (f *fsck) dead(ctx context.Context) error {
	low, high, ok, err := f.sweepRange(ctx, &DeadFilter{})
	if err != nil || !ok {
		return err
	}
	return f.scanDead(ctx, deadRange{low: low, high: high}, func(d *DeadLetter) error {
		f.report.Dead++
		if d.Damaged != "" {
			f.report.add(FaultDead, d.Entry.String(), d.Damaged+": it cannot be replayed; delete it", false)
		}
		return nil
	})
}

// control says that a queue is paused: it is easily forgotten.
func (f *fsck) control(ctx context.Context) error {
	paused, err := f.do(ctx, f.c.B().Hexists().Key(f.Keys.Control).Field("paused").Build())[0].AsBool()
	if paused {
		f.report.add(FaultPaused, f.Keys.Control, "nothing is claimed until the queue is resumed", false)
	}
	return err
}

// source checks what a stream's group holds. A claim reads entries and acknowledges them
// in one script, so the group never holds one for the consumer "pillion".
func (f *fsck) source(ctx context.Context) error {
	if f.Source.Kind != Stream || f.report.Counts[FaultType] > 0 {
		return nil
	}
	there, err := f.do(ctx, f.c.B().Exists().Key(f.Keys.Source).Build())[0].AsBool()
	if err != nil || !there {
		return err
	}
	consumers, err := f.do(ctx, f.c.B().XinfoConsumers().Key(f.Keys.Source).Group(f.Source.Group).Build())[0].ToArray()
	if reply, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(reply.Error(), "NOGROUP") {
		f.report.add(FaultNoGroup, f.Keys.Source, "the group "+f.Source.Group+" is made, from the start of the stream, by the first claim", false)
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range consumers {
		info, err := c.AsMap()
		if err != nil {
			return err
		}
		name, _ := field(info, "name").ToString()
		if n, _ := field(info, "pending").AsInt64(); name == "pillion" && n > 0 {
			f.report.add(FaultPending, f.Keys.Source, fmt.Sprintf(
				"%d entries of the group %s are with the consumer pillion, unacknowledged: somebody else uses this name; agents take them over after min_idle", n, f.Source.Group), false)
		}
	}
	return nil
}

// FsckServer looks at what a queue needs of each Redis server: that nothing is evicted, and, for
// a person to judge, how durable tasks are.
func FsckServer(ctx context.Context, redis Connection) (Report, error) {
	var r Report
	c := redis.Client()
	if c == nil {
		return r, ErrNotConnected
	}
	nodes, err := masters(ctx, c)
	if err != nil {
		return r, err
	}
	for addr, node := range nodes {
		if err := r.server(ctx, addr, node); err != nil {
			return r, err
		}
	}
	return r, nil
}

// masters gives the nodes that have keys.
func masters(ctx context.Context, c rueidis.Client) (map[string]rueidis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return redisconn.Masters(ctx, c)
}

func (r *Report) server(ctx context.Context, addr string, node rueidis.Client) error {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	info, err := serverInfo(ctx, node)
	if err != nil {
		return err
	}
	if info["role"] == "slave" {
		return nil // it follows its master
	}
	switch policy := info["maxmemory_policy"]; {
	case policy == "":
		r.add(FaultNotKnown, addr, "maxmemory-policy is not told by INFO: it must be noeviction", false)
	case policy != noEviction && info["maxmemory"] != "0":
		r.add(FaultEviction, addr, "maxmemory-policy is "+policy+": tasks may be evicted; set noeviction", false)
	case policy != noEviction:
		r.add(FaultNotKnown, addr, "maxmemory-policy is "+policy+", which matters once maxmemory is set; set noeviction", false)
	}
	aof := "off: a crash of Redis loses tasks since its last snapshot"
	if info["aof_enabled"] == "1" {
		aof = "on, appendfsync " + config(ctx, node, "appendfsync")
	}
	r.add(FaultPersistence, addr, "the append-only file is "+aof, false)
	r.add(FaultReplicas, addr, fmt.Sprintf("%s replicas; min-replicas-to-write %s: a failover loses what no replica has",
		info["connected_slaves"], config(ctx, node, "min-replicas-to-write")), false)
	return nil
}

// noEviction is the one policy under which Redis never removes a task by itself.
const noEviction = "noeviction"

// serverInfo gives the fields of INFO.
func serverInfo(ctx context.Context, node rueidis.Client) (map[string]string, error) {
	text, err := node.Do(ctx, node.B().Info().Build()).ToString()
	if err != nil {
		return nil, fmt.Errorf("INFO: %w", err)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// config gives a setting of Redis; many a managed one does not tell.
func config(ctx context.Context, node rueidis.Client, name string) string {
	m, err := node.Do(ctx, node.B().ConfigGet().Parameter(name).Build()).AsStrMap()
	if err != nil || m[name] == "" {
		return "not known"
	}
	return m[name]
}

// Evicts gives the maxmemory-policy of a server that may evict tasks; "": none does.
func Evicts(ctx context.Context, redis Connection) (policy string, err error) {
	c := redis.Client()
	if c == nil {
		return "", ErrNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	nodes, err := redisconn.Masters(ctx, c)
	if err != nil {
		return "", err
	}
	for _, node := range nodes {
		info, err := serverInfo(ctx, node)
		if err != nil {
			return "", err
		}
		if p := info["maxmemory_policy"]; p != "" && p != noEviction {
			return p, nil
		}
	}
	return "", nil
}

// FsckStrays lists the keys of queues that the configuration does not have (any more). All
// stores must be on one Redis.
func FsckStrays(ctx context.Context, redis Connection, prefix string, stores []*Store) (Report, error) {
	var r Report
	c := redis.Client()
	if c == nil {
		return r, ErrNotConnected
	}
	known := make(map[string]bool)
	for _, s := range stores {
		known[s.Keys.base] = true
	}
	seen := make(map[string]bool)
	nodes, err := masters(ctx, c)
	if err != nil {
		return r, err
	}
	for _, node := range nodes {
		err := scanKeys(ctx, node, globEscape(prefix)+"{*}:*", func(key string) {
			base, ok := queueBase(prefix, key)
			if ok && !known[base] && !seen[key] && len(seen) < maxFindings {
				seen[key] = true
			}
		})
		if err != nil {
			return r, err
		}
	}
	keys := make([]string, 0, len(seen))
	for key := range seen {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		r.add(FaultStray, key, "of a queue that the configuration does not have: its tasks are not delivered", false)
	}
	return r, nil
}

// queueBase gives what the keys of one queue have in common, when the key is one that holds
// tasks, or holds them up.
func queueBase(prefix, key string) (base string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix+"{")
	if !ok {
		return "", false
	}
	if _, rest, ok = strings.Cut(rest, "}:"); !ok {
		return "", false
	}
	queue, last, ok := strings.Cut(rest, ":")
	if !ok || queue == "" || !slices.Contains([]string{"records", "leases", "retry", "dead", "control"}, last) {
		return "", false
	}
	return strings.TrimSuffix(key, last), true
}

// scanKeys calls visit with keys of one server, some of them more than once.
func scanKeys(ctx context.Context, node rueidis.Client, pattern string, visit func(key string)) error {
	for cursor := uint64(0); ; {
		page, err := scanPage(ctx, node, pattern, cursor)
		if err != nil {
			return err
		}
		for _, key := range page.Elements {
			visit(key)
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

func scanPage(ctx context.Context, node rueidis.Client, pattern string, cursor uint64) (rueidis.ScanEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return node.Do(ctx, node.B().Scan().Cursor(cursor).Match(pattern).Count(MaxBatch).Build()).AsScanEntry()
}

// globEscape makes a text match itself in a pattern of Redis.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`).Replace(s)
}
