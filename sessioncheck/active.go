package sessioncheck

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

//go:embed scripts/count.lua
var countScript string

const (
	// activeTTL is for how long a day's users are kept, and streakDays how far back a
	// streak is followed.
	activeTTL  = 400 * 24 * time.Hour
	streakDays = 399
	// markBatch is how many users one call marks.
	markBatch = 512
)

// ErrNotCounted says that the settings do not count active users.
var ErrNotCounted = errors.New("active users are not counted: set session.active_users to true")

// ErrUnknownStreak says that only a number of users is known, not who they were.
var ErrUnknownStreak = errors.New("who is not counted by a numeric id up to session.active_users.max_id is only estimated: a streak is not known")

// activeKey and estimateKey name the users of a day: a bitmap by numeric id, and a
// HyperLogLog of the others. All days share a slot of a Cluster, so that weeks and
// months can be counted there.
func (u *Users) activeKey(day int32) string { return u.redis.Prefix() + "{active}:" + dayName(day) }

func (u *Users) estimateKey(day int32) string {
	return u.redis.Prefix() + "{active}:hll:" + dayName(day)
}

func dayName(day int32) string { return dayTime(day).Format(time.DateOnly) }

func dayTime(day int32) time.Time { return time.Unix(int64(day)*86400, 0).UTC() }

// bit gives the place of a user in the bitmap. Only the form that a number is written
// in counts as one: "007" is another user than "7".
func (u *Users) bit(user string) (int64, bool) {
	n, err := strconv.ParseInt(user, 10, 64)
	if err != nil || n < 0 || n > int64(u.cfg.ActiveUsers.MaxID) || strconv.FormatInt(n, 10) != user {
		return 0, false
	}
	return n, true
}

// flushActive marks users, in pipelines.
func (u *Users) flushActive(ctx context.Context, active map[activity]struct{}) {
	batch := make([]activity, 0, markBatch)
	for len(active) > 0 {
		batch = batch[:0]
		for a := range active {
			batch = append(batch, a)
			delete(active, a)
			if len(batch) == markBatch {
				break
			}
		}
		if err := u.mark(ctx, append([]activity(nil), batch...)); err != nil {
			u.failures.Add(1)
			u.log.Debug().Err(err).Msg("active users were not marked; this is tried again")
			for _, a := range batch {
				active[a] = struct{}{}
			}
			putBack(u, &u.active, active)
			return
		}
		u.marked.Add(uint64(len(batch)))
	}
}

// mark is idempotent: a pipeline that was cut short is sent again.
func (u *Users) mark(ctx context.Context, batch []activity) error {
	_, err := u.redis.Run(ctx, func(ctx context.Context, c rueidis.Client) (int64, error) {
		cmds := make(rueidis.Commands, 0, len(batch)+4)
		others, keys := map[int32][]string{}, map[string]int32{}
		for _, a := range batch {
			if n, numeric := u.bit(a.user); numeric {
				cmds = append(cmds, c.B().Setbit().Key(u.activeKey(a.day)).Offset(n).Value(1).Build())
				keys[u.activeKey(a.day)] = a.day
				continue
			}
			others[a.day] = append(others[a.day], a.user)
		}
		for day, users := range others {
			cmds = append(cmds, c.B().Pfadd().Key(u.estimateKey(day)).Element(users...).Build())
			keys[u.estimateKey(day)] = day
		}
		for key, day := range keys {
			cmds = append(cmds, c.B().Pexpireat().Key(key).MillisecondsTimestamp(dayTime(day).Add(activeTTL).UnixMilli()).Build())
		}
		for _, r := range c.DoMulti(ctx, cmds...) {
			if err := r.Error(); err != nil {
				return 0, err
			}
		}
		return int64(len(batch)), nil
	})
	return err
}

// ActiveCount is how many users were active in a period.
type ActiveCount struct {
	Exact    int64 // users with a bit of their own
	Estimate int64 // the others: right to about one per cent
}

// Total is the sum.
func (a ActiveCount) Total() int64 { return a.Exact + a.Estimate }

// Counted gives ErrNotCounted where active users are not counted.
func (u *Users) Counted() error {
	if u == nil || u.users == nil {
		return ErrNotCounted
	}
	return nil
}

// Active counts the users of the days that end with one.
func (u *Users) Active(ctx context.Context, day time.Time, days int) (ActiveCount, error) {
	c := u.redis.Client()
	if c == nil {
		return ActiveCount{}, errNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	last := dayOf(day)
	bitmaps, estimates := []string{u.redis.Prefix() + "{active}:tmp:" + newID()}, []string(nil)
	for d := last - int32(days) + 1; d <= last; d++ {
		bitmaps, estimates = append(bitmaps, u.activeKey(d)), append(estimates, u.estimateKey(d))
	}
	out := c.DoMulti(ctx,
		c.B().Eval().Script(countScript).Numkeys(int64(len(bitmaps))).Key(bitmaps...).Build(),
		c.B().Pfcount().Key(estimates...).Build())
	var a ActiveCount
	var errs [2]error
	a.Exact, errs[0] = out[0].AsInt64()
	a.Estimate, errs[1] = out[1].AsInt64()
	return a, errors.Join(errs[:]...)
}

// Streak counts the days in a row, up to today or yesterday, on which a user was active.
func (u *Users) Streak(ctx context.Context, user string, today time.Time) (int, error) {
	n, numeric := u.bit(user)
	if !numeric {
		return 0, ErrUnknownStreak
	}
	c := u.redis.Client()
	if c == nil {
		return 0, errNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	cmds := make(rueidis.Commands, 0, streakDays)
	for i := range int32(streakDays) {
		cmds = append(cmds, c.B().Getbit().Key(u.activeKey(dayOf(today)-i)).Offset(n).Build())
	}
	streak, ended := 0, false
	for i, r := range c.DoMulti(ctx, cmds...) {
		set, err := r.AsInt64()
		switch {
		case err != nil:
			return 0, err
		case set == 1 && !ended:
			streak++
		case i > 0: // today may yet come
			ended = true
		}
	}
	return streak, nil
}
