//go:build linux

package ledger

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

const (
	prefix = "pillion:"
	// patience bounds every wait for what should come soon, on a busy machine too.
	patience = 2 * time.Minute
	// maxBacklog is how many tasks of one source may wait before its producer does.
	maxBacklog = 20_000
	pushBatch  = 250
	// askEvery is the pace of what is looked at again and again.
	askEvery = 5 * time.Millisecond
)

// pushScript adds a batch of tasks once, however often it is run: a producer whose reply
// was lost with Redis sends it again.
//
// KEYS[1] source  KEYS[2] set of the batches that were added
// ARGV[1] kind  ARGV[2] batch  ARGV[3..] payloads; of a sorted set score and payload in turn
// Returns the length of the source.
const pushScript = `
if redis.call('SADD', KEYS[2], ARGV[2]) == 1 then
  for i = 3, #ARGV do
    if ARGV[1] == 'list' then
      redis.call('RPUSH', KEYS[1], ARGV[i])
    elseif ARGV[1] == 'stream' then
      redis.call('XADD', KEYS[1], '*', 'task', ARGV[i])
    elseif i % 2 == 0 then
      redis.call('ZADD', KEYS[1], ARGV[i - 1], ARGV[i])
    end
  end
end
return redis.call(ARGV[1] == 'list' and 'LLEN' or ARGV[1] == 'stream' and 'XLEN' or 'ZCARD', KEYS[1])`

// inFlightScript gives the numbers of the tasks that are leased.
//
// KEYS[1] leases  KEYS[2] records
// ARGV[1] agent; "": any  ARGV[2] "1": only leases that have expired
const inFlightScript = `
local t = redis.call('TIME')
local upto = ARGV[2] == '1' and t[1] * 1000 + math.floor(t[2] / 1000) or '+inf'
local out = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', upto)) do
  local id, agent = string.match(member, '^([^|]*)|([^:]*):')
  if ARGV[1] == '' or ARGV[1] == agent then
    local record = redis.call('HGET', KEYS[2], id)
    out[#out + 1] = record and string.match(record, '\n(%d+) ')
  end
end
return out`

// recordsScript gives the numbers of all tasks that were claimed and are not done.
//
// KEYS[1] records
const recordsScript = `
local out = {}
for _, record in ipairs(redis.call('HVALS', KEYS[1])) do
  out[#out + 1] = string.match(record, '\n(%d+) ')
end
return out`

// scripts are what the tests do to Redis from outside.
type scripts struct{ push, inFlight, records *rueidis.Lua }

func newScripts() scripts {
	return scripts{rueidis.NewLuaScript(pushScript), rueidis.NewLuaScript(inFlightScript), rueidis.NewLuaScript(recordsScript)}
}

// broker is Redis, seen from outside. Its calls are repeated while Redis is away.
type broker struct {
	tb      testing.TB
	srv     *redisproc.Server
	client  rueidis.Client
	scripts scripts
	keys    [len(sources)]tasks.Keys
}

func newBroker(tb testing.TB, srv *redisproc.Server) *broker {
	tb.Helper()
	b := &broker{tb: tb, srv: srv, client: dial(tb, srv), scripts: newScripts()}
	for i, kind := range sources {
		b.keys[i] = tasks.NewKeys(prefix, string(kind), "ledger:"+string(kind), "nobody")
	}
	return b
}

func dial(tb testing.TB, srv *redisproc.Server) rueidis.Client {
	tb.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{srv.Addr}, DisableCache: true, ForceSingleClient: true, DisableRetry: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

// insist repeats a call until it succeeds or stop is closed; then it is false.
func insist(stop <-chan struct{}, call func(context.Context) error) (bool, error) {
	for end := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := call(ctx)
		cancel()
		if err == nil {
			return true, nil
		}
		if time.Now().After(end) {
			return false, err
		}
		select {
		case <-stop:
			return false, nil
		case <-time.After(askEvery):
		}
	}
}

