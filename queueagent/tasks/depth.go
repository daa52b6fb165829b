package tasks

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// Depth is how much of one queue is in Redis, whoever works on it.
type Depth struct {
	Name      string
	Ready     int64 // tasks in the source that are due; -1: not known (a source of the wrong type, or a stream on a Redis that does not tell)
	Scheduled int64 // tasks in a delay source that are due later
	Retrying  int64 // tasks waiting for another attempt, or for the time they were enqueued for
	Leased    int64 // tasks leased to some agent or, after a 202, to the application
	Dead      int64 // dead letters
	Paused    bool
	// OldestDue is when the oldest task that is not leased was or will be due. For a
	// list it is the latest that it can have been, found by comparing with earlier
	// calls. Zero: there is none, or it is not known.
	OldestDue time.Time
}

// Depths asks Redis how full queues are, in one round trip and a second one for
// streams. It is for metrics: the numbers of a queue are not from one moment. All
// stores must be on one Redis.
func Depths(ctx context.Context, stores []*Store) ([]Depth, error) {
	if len(stores) == 0 {
		return nil, nil
	}
	c, err := stores[0].client()
	if err != nil {
		return nil, err
	}
	var cmds rueidis.Commands
	for _, s := range stores {
		cmds = append(cmds, s.depthCommands(c.B())...)
	}
	replies := c.DoMulti(ctx, cmds...)
	depths := make([]Depth, len(stores))
	var heads rueidis.Commands
	var headOf []int
	for i, s := range stores {
		n := sharedCommands + s.ownCommands()
		var last string
		if depths[i], last, err = s.depth(replies[:n]); err != nil {
			if _, replied := rueidis.IsRedisErr(err); !replied {
				return nil, fmt.Errorf("queue %s: %w", s.Queue, err)
			}
			depths[i].Ready = -1 // one source of the wrong type must not hide the others
		}
		replies = replies[n:]
		if last != "" {
			heads = append(heads, c.B().Xrange().Key(s.Keys.Source).Start("("+last).End("+").Count(1).Build())
			headOf = append(headOf, i)
		}
	}
	if len(heads) == 0 {
		return depths, nil
	}
	for i, r := range c.DoMulti(ctx, heads...) {
		if entries, err := r.AsXRange(); err == nil && len(entries) > 0 {
			ms, _, _ := strings.Cut(entries[0].ID, "-")
			at, _ := strconv.ParseFloat(ms, 64)
			depths[headOf[i]].older(stores[headOf[i]].clock.local(int64(at)))
		}
	}
	return depths, nil
}

// older notes the due time of one more task.
func (d *Depth) older(at time.Time) {
	if d.OldestDue.IsZero() || at.Before(d.OldestDue) {
		d.OldestDue = at
	}
}

// sharedCommands is how many commands depthCommands gives for any kind of source.
const sharedCommands = 5

func (s *Store) ownCommands() int {
	switch s.Source.Kind {
	case Delay:
		return 3
	case Stream:
		return 2
	}
	return 1
}

// depthCommands gives what depth reads.
func (s *Store) depthCommands(b rueidis.Builder) []rueidis.Completed {
	k := &s.Keys
	cmds := []rueidis.Completed{
		b.Zcard().Key(k.Retry).Build(),
		b.Zcard().Key(k.Leases).Build(),
		b.Xlen().Key(k.Dead).Build(),
		b.Zrange().Key(k.Retry).Min("0").Max("0").Withscores().Build(),
		b.Hmget().Key(k.Control).Field("paused", "taken").Build(),
	}
	switch s.Source.Kind {
	case Delay:
		now := float64(s.Now().UnixMilli()) / 1000 * float64(s.Source.units())
		return append(cmds,
			b.Zcount().Key(k.Source).Min("-inf").Max(strconv.FormatFloat(now, 'f', 3, 64)).Build(),
			b.Zcard().Key(k.Source).Build(),
			b.Zrange().Key(k.Source).Min("0").Max("0").Withscores().Build())
	case Stream:
		return append(cmds, b.Xlen().Key(k.Source).Build(), b.XinfoGroups().Key(k.Source).Build())
	}
	return append(cmds, b.Llen().Key(k.Source).Build())
}

