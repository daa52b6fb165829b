package queueagent

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	// maxBatch is how many tasks one script call handles: Lua can unpack a few
	// thousand values.
	maxBatch = 1000
	// callTimeout bounds one script call. Its outcome is unknown afterwards.
	callTimeout = 3 * time.Second
	// claimWindow is how long after it was sent a claim may still be executed.
	claimWindow = 10 * time.Second
)

var errNotConnected = errors.New("redis has not been reached yet")

// store runs the scripts of one queue. Safe for concurrent use, but for claim.
type store struct {
	redis   Redis
	scripts *scripts
	keys    keys
	kind    string // "list" or "delay"
	lease   time.Duration
	nonce   string // unique to this process and queue
	owner   string // "<agent id>:<epoch>"
	// skew is the clock of Redis less ours in ms, made odd: 0 means unknown.
	skew atomic.Int64
}

// claimed is the reply to a claim.
type claimed struct {
	tasks     []task
	next      time.Time // when the next task is due, by our clock; zero: none is known
	sourceErr string    // the source cannot be read: say, it has the wrong type
}

// errLate says that Redis refused a claim as older than it can be.
var errLate = errors.New("redis got the claim too late")

// claim leases up to n tasks. After an error, the same seq must be sent again until
// it succeeds; a seq is never used for a second claim.
func (s *store) claim(ctx context.Context, seq uint64, n int) (claimed, error) {
	now, err := s.redisNow(ctx)
	if err != nil {
		return claimed{}, err
	}
	num := strconv.FormatUint(seq, 10)
	token := s.owner + ":" + num
	reply, err := s.run(ctx, s.scripts.claim,
		[]string{s.keys.source, s.keys.records, s.keys.leases, s.keys.retry, s.keys.claim},
		[]string{
			s.kind, s.nonce + "-" + num, token, strconv.Itoa(n), millis(s.lease), num,
			strconv.FormatInt(now.Add(claimWindow).UnixMilli(), 10), millis(s.lease + 2*claimWindow),
		})
	if err != nil {
		return claimed{}, err
	}
	out, err := s.parseClaim(reply, token)
	if err != nil {
		return claimed{}, err
	}
	if out.sourceErr == "late" {
		return claimed{}, errLate
	}
	return out, nil
}

func (s *store) parseClaim(reply []rueidis.RedisMessage, token string) (claimed, error) {
	if len(reply) < 3 || len(reply)%2 == 0 {
		return claimed{}, fmt.Errorf("claim gave %d values: want an odd number", len(reply))
	}
	n, err := ints(reply[:2], 2)
	if err != nil {
		return claimed{}, err
	}
	out := claimed{next: s.after(n[0], n[1])}
	if out.sourceErr, err = reply[2].ToString(); err != nil {
		return claimed{}, err
	}
	out.tasks = make([]task, 0, len(reply)/2)
	for i := 3; i < len(reply); i += 2 {
		id, err := reply[i].ToString()
		if err != nil {
			return claimed{}, err
		}
		envelope, err := reply[i+1].ToString()
		if err != nil {
			return claimed{}, err
		}
		t, err := parseEnvelope(envelope)
		if err != nil {
			return claimed{}, err
		}
		t.id, t.member = id, id+"|"+token
		out.tasks = append(out.tasks, t)
	}
	return out, nil
}

// ack removes delivered tasks, at most maxBatch, and gives how many were still there.
func (s *store) ack(ctx context.Context, members []string) (int, error) {
	n, err := s.exec(ctx, s.scripts.ack, []string{s.keys.records, s.keys.leases, s.keys.retry}, members).AsInt64()
	return int(n), err
}

// back is a task whose lease ends without a delivery.
type back struct {
	member  string
	attempt bool          // the delivery failed; else the task is given back
	delay   time.Duration // negative: due at once, in its original order
}

// nack ends leases, at most maxBatch, and gives the time when a retry is due (zero:
// none is waiting).
func (s *store) nack(ctx context.Context, items []back) (next time.Time, err error) {
	args := make([]string, 0, 3*len(items))
	for _, it := range items {
		kind, delay := "b", "-1"
		if it.attempt {
			kind = "r"
		}
		if it.delay >= 0 {
			delay = millis(it.delay)
		}
		args = append(args, it.member, kind, delay)
	}
	reply, err := s.run(ctx, s.scripts.nack, []string{s.keys.records, s.keys.leases, s.keys.retry}, args)
	if err != nil {
		return time.Time{}, err
	}
	n, err := ints(reply, 3)
	if err != nil {
		return time.Time{}, err
	}
	return s.after(n[0], n[1]), nil
}

// grave is a task on its way to the dead letters.
type grave struct {
	member, reason, detail string
	attempt                bool // the delivery counts as an attempt
}

// bury moves tasks, at most maxBatch, to the dead letters and gives how many it moved.
func (s *store) bury(ctx context.Context, items []grave) (int, error) {
	args := make([]string, 0, 4*len(items))
	for _, it := range items {
		attempt := "0"
		if it.attempt {
			attempt = "1"
		}
		args = append(args, it.member, it.reason, it.detail, attempt)
	}
	n, err := s.exec(ctx, s.scripts.bury, []string{s.keys.records, s.keys.leases, s.keys.dead}, args).AsInt64()
	return int(n), err
}

