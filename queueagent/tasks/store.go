package tasks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/redisconn"
)

const (
	// MaxBatch is how many tasks one script call handles: Lua can unpack a few
	// thousand values.
	MaxBatch = 1000
	// MaxReap is how many leases one call of Reap takes, and entries one of Adopt.
	MaxReap = MaxBatch / 10
	// CallTimeout bounds one script call. Its outcome is unknown afterwards.
	CallTimeout = 3 * time.Second
	// claimWindow is how long after it was sent a claim may still be executed.
	claimWindow = 10 * time.Second
	// pending marks the token of a lease that the application has taken over.
	pending = "pending:"
)

// ErrNotConnected says that there has been no connection to Redis yet.
var ErrNotConnected = errors.New("redis has not been reached yet")

// ErrLate says that Redis refused a claim as older than it can be.
var ErrLate = errors.New("redis got the claim too late")

// Connection gives the client, or nil as long as Redis was never reached.
type Connection interface {
	Client() rueidis.Client
}

// Options are what a Store is made of.
type Options struct {
	Redis   Connection
	Scripts *Scripts
	// Prefix begins the name of every key, Queue is the queue's name in them.
	Prefix, Queue string
	// TypePath is the dotted path of a task's type in a JSON payload; "": "type". Only
	// dead letters are told apart by it.
	TypePath string
	Source   Source
	// Agent is the same after a restart, and no other's. Nonce is 32 hexadecimal digits, unique to
	// this process and queue.
	Agent, Nonce string
	// Lease is how long a claimed task stays claimed without a renewal.
	Lease time.Duration
	// FIFO hands out one task at a time, over all agents.
	FIFO bool
	// Every is the least time from task to task over all agents, on average; 0: no
	// limit. Burst is how many may come at once after a pause.
	Every time.Duration
	Burst int
	// MaxAttempts and MaxAbandons are the failed attempts and abandoned leases at which Reap
	// moves a task to the dead letters.
	MaxAttempts, MaxAbandons int
	// MaxAge is the age from which on a failed task goes there too; 0: none.
	MaxAge time.Duration
}

// Store runs the scripts of one queue. Safe for concurrent use, but for Claim.
type Store struct {
	Options
	Keys  Keys
	owner string // "<agent>:<epoch>"
	clock clock
	age   age // of a list's head
}

// New makes a store. Redis need not be up.
func New(o Options) *Store {
	// The token of a lease proves to the admin API that a task is the caller's. So it has
	// nothing of the nonce, which is in every task's id.
	var epoch [8]byte
	_, _ = rand.Read(epoch[:]) // never fails
	owner := visible(o.Agent) + ":" + hex.EncodeToString(epoch[:])
	return &Store{
		Options: o, Keys: NewKeys(o.Prefix, o.Queue, o.Source.Key, owner), owner: owner,
		clock: newClock(),
	}
}

// visible gives an agent's id without what cannot be sent as it is in the value of a header: the token of a
// lease, which has it, comes back that way. Two ids stay two.
func visible(agent string) string {
	var b strings.Builder
	for i := 0; i < len(agent); i++ {
		if c := agent[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' && c != '~' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "~%02x", c)
		}
	}
	return b.String()
}

// Claimed is the reply to a claim.
type Claimed struct {
	Tasks []Task
	Next  time.Time // when there may be a task, by our clock; zero: none is known
	// Blocked says why there may be tasks that must not be taken before Next: "paused",
	// "limited" or "busy", as claim.lua says; else "".
	Blocked string
	// SourceErr says why the source cannot be read: say, it has the wrong type.
	SourceErr string
	Acked     int // acknowledged tasks that were still there
	// LastID is the last entry that a stream's group was given; "": not known.
	LastID string
}

// Claim leases up to n tasks, and before that acknowledges some as Ack does. After an
// error, the same seq must be sent again, with the same acks, until it succeeds; a seq is
// never used for a second claim.
func (s *Store) Claim(ctx context.Context, seq uint64, n int, acks ...string) (Claimed, error) {
	now, err := s.Clock(ctx)
	if err != nil {
		return Claimed{}, err
	}
	num := strconv.FormatUint(seq, 10)
	token := s.owner + ":" + num
	k := &s.Keys
	reply, err := s.run(ctx, s.Scripts.claim,
		[]string{k.Source, k.Records, k.Leases, k.Retry, k.Claim, k.Control},
		append([]string{
			s.Source.mode(), s.Nonce + "-" + num, token, strconv.Itoa(n), millis(s.Lease), num,
			strconv.FormatInt(now.Add(claimWindow).UnixMilli(), 10), millis(s.Lease + 2*claimWindow),
			flag(s.FIFO), strconv.FormatInt(s.Every.Microseconds(), 10), strconv.Itoa(s.Burst),
			strconv.Itoa(s.Source.units()), s.Source.Group, s.Source.Field, flag(s.Source.Delete),
		}, acks...))
	if err != nil {
		return Claimed{}, err
	}
	out, err := s.parseClaim(reply, token)
	if err == nil && out.SourceErr == "late" {
		return Claimed{}, ErrLate
	}
	return out, err
}

