package queueagent

import (
	"time"

	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

// Config is one queue and where its tasks go.
type Config struct {
	// Name names the queue in logs, metrics and key names.
	Name string `yaml:"name"`
	// List is the Redis list to drain, from its left end (producers RPUSH).
	// Exactly one of List and Delay is set.
	List string `yaml:"list"`
	// Delay is the Redis sorted set to drain; a member's score is the Unix time,
	// in seconds, when it is due.
	Delay string `yaml:"delay"`
	// Webhook is where tasks are delivered.
	Webhook Webhook `yaml:"webhook"`
	// Task says where in a payload the task's type, body and times are.
	Task Task `yaml:"task"`
	// Concurrency bounds the deliveries in flight in this process.
	Concurrency int `yaml:"concurrency"`
	// Lease is how long a claimed task stays ours without a renewal. Renewed
	// every third of it.
	Lease time.Duration `yaml:"lease"`
	// Retry says when a failed task is tried again.
	Retry Retry `yaml:"retry"`
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
	// MaxAge is the age, since a task was first claimed, after which it is not tried
	// again: it goes to the dead letters. 0: it may be of any age.
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
		Webhook:     Webhook{Timeout: 30 * time.Second, ContentType: webhook.DefaultContentType},
		Task:        Task{Type: "type", Traceparent: "traceparent"},
		Concurrency: 16,
		Lease:       30 * time.Second,
		Retry:       Retry{MaxAttempts: 10, Min: time.Second, Max: 10 * time.Minute, MaxAbandons: 5},
	}
}