// ask runs a script that gives task numbers, for one source.
func (b *broker) ask(script *rueidis.Lua, keys []string, args ...string) []int {
	b.tb.Helper()
	var found []int
	ok, err := insist(nil, func(ctx context.Context) error {
		got, err := script.Exec(ctx, b.client, keys, args).AsStrSlice()
		found = found[:0]
		for _, s := range got {
			n, _ := strconv.Atoi(s)
			found = append(found, n)
		}
		return err
	})
	if !ok {
		b.tb.Fatalf("ask Redis for tasks in flight: %v", err)
	}
	return found
}

// inFlight gives the tasks that an agent has leased; "" means any agent.
func (b *broker) inFlight(agent string) (ns []int) {
	b.tb.Helper()
	for _, k := range b.keys {
		ns = append(ns, b.ask(b.scripts.inFlight, []string{k.Leases, k.Records}, agent, "0")...)
	}
	return ns
}

// expired gives the tasks whose leases have ended and were not taken away yet.
func (b *broker) expired(agent string) (ns []int) {
	b.tb.Helper()
	for _, k := range b.keys {
		ns = append(ns, b.ask(b.scripts.inFlight, []string{k.Leases, k.Records}, agent, "1")...)
	}
	return ns
}

// unfinished gives the tasks that were claimed and are not done.
func (b *broker) unfinished() (ns []int) {
	b.tb.Helper()
	for _, k := range b.keys {
		ns = append(ns, b.ask(b.scripts.records, []string{k.Records})...)
	}
	return ns
}

// left counts what is in Redis of a source: entries that wait, records, leases, retries
// and dead letters.
func (b *broker) left(source int) (counts [5]int64, err error) {
	k, c := b.keys[source], b.client
	length := c.B().Llen().Key(k.Source).Build()
	switch sources[source] {
	case tasks.Delay:
		length = c.B().Zcard().Key(k.Source).Build()
	case tasks.Stream:
		length = c.B().Xlen().Key(k.Source).Build()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for i, r := range c.DoMulti(ctx, length, c.B().Hlen().Key(k.Records).Build(), c.B().Zcard().Key(k.Leases).Build(),
		c.B().Zcard().Key(k.Retry).Build(), c.B().Xlen().Key(k.Dead).Build()) {
		if counts[i], err = r.AsInt64(); err != nil {
			return counts, err
		}
	}
	return counts, nil
}

// produce adds every task of one source, with a client of its own, until done or stop.
func (b *broker) produce(client rueidis.Client, source, total int, rng *rand.Rand, stop <-chan struct{}) error {
	var buf []byte
	for n := source; n < total; {
		args := []string{string(sources[source]), strconv.Itoa(n)}
		for i := 0; i < pushBatch && n < total; i++ {
			if buf = payload(buf[:0], n); sources[source] == tasks.Delay {
				args = append(args, dueTime(rng))
			}
			args = append(args, string(buf))
			n += len(sources)
		}
		ok, err := insist(stop, func(ctx context.Context) error {
			length, err := b.scripts.push.Exec(ctx, client, []string{b.keys[source].Source, "ledger:pushed:" + string(sources[source])}, args).AsInt64()
			if err == nil && length > maxBacklog {
				awaitEnd(stop, 10*askEvery)
			}
			return err
		})
		if !ok {
			return err
		}
	}
	return nil
}

// dueTime gives a score: half are due at once, half within two seconds.
func dueTime(rng *rand.Rand) string {
	due := float64(time.Now().UnixMicro()) / 1e6
	if rng.IntN(2) == 0 {
		due += 2 * rng.Float64()
	}
	return strconv.FormatFloat(due, 'f', 6, 64)
}

// producers starts one for each source; wait gives the first error.
func (b *broker) producers(total int, seed uint64, stop <-chan struct{}) (wait func() error) {
	var all sync.WaitGroup
	errs := make([]error, len(sources))
	for i := range sources {
		client := dial(b.tb, b.srv)
		all.Go(func() { errs[i] = b.produce(client, i, total, rand.New(rand.NewPCG(seed, uint64(i))), stop) })
	}
	return func() error {
		all.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}
}