func (s *Store) parseClaim(reply []rueidis.RedisMessage, token string) (Claimed, error) {
	if len(reply) < 5 || len(reply)%2 == 0 {
		return Claimed{}, fmt.Errorf("claim gave %d values: want an odd number", len(reply))
	}
	n, err := ints(reply[:3], 3)
	if err != nil {
		return Claimed{}, err
	}
	text := make([]string, len(reply)-3)
	for i := range text {
		if text[i], err = reply[i+3].ToString(); err != nil {
			return Claimed{}, err
		}
	}
	out := Claimed{Acked: int(n[2]), Next: s.clock.after(n[0], n[1]), SourceErr: text[0], LastID: text[1]}
	switch out.SourceErr {
	case "paused", "limited", "busy":
		out.Blocked, out.SourceErr = out.SourceErr, ""
	}
	out.Tasks = make([]Task, 0, len(text)/2)
	for i := 2; i < len(text); i += 2 {
		t, err := parseEnvelope(text[i+1])
		if err != nil {
			// It must not hold up the others for ever.
			t = Task{Payload: text[i+1], Damaged: err.Error(), Reason: First, Since: s.Now()}
		}
		t.ID, t.Member = text[i], text[i]+"|"+token
		out.Tasks = append(out.Tasks, t)
	}
	return out, nil
}

// Ack removes delivered tasks, at most MaxBatch, and gives how many were still there.
func (s *Store) Ack(ctx context.Context, members []string) (int, error) {
	n, err := s.exec(ctx, s.Scripts.ack, []string{s.Keys.Records, s.Keys.Leases, s.Keys.Retry}, members).AsInt64()
	return int(n), err
}

// Back is a task whose lease ends without a delivery.
type Back struct {
	Member  string
	Attempt bool          // the delivery failed; else the task is given back
	Delay   time.Duration // negative: due at once, in its original order
}

// Nack ends leases, at most MaxBatch, and gives the time when a retry is due (zero:
// none is waiting).
func (s *Store) Nack(ctx context.Context, items []Back) (next time.Time, err error) {
	args := make([]string, 0, 3*len(items))
	for _, it := range items {
		kind, delay := "b", "-1"
		if it.Attempt {
			kind = "r"
		}
		if it.Delay >= 0 {
			delay = millis(it.Delay)
		}
		args = append(args, it.Member, kind, delay)
	}
	reply, err := s.run(ctx, s.Scripts.nack, []string{s.Keys.Records, s.Keys.Leases, s.Keys.Retry}, args)
	if err != nil {
		return time.Time{}, err
	}
	n, err := ints(reply, 3)
	if err != nil {
		return time.Time{}, err
	}
	return s.clock.after(n[0], n[1]), nil
}

// Grave is a task on its way to the dead letters.
type Grave struct {
	Member, Reason, Detail string
	Attempt                bool // the delivery counts as an attempt
}

// Bury moves tasks, at most MaxBatch, to the dead letters and gives how many it moved.
func (s *Store) Bury(ctx context.Context, items []Grave) (int, error) {
	args := make([]string, 0, 4*len(items))
	for _, it := range items {
		args = append(args, it.Member, it.Reason, it.Detail, flag(it.Attempt))
	}
	n, err := s.exec(ctx, s.Scripts.bury, []string{s.Keys.Records, s.Keys.Leases, s.Keys.Dead}, args).AsInt64()
	return int(n), err
}

// Pending is a lease that the application takes over.
type Pending struct {
	Member string
	Lease  time.Duration // from now
}

// Pend hands leases over, at most MaxBatch, and gives how many were still ours.
func (s *Store) Pend(ctx context.Context, items []Pending) (int, error) {
	args := make([]string, 0, 2*len(items))
	for _, it := range items {
		args = append(args, it.Member, millis(it.Lease))
	}
	n, err := s.exec(ctx, s.Scripts.pend, []string{s.Keys.Records, s.Keys.Leases}, args).AsInt64()
	return int(n), err
}

