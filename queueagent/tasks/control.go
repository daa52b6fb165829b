package tasks

import (
	"context"
	"strings"
)

// Pause stops claims of every agent, once Redis has it; what is leased goes on.
func (s *Store) Pause(ctx context.Context) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return c.Do(ctx, c.B().Hset().Key(s.Keys.Control).FieldValue().FieldValue("paused", "1").Build()).Error()
}

// Resume lets claims go on. Agents notice within about a second.
func (s *Store) Resume(ctx context.Context) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	return c.Do(ctx, c.B().Hdel().Key(s.Keys.Control).Field("paused").Build()).Error()
}

// Holder gives the token of the lease that a task has; "": it has none. It looks through
// the leases, which are as many as tasks are in hand.
func (s *Store) Holder(ctx context.Context, id string) (token string, err error) {
	c, err := s.client()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, c.B().Zscan().Key(s.Keys.Leases).Cursor(cursor).Match(globEscape(id)+"|*").Count(MaxBatch).Build()).AsScanEntry()
		if err != nil {
			return "", err
		}
		if len(page.Elements) > 0 {
			_, token, _ := strings.Cut(page.Elements[0], "|")
			return token, nil
		}
		if cursor = page.Cursor; cursor == 0 {
			return "", nil
		}
	}
}
