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

// Retry is exponential backoff with full jitter.
type Retry struct {
	// MaxAttempts is how often a task is delivered before it goes to the dead letters.
	MaxAttempts int `yaml:"max_attempts"`
	// Min and Max bound the delay before the next attempt.
	Min time.Duration `yaml:"min"`
	Max time.Duration `yaml:"max"`
	// MaxAbandons is how often a task may be left behind by an agent that died, or
	// lost its lease, before it goes to the dead letters as poison.
	MaxAbandons int `yaml:"max_abandons"`
}

// Default gives the settings of a queue where the user sets none. Name, source
// and webhook URL have no default.
func Default() Config {
	return Config{
		Webhook:     Webhook{Timeout: 30 * time.Second},
		Concurrency: 16,
		Lease:       30 * time.Second,
		Retry:       Retry{MaxAttempts: 10, Min: time.Second, Max: 10 * time.Minute, MaxAbandons: 5},
	}
}
