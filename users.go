package pillion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// UserSessions lists the sessions of a user that the index knows, oldest first. It needs
// session.lifecycle or session.index.
func (p *Pillion) UserSessions(ctx context.Context, user string) ([]admin.Session, error) {
	if err := off(p.users.Indexed()); err != nil {
		return nil, err
	}
	list, err := p.users.List(ctx, user)
	out := make([]admin.Session, len(list))
	for i, s := range list {
		out[i] = admin.Session{Handle: s.Handle, Created: s.Created.UTC(), LastSeen: known(s.LastSeen), Expires: known(s.Expires)}
	}
	return out, err
}

// EndUserSessions logs a user out everywhere: it ends the sessions that the index knows,
// and gives how many these were.
func (p *Pillion) EndUserSessions(ctx context.Context, user string) (ended int, err error) {
	if err := off(p.users.Indexed()); err != nil {
		return 0, err
	}
	return p.users.EndAll(ctx, user)
}

// EndSession ends the session that a handle of UserSessions names.
func (p *Pillion) EndSession(ctx context.Context, handle string) (found bool, err error) {
	if err := off(p.users.Indexed()); err != nil {
		return false, err
	}
	return p.users.End(ctx, handle)
}

// ActiveUsers counts the users of the days that end with one, in UTC. It needs
// session.active_users.
func (p *Pillion) ActiveUsers(ctx context.Context, day time.Time, days int) (admin.ActiveUsers, error) {
	if err := off(p.users.Counted()); err != nil {
		return admin.ActiveUsers{}, err
	}
	n, err := p.users.Active(ctx, day, days)
	return admin.ActiveUsers{Days: days, Users: n.Total(), Exact: n.Exact, Estimate: n.Estimate}, err
}

// Streak counts the days in a row, up to today or yesterday, on which a user was active.
func (p *Pillion) Streak(ctx context.Context, user string, today time.Time) (admin.Streak, error) {
	if err := off(p.users.Counted()); err != nil {
		return admin.Streak{}, err
	}
	days, err := p.users.Streak(ctx, user, today)
	if errors.Is(err, sessioncheck.ErrUnknownStreak) {
		return admin.Streak{User: user, Detail: err.Error()}, nil
	}
	return admin.Streak{User: user, Known: err == nil, Days: days}, err
}

// off marks an error that a setting would end.
func off(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", admin.ErrOff, err)
}

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Millisecond)
	return &t
}
