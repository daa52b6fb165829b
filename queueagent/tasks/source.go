package tasks

import "time"

// Kind is what a source is in Redis.
type Kind string

// The kinds of source.
const (
	List   Kind = "list"
	Delay  Kind = "delay"
	Stream Kind = "stream"
)

// Source is a key that producers write, and how it is read.
type Source struct {
	Kind Kind
	Key  string
	// FromRight pops a list from its right end, for producers that LPUSH.
	FromRight bool
	// Millis says that the scores of a delay source are in milliseconds, not seconds.
	Millis bool
	// Group is the consumer group of a stream. It is made, from the start of the
	// stream, when it is absent.
	Group string
	// Field is the field of a stream's entry that holds the payload. When it is empty,
	// or an entry has no such field, the payload is a JSON object of all fields.
	Field string
	// Delete removes entries from the stream (XDEL) once they are claimed.
	Delete bool
	// MinIdle is how long an entry may stay with another consumer of the group,
	// unacknowledged, before it is taken over (XAUTOCLAIM).
	MinIdle time.Duration
}

// mode is what claim.lua calls the source.
func (s Source) mode() string {
	switch {
	case s.Kind != List:
		return string(s.Kind)
	case s.FromRight:
		return "right"
	}
	return "left"
}

// units is how many units of a delay score make a second.
func (s Source) units() int {
	if s.Millis {
		return 1000
	}
	return 1
}

// Due gives the time in ms that a score means.
func (s Source) Due(score float64) float64 { return score * 1000 / float64(s.units()) }

func flag(on bool) string {
	if on {
		return "1"
	}
	return "0"
}