// depth reads the replies. last is the entry after which a stream's oldest undelivered one is.
func (s *Store) depth(r []rueidis.RedisResult) (d Depth, last string, err error) {
	count := func(i int) int64 {
		n, e := r[i].AsInt64()
		if e != nil && err == nil {
			err = e
		}
		return n
	}
	d = Depth{Name: s.Queue, Retrying: count(0), Leased: count(1), Dead: count(2), Ready: count(sharedCommands)}
	head := func(i int, ms func(float64) float64) {
		z, e := r[i].AsZScores()
		if e != nil && err == nil {
			err = e
		}
		if len(z) > 0 && math.Abs(ms(z[0].Score)) < 1e15 {
			d.older(s.clock.local(int64(ms(z[0].Score))))
		}
	}
	head(3, func(ms float64) float64 { return ms })
	control, e := r[4].AsStrSlice()
	if e != nil || len(control) != 2 {
		return d, "", fmt.Errorf("read %s: %w", s.Keys.Control, e)
	}
	d.Paused = control[0] != ""
	switch s.Source.Kind {
	case Delay:
		d.Scheduled = max(0, count(sharedCommands+1)-d.Ready)
		head(sharedCommands+2, s.Source.Due)
	case Stream:
		last = s.streamDepth(&d, r[sharedCommands+1])
	case List:
		taken, _ := strconv.ParseInt(control[1], 10, 64)
		if at := s.age.oldest(time.Now(), taken, d.Ready); !at.IsZero() {
			d.older(at)
		}
	}
	return d, last, err
}

// streamDepth corrects Ready, which is the stream's length so far, by what the group has been given.
func (s *Store) streamDepth(d *Depth, r rueidis.RedisResult) (last string) {
	groups, err := r.ToArray()
	if err != nil || d.Ready == 0 {
		return "" // there is no such key
	}
	for _, g := range groups {
		info, err := g.AsMap()
		if err != nil {
			continue
		}
		name, _ := field(info, "name").ToString()
		if name != s.Source.Group {
			continue
		}
		last, _ = field(info, "last-delivered-id").ToString()
		if s.Source.Delete {
			return last
		}
		if lag, err := field(info, "lag").AsInt64(); err == nil {
			d.Ready = lag
		} else {
			d.Ready = -1
		}
		return last
	}
	return "0-0"
}

func field(m map[string]rueidis.RedisMessage, name string) *rueidis.RedisMessage {
	v := m[name]
	return &v
}

// age estimates how old the head of a list is. A list does not tell; but where it ended
// at some moment, counted from the first task ever taken, is known from its length and the number
// taken. As long as the taken have not reached that place, the head was there then.
// Tasks that others than pillion take make it an overestimate.
type age struct {
	mu    sync.Mutex
	marks []mark
}

type mark struct {
	at  time.Time
	end int64 // tasks taken by then, and length
}

// maxMarks bounds what is remembered; more are thinned out.
const maxMarks = 256

// oldest notes a length and gives the time since when the head has been there at least.
func (a *age) oldest(now time.Time, taken, length int64) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	gone := 0
	for gone < len(a.marks) && a.marks[gone].end <= taken {
		gone++
	}
	a.marks = append(a.marks[:0], a.marks[gone:]...)
	if length == 0 {
		a.marks = a.marks[:0]
		return time.Time{}
	}
	if n := len(a.marks); n == 0 || a.marks[n-1].end < taken+length {
		if n == maxMarks {
			for i := range n / 2 {
				a.marks[i] = a.marks[2*i]
			}
			a.marks = a.marks[:n/2]
		}
		a.marks = append(a.marks, mark{now, taken + length})
	}
	return a.marks[0].at
}