// Renew extends leases, at most MaxBatch, and gives those that are not ours any more.
func (s *Store) Renew(ctx context.Context, members []string) ([]string, error) {
	args := append([]string{millis(s.Lease)}, members...)
	return s.exec(ctx, s.Scripts.renew, []string{s.Keys.Leases}, args).AsStrSlice()
}

// Reaped is what Reap found.
type Reaped struct {
	Taken, Requeued, Buried int
	// Unacknowledged are those among Taken that the application had: each is a failed attempt.
	Unacknowledged       int
	NextLease, NextRetry time.Time // when a lease expires, a retry is due; zero: there is none
}

// Reap takes away up to MaxReap expired leases, or those named.
func (s *Store) Reap(ctx context.Context, members []string) (Reaped, error) {
	args := append([]string{strconv.Itoa(s.MaxAbandons), strconv.Itoa(MaxReap), strconv.Itoa(s.MaxAttempts), millis(s.MaxAge)}, members...)
	k := &s.Keys
	reply, err := s.run(ctx, s.Scripts.reap, []string{k.Records, k.Leases, k.Retry, k.Dead}, args)
	if err != nil {
		return Reaped{}, err
	}
	n, err := ints(reply, 7)
	if err != nil {
		return Reaped{}, err
	}
	return Reaped{
		Taken: int(n[1]), Requeued: int(n[2]), Buried: int(n[3]), Unacknowledged: int(n[6]),
		NextLease: s.clock.after(n[0], n[4]), NextRetry: s.clock.after(n[0], n[5]),
	}, nil
}

// Adopt takes over up to MaxReap entries of a stream that another consumer of the group
// has left unacknowledged for Source.MinIdle. The cursor "0-0" starts and ends a round.
// seq must not be used twice.
func (s *Store) Adopt(ctx context.Context, seq uint64, cursor string) (taken int, next string, err error) {
	src := s.Source
	reply, err := s.run(ctx, s.Scripts.adopt, []string{s.Keys.Source, s.Keys.Records, s.Keys.Retry},
		[]string{src.Group, src.Field, flag(src.Delete), millis(src.MinIdle), s.Nonce + "-x" + strconv.FormatUint(seq, 10), strconv.Itoa(MaxReap), cursor})
	if err != nil {
		return 0, "0-0", err
	}
	if len(reply) != 4 {
		return 0, "0-0", fmt.Errorf("adopt gave %d values: want 4", len(reply))
	}
	n, err := reply[1].AsInt64()
	if err != nil {
		return 0, "0-0", err
	}
	if next, err = reply[2].ToString(); err != nil {
		return 0, "0-0", err
	}
	if msg, _ := reply[3].ToString(); msg != "" {
		return int(n), "0-0", errors.New(msg)
	}
	return int(n), next, nil
}

// Predecessors lists the leases of earlier processes of the same agent, one page of
// the scan at a time; the cursor 0 starts and ends it.
func (s *Store) Predecessors(ctx context.Context, cursor uint64) ([]string, uint64, error) {
	c, err := s.client()
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	page, err := c.Do(ctx, c.B().Zscan().Key(s.Keys.Leases).Cursor(cursor).Count(MaxBatch/4).Build()).AsScanEntry()
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

func (s *Store) client() (rueidis.Client, error) {
	if c := s.Redis.Client(); c != nil {
		return c, nil
	}
	return nil, ErrNotConnected
}

const (
	// tryAgainFor is how long a call waits for the end of a migration, and leaves the last
	// try time for an answer: without one it is not known what was done.
	tryAgainFor = CallTimeout * 2 / 3
	tryAgainIn  = 20 * time.Millisecond
)

// exec runs a script. The context of the caller ends it only between calls: a claim
// that is cut short leases tasks to nobody. While the queue's slot migrates, a Cluster
// refuses scripts that name a key which the one node does not have, with TRYAGAIN, and has
// done nothing then: they are tried again for a while.
func (s *Store) exec(ctx context.Context, script *rueidis.Lua, keys, args []string) rueidis.RedisResult {
	c, err := s.client()
	if err != nil {
		return rueidis.NewErrorResult(err)
	}
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), CallTimeout)
	defer cancel()
	for until := time.Now().Add(tryAgainFor); ; {
		r := script.Exec(call, c, keys, args)
		if !redisconn.IsTryAgain(r.Error()) || time.Now().After(until) {
			return r
		}
		select {
		case <-ctx.Done():
			return r
		case <-time.After(tryAgainIn):
		}
	}
}

// run runs a script whose reply starts with the time in ms, or 0, and notes the time.
func (s *Store) run(ctx context.Context, script *rueidis.Lua, keys, args []string) ([]rueidis.RedisMessage, error) {
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
		s.clock.note(now, sent, time.Now())
	}
	return reply, nil
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