// renew extends leases, at most maxBatch, and gives those that are not ours any more.
func (s *store) renew(ctx context.Context, members []string) ([]string, error) {
	args := append([]string{millis(s.lease)}, members...)
	return s.exec(ctx, s.scripts.renew, []string{s.keys.leases}, args).AsStrSlice()
}

// reaped is what reap found.
type reaped struct {
	taken, requeued, poison int
	nextLease, nextRetry    time.Time // when a lease expires, a retry is due; zero: there is none
}

// reap takes away up to maxBatch/10 expired leases, or those named.
func (s *store) reap(ctx context.Context, maxAbandons int, members []string) (reaped, error) {
	args := append([]string{strconv.Itoa(maxAbandons), strconv.Itoa(maxBatch / 10)}, members...)
	reply, err := s.run(ctx, s.scripts.reap, []string{s.keys.records, s.keys.leases, s.keys.retry, s.keys.dead}, args)
	if err != nil {
		return reaped{}, err
	}
	n, err := ints(reply, 6)
	if err != nil {
		return reaped{}, err
	}
	return reaped{
		taken: int(n[1]), requeued: int(n[2]), poison: int(n[3]),
		nextLease: s.after(n[0], n[4]), nextRetry: s.after(n[0], n[5]),
	}, nil
}

// predecessors lists the leases of earlier processes of the same agent, one page of
// the scan at a time; the cursor 0 starts and ends it.
func (s *store) predecessors(ctx context.Context, cursor uint64) ([]string, uint64, error) {
	c, err := s.client()
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	page, err := c.Do(ctx, c.B().Zscan().Key(s.keys.leases).Cursor(cursor).Count(maxBatch/4).Build()).AsScanEntry()
	if err != nil {
		return nil, 0, err
	}
	agent, epoch := cutLast(s.owner)
	var found []string
	for i := 0; i+1 < len(page.Elements); i += 2 {
		_, token, _ := strings.Cut(page.Elements[i], "|")
		owner, _ := cutLast(token)
		if a, e := cutLast(owner); a == agent && e != epoch {
			found = append(found, page.Elements[i])
		}
	}
	return found, page.Cursor, nil
}

// cutLast splits at the last colon: an agent's id may contain some.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

func (s *store) client() (rueidis.Client, error) {
	if c := s.redis.Client(); c != nil {
		return c, nil
	}
	return nil, errNotConnected
}

// exec runs a script. The context of the caller ends it only between calls: a claim
// that is cut short leases tasks to nobody.
func (s *store) exec(ctx context.Context, script *rueidis.Lua, keys, args []string) rueidis.RedisResult {
	c, err := s.client()
	if err != nil {
		return rueidis.NewErrorResult(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	return script.Exec(ctx, c, keys, args)
}

// run runs a script whose reply starts with the time in ms, or 0, and notes the time.
func (s *store) run(ctx context.Context, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
	sent := time.Now()
	reply, err := s.exec(ctx, script, keys, args).ToArray()
	if err != nil {
		return nil, err
	}
	if len(reply) == 0 {
		return nil, errors.New("the script gave an empty reply")
	}
	now, err := reply[0].AsInt64()
	if err != nil {
		return nil, err
	}
	if now > 0 {
		s.noteTime(now, sent)
	}
	return reply, nil
}

// noteTime corrects skew by a reply: what it says was true at some moment since the
// command was sent. An estimate that agrees with that is kept: one slow reply must not
// make delayed tasks late.
func (s *store) noteTime(redisMS int64, sent time.Time) {
	low, high := redisMS-time.Now().UnixMilli(), redisMS-sent.UnixMilli()
	old := s.skew.Load()
	switch {
	case old == 0:
		s.skew.Store((low+high)/2 | 1)
	case old < low-1:
		s.skew.Store(low | 1)
	case old > high+1:
		s.skew.Store(high | 1)
	}
}

// redisNow estimates the clock of Redis from the last reply that told it; it asks
// when there was none.
func (s *store) redisNow(ctx context.Context) (time.Time, error) {
	if s.skew.Load() == 0 {
		c, err := s.client()
		if err != nil {
			return time.Time{}, err
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		sent := time.Now()
		t, err := c.Do(ctx, c.B().Time().Build()).AsIntSlice()
		if err != nil {
			return time.Time{}, err
		}
		if len(t) != 2 {
			return time.Time{}, fmt.Errorf("TIME gave %d values: want 2", len(t))
		}
		s.noteTime(t[0]*1000+t[1]/1000, sent)
	}
	return time.Now().Add(time.Duration(s.skew.Load()) * time.Millisecond), nil
}

// local turns a time by the clock of Redis, in ms, into one by ours.
func (s *store) local(redisMS int64) time.Time {
	return time.UnixMilli(redisMS - s.skew.Load())
}

// after gives the time by our clock that is wait ms after a time of Redis; zero when
// wait is negative.
func (s *store) after(redisMS, wait int64) time.Time {
	if wait < 0 {
		return time.Time{}
	}
	return s.local(redisMS + wait)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

func ints(reply []rueidis.RedisMessage, want int) ([]int64, error) {
	if len(reply) != want {
		return nil, fmt.Errorf("the script gave %d values: want %d", len(reply), want)
	}
	out := make([]int64, want)
	for i := range reply {
		n, err := reply[i].AsInt64()
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}
