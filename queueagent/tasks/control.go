package tasks

import (
	"context"
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
