package queueagent

import (
	"time"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
	"github.com/pillion-proxy/pillion/units"
)

// The values of Config.Pop and Config.Score.
const (
	PopLeft           = "left"
	PopRight          = "right"
	ScoreSeconds      = "seconds"
	ScoreMilliseconds = "milliseconds"
)

// Config is one queue and where its tasks go.
type Config struct {
	// Name names the queue in logs, metrics and key names.
	Name string `yaml:"name"`
	// List is the Redis list to drain. Exactly one of List, Delay and Stream is set.
	List string `yaml:"list"`
	// Pop is the end that a list is drained from: "left", for producers that RPUSH, or
	// "right", for those that LPUSH.
	Pop string `yaml:"pop"`
	// Delay is the Redis sorted set to drain; a member's score is the Unix time when it
	// is due.
	Delay string `yaml:"delay"`
	// Score is the unit of the scores: "seconds" or "milliseconds".
	Score string `yaml:"score"`
	// Stream is the Redis stream to drain.
	Stream string `yaml:"stream"`
	// Group is the consumer group of the stream. It is made, from the start of the
	// stream, when it is absent.
	Group string `yaml:"group"`
	// Field is the field of a stream's entry that holds the payload. When it is empty,
	// or an entry has no such field, the payload is a JSON object of all fields.
	Field string `yaml:"field"`
	// Delete removes entries from the stream (XDEL) once they are claimed.
	Delete bool `yaml:"delete"`
	// MinIdle is how long an entry may stay unacknowledged with another consumer of the
	// group before it is taken over (XAUTOCLAIM).
	MinIdle time.Duration `yaml:"min_idle"`
	// Webhook is where tasks are delivered.
	Webhook Webhook `yaml:"webhook"`
	// Task says where in a payload the task's type, body and times are.
	Task Task `yaml:"task"`
	// Concurrency bounds the deliveries in flight in this process.
	Concurrency int `yaml:"concurrency"`
	// FIFO delivers strictly in order: over all agents, a task begins only when the one
	// before it is done, retries included. Concurrency has no effect then.
	FIFO bool `yaml:"fifo"`
	// Rate bounds the deliveries of all agents together.
	Rate Rate `yaml:"rate"`
	// Lease is how long a claimed task stays ours without a renewal. Renewed
	// every third of it.
	Lease time.Duration `yaml:"lease"`
	// Retry says when a failed task is tried again.
	Retry Retry `yaml:"retry"`
	// MaxPayload bounds the tasks that Enqueue adds. What producers write themselves is
	// of any size.
	MaxPayload units.Size `yaml:"max_payload"`
}

// source gives what the tasks are read from.
func (c Config) source() tasks.Source {
	s := tasks.Source{
		Kind: tasks.List, Key: c.List, FromRight: c.Pop == PopRight, Millis: c.Score == ScoreMilliseconds,
		Group: c.Group, Field: c.Field, Delete: c.Delete, MinIdle: c.MinIdle,
	}
	switch {
	case c.Delay != "":
		s.Kind, s.Key = tasks.Delay, c.Delay
	case c.Stream != "":
		s.Kind, s.Key = tasks.Stream, c.Stream
	}
	return s
}

// Rate is a limit over all agents, kept in Redis.
type Rate struct {
	// Limit is how many tasks may be delivered per Per; 0: no limit.
	Limit int           `yaml:"limit"`
	Per   time.Duration `yaml:"per"`
	// Burst is how many may be delivered at once after a pause; 0: what the limit gives in
	// a tenth of a second, at least 1.
	Burst int `yaml:"burst"`
}

// every gives the time from task to task; 0: no limit.
func (r Rate) every() time.Duration {
	if r.Limit <= 0 {
		return 0
	}
	return max(r.Per/time.Duration(r.Limit), time.Microsecond)
}

func (r Rate) burst() int {
	if r.Burst > 0 || r.Limit <= 0 {
		return max(r.Burst, 1)
	}
	return max(int(100*time.Millisecond/r.every()), 1)
}

// Webhook is an HTTP endpoint of the application.
type Webhook = webhook.Config

// Task says where things are in a payload.
type Task = webhook.Task

// Retry is exponential backoff with full jitter.
type Retry struct {
	// MaxAttempts is how often a task is delivered before it goes to the dead letters.
	MaxAttempts int `yaml:"max_attempts"`
	// Min and Max bound the delay before the next attempt.
	Min time.Duration `yaml:"min"`
	Max time.Duration `yaml:"max"`
	// MaxAge is the age after which a failed task is not tried again: it goes to the
	// dead letters. It counts from when the task was due (delay) or added (stream), or
	// first claimed (list). 0: it may be of any age.
	MaxAge time.Duration `yaml:"max_age"`
	// Status says what statuses mean: ack, retry, throttle or dead_letter, for keys
	// such as 422, 4xx and 500-599, of which the most exact counts. For others, 2xx
	// is ack, 410 is dead_letter, 429 and 503 with Retry-After are throttle, and the
	// rest is retry.
	Status map[string]string `yaml:"status"`
	// MaxAbandons is how often a task may be left behind by an agent that died, or
	// lost its lease, before it goes to the dead letters as poison.
	MaxAbandons int `yaml:"max_abandons"`
}

// Default gives the settings of a queue where the user sets none. Name, source
// and webhook URL have no default.
func Default() Config {
	return Config{
		Webhook:     Webhook{TLS: webhook.TLS{MinVersion: "1.2"}, Timeout: 30 * time.Second, ContentType: webhook.DefaultContentType},
		Pop:         PopLeft,
		Score:       ScoreSeconds,
		Group:       "pillion",
		MinIdle:     5 * time.Minute,
		Task:        Task{Type: "type", Traceparent: "traceparent"},
		Concurrency: 16,
		Rate:        Rate{Per: time.Second},
		Lease:       30 * time.Second,
		Retry:       Retry{MaxAttempts: 10, Min: time.Second, Max: 10 * time.Minute, MaxAbandons: 5},
		MaxPayload:  16 * units.MiB,
	}
}
