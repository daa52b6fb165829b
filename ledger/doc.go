// Package ledger holds tests that keep a ledger of tasks while everything around them
// fails: agents are killed or stopped, the application and Redis go away and come back.
// In the end each task must have been delivered, and none more often than the failures
// explain. `make test` runs them in small, `make ledger` and `make ledger-backlog` in full.
package ledger
