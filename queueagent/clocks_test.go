package queueagent

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// otherClock is a client of a Redis whose clock is not ours: each script, and TIME, has
// the true one and off.
type otherClock struct {
	rueidis.Client
	off time.Duration
}

// Do puts the clock in front of a script. EVALSHA finds no script of that name then, and
// the whole text follows.
func (c otherClock) Do(ctx context.Context, cmd rueidis.Completed) rueidis.RedisResult {
	words := cmd.Commands()
	switch words[0] {
	case "TIME":
		words = []string{"EVAL", "return redis.call('TIME')", "0"}
	case "EVAL":
	default:
		return c.Client.Do(ctx, cmd)
	}
	clock := fmt.Sprintf(`local real = redis
local redis = setmetatable({call = function(name, ...)
  local reply = real.call(name, ...)
  if name == 'TIME' then
    reply[1] = string.format('%%.0f', tonumber(reply[1]) + %d)
  end
  return reply
end}, {__index = real})
`, int(c.off.Seconds()))
	b := c.B().Arbitrary(words[0], clock+words[1]).Args(words[2:]...)
	return c.Client.Do(ctx, b.Build())
}

// newOtherClock makes a rig whose agents have a Redis with another clock.
func newOtherClock(t *testing.T, off time.Duration) *rig {
	t.Helper()
	r := newRig(t, true)
	r.redis.client = otherClock{r.redis.client, off}
	return r
}

// What a payload says of the time of its task goes by the clock of Redis, as all else;
// what receivers hold against their own clock goes by ours.
func TestTimesOfPayloadsGoByTheClockOfRedis(t *testing.T) {
	const half = 30 * time.Minute
	for name, c := range map[string]struct {
		off, at   time.Duration // of the clock of Redis; of the payload's time, by ours
		field     string
		delivered bool
	}{
		"due later, and over for Redis":         {2 * half, half, "due", true},
		"due before, and to come for Redis":     {-2 * half, -half, "due", false},
		"expires later, and over for Redis":     {2 * half, half, "expires", false},
		"expired before, and to come for Redis": {-2 * half, -half, "expires", true},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := newOtherClock(t, c.off), newSink(t, nil)
			cfg := testConfig("q", tasks.List, "l", s.url)
			cfg.Task.Due, cfg.Task.Expires = "due", "expires"
			a := r.run([]Config{cfg})
			began := time.Now()
			r.do("RPUSH", "l", fmt.Sprintf(`{%q:%q}`, c.field, began.Add(c.at).UTC().Format(time.RFC3339Nano)))
			keys := a.queues[0].store.Keys
			eventually(t, "done, dead or waiting", func() bool {
				st := a.Stats()[0]
				return st.Delivered+st.DeadLettered == 1 || st.Claimed > 0 && r.int("ZCARD", keys.Retry) == 1
			})
			posts := s.seen()
			if (len(posts) == 1) != c.delivered {
				t.Fatalf("%d deliveries: want delivered %v", len(posts), c.delivered)
			}
			if !c.delivered {
				return
			}
			stamp, err := strconv.ParseInt(posts[0].header["webhook-timestamp"], 10, 64)
			if off := time.Unix(stamp, 0).Sub(began).Abs(); err != nil || off > patience {
				t.Errorf("webhook-timestamp is off by %s, %v: want ours", off, err)
			}
			end, err := time.Parse(time.RFC3339Nano, posts[0].header["Pillion-Deadline"])
			if off := end.Sub(began).Abs(); err != nil || off > patience+cfg.Webhook.Timeout {
				t.Errorf("Pillion-Deadline is off by %s, %v: want it by our clock", off, err)
			}
		})
	}
}

// A task is as old as the clock of Redis says, which dated it.
func TestTheAgeOfATaskGoesByTheClockOfRedis(t *testing.T) {
	r := newOtherClock(t, -time.Hour)
	s := newSink(t, status(fasthttp.StatusInternalServerError, fasthttp.StatusOK))
	cfg := testConfig("q", tasks.List, "l", s.url)
	cfg.Retry.MaxAge = 30 * time.Minute
	a := r.run([]Config{cfg})
	r.do("RPUSH", "l", "x")
	eventually(t, "decided", func() bool { st := a.Stats()[0]; return st.Delivered+st.DeadLettered == 1 })
	if st := a.Stats()[0]; st.Delivered != 1 {
		t.Errorf("%+v: want it delivered at the second attempt", st)
	}
}

// What an operator says of times goes by the clock that dates tasks, before anything else
// has asked for it.
func TestNowIsTheClockOfRedis(t *testing.T) {
	r := newOtherClock(t, time.Hour)
	a, err := New([]Config{testConfig("q", tasks.List, "l", "http://127.0.0.1:1/")}, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if off := time.Since(a.Now(context.Background(), "q")) + time.Hour; off.Abs() > patience {
		t.Errorf("off by %s", off)
	}
	if off := time.Since(a.Now(context.Background(), "other")); off.Abs() > patience {
		t.Errorf("of no queue: off by %s", off)
	}
}
