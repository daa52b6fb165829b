// Package webhook delivers tasks by HTTP POST: the request with its headers and
// signatures, one kept connection to each worker, and the answer taken apart. It knows
// nothing of where tasks come from, nor of what becomes of them.
package webhook

import (
	"net"
	"strconv"
	"time"
)

// Request is one delivery of a task.
type Request struct {
	// ID is the same for each delivery of the task.
	ID string
	// Payload is the task as its producer wrote it.
	Payload string
	// Attempt counts from 1.
	Attempt int
	// Reason says why the task is delivered now: first, retry, crash or replay.
	Reason string
	// First is when the task could first have been delivered; zero: unknown.
	First time.Time
	// Now is the time by which task.due and task.expires are judged: that of the clock by
	// which whoever claims tasks judges all else. Zero: this machine's. What receivers
	// compare with their own clocks, webhook-timestamp and Pillion-Deadline, is by this
	// machine's in any case.
	Now time.Time
	// Token lets the application acknowledge the task later; empty: there is none.
	Token string
}

// Lease is the right to deliver one task, which may end while a POST runs. Its owner
// may move the deadline of an attached connection at any time, or cut it short.
type Lease interface {
	// Begin is told when the webhook's time will be over, and gives the time when
	// dialling must end. An error means that the delivery is not to begin.
	Begin(end time.Time) (until time.Time, err error)
	// Attach puts a connection under the lease's deadline.
	Attach(net.Conn) error
	// Detach takes it back. The error says that the POST was cut short, and why.
	Detach() error
}

// defaultType is the CloudEvents type of a task that names none: the attribute must
// not be empty.
const defaultType = "pillion.task"

// Endpoint is one webhook as it is configured. It is safe for concurrent use.
type Endpoint struct {
	timeout  time.Duration
	accepted time.Duration
	target   *target
	ready    *target // nil: readiness is not asked for
	mapping  *mapping
	secrets  [][]byte
	fixed    []byte // the lines of the head that each delivery has
}

// New makes the endpoint of a queue, whose name and number of attempts are sent with
// each delivery. It reads the TLS files. An error names the setting, without a secret.
func New(cfg Config, task Task, queue string, maxAttempts int) (*Endpoint, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	e := &Endpoint{timeout: cfg.Timeout, accepted: cfg.AcceptedLease}
	app, err := cfg.App.place()
	if err != nil {
		return nil, err
	}
	if e.target, err = newTarget("webhook.url", cfg.URL, app, cfg.TLS); err != nil {
		return nil, err
	}
	if e.ready, err = newReadyTarget(e.target, cfg.Ready, cfg.TLS); err != nil {
		return nil, err
	}
	if e.mapping, err = newMapping(task); err != nil {
		return nil, err
	}
	if e.secrets, err = cfg.secrets(); err != nil {
		return nil, err
	}
	extra, err := cfg.headerBlock()
	if err != nil {
		return nil, err
	}
	e.fixed = append(e.fixedLines(cfg, queue, maxAttempts), extra...)
	return e, nil
}

// URL says where tasks go, for people: without a query, which may have secrets. The
// application on a Unix socket is http://unix:/path/to/socket: before its path.
func (e *Endpoint) URL() string { return e.target.public }

// AsksReady says whether there is something to ask whether the application is ready.
func (e *Endpoint) AsksReady() bool { return e.ready != nil }

func (e *Endpoint) fixedLines(cfg Config, queue string, maxAttempts int) []byte {
	kind := cfg.ContentType
	if kind == "" {
		kind = DefaultContentType
	}
	b := appendLine(nil, "Host", e.target.host)
	b = appendLine(b, "User-Agent", userAgent)
	b = appendLine(b, "Content-Type", kind)
	b = appendLine(b, "ce-specversion", "1.0")
	b = appendLine(b, "ce-source", string(appendUnreserved([]byte("/pillion/"), queue)))
	b = appendLine(b, "Pillion-Queue", string(appendHeaderValue(nil, queue)))
	return appendLine(b, "Pillion-Max-Attempts", strconv.Itoa(maxAttempts))
}

const userAgent = "pillion"

// appendLine writes a header whose value needs no encoding.
func appendLine(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}
