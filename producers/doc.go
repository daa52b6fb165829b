// Package producers holds no code: its tests put tasks into Redis with real clients, as
// applications have them, and look at what the program delivers of them: Celery and its
// kombu, Sidekiq, and redis-py. docs/producers.md says how each is configured.
package producers
