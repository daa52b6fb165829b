package pillion

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
)

// collector reads the counters of every part when Prometheus asks. Nothing of the
// client library is on a request's path.
type collector struct {
	p    *Pillion
	desc map[string]*prometheus.Desc
}

// Metrics gives the registry with every metric, for a program that serves them itself.
func (p *Pillion) Metrics() prometheus.Gatherer { return p.metrics }

func (p *Pillion) registerMetrics() error {
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newCollector(p),
	} {
		if err := p.metrics.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// metricTexts is the list of metrics: name, help, labels.
func metricTexts() [][]string {
	return [][]string{
		{"build_info", "1, with the version.", "version"},
		{"requests_total", "Requests by how they were answered.", "outcome"},
		{"responses_total", "Responses by status class.", "class"},
		{"refused_total", "Requests refused as ambiguous or malformed, by reason.", "reason"},
		{"panics_total", "Panics that ended one request, or one fetch, and nothing else."},
		{"upstream_failures_total", "Requests that the application gave no valid response to, by the status sent.", "upstream", "status"},
		{"request_duration_seconds", "Time from the request's header to the response's."},
		{"connections", "Open client connections."},
		{"tunnels", "Open tunnels: connections upgraded to another protocol."},
		{"tunnels_total", "Tunnels by how they ended.", "end"},
		{"tunnel_bytes_total", "Bytes that went through tunnels, by direction.", "direction"},
		{"redis_up", "1 while Redis has answered within redis.max_staleness."},
		{"redis_tracking", "1 when Redis has CLIENT TRACKING; without it nothing is kept in memory."},
		{"redis_heartbeat_age_seconds", "Age of the last sign of life on the tracking connection; -1 before the first."},
		{"redis_reads_total", "Keys read from Redis."},
		{"redis_writes_total", "Commands that changed a key."},
		{"redis_timeouts_total", "Calls that Redis did not answer in time."},
		{"redis_rejected_total", "Calls not made because too many were waiting for Redis."},
		{"redis_invalidations_total", "Keys that Redis said have changed."},
		{"memory_items", "Values in memory."},
		{"memory_bytes", "What the values in memory cost, overhead included."},
		{"memory_evictions_total", "Values that memory had no room for."},
		{"session_checks_total", "Session checks by result.", "result"},
		{"session_identity_omitted_total", "Identity headers left out since their value is unsafe or too long, counted once for each time that a session is decoded."},
		{"session_renewals_total", "Sessions whose lifetime was set again."},
		{"session_renewals_failed_total", "Renewals that were dropped or not answered; the next request tries again."},
		{"session_staleness_bound_seconds", "The longest time for which a session that has ended may still be accepted, a cut link to Redis included: redis.max_staleness and session.grace."},
		{"session_probes_rejected_total", "Session checks that were not made because too many were waiting for Redis."},
		{"session_indexed_total", "Sessions entered into the index of their user on sight."},
		{"session_users_marked_total", "Users marked as active on a day."},
		{"session_records_dropped_total", "Sessions and users that found no room to be recorded; the next request tries again."},
		{"session_records_failed_total", "Writes of such records that Redis did not take; they are tried again."},
		{"session_watches", "Sessions that are watched, since a tunnel or stream depends on them."},
		{"session_watch_ends_total", "Tunnels and streams that were ended with their session."},
		{"upstream_connections", "Connections to the application.", "upstream", "state"},
		{"upstream_dials_total", "Connections to the application opened.", "upstream"},
		{"upstream_dial_errors_total", "Connections to the application that could not be opened.", "upstream"},
		{"upstream_stale_total", "Pooled connections found dead or with bytes that nobody asked for.", "upstream"},
		{"upstream_retries_total", "Requests sent again because a pooled connection had died.", "upstream"},
		{"upstream_up", "0 while no requests are sent to the application, since it does not answer or its health check fails.", "upstream"},
		{"upstream_health_checks_total", "Health checks of the application by result.", "upstream", "result"},
		{"queue_in_flight", "Tasks leased to this process.", "queue"},
		{"queue_claimed_total", "Tasks claimed.", "queue"},
		{"queue_delivered_total", "Tasks delivered and acknowledged.", "queue"},
		{"queue_failed_total", "Failed delivery attempts.", "queue"},
		{"queue_dead_lettered_total", "Tasks moved to the dead letters by this process.", "queue"},
		{"queue_redelivered_total", "Tasks claimed again after an agent died with them.", "queue"},
		{"queue_throttled_total", "Answers that asked for a pause.", "queue"},
		{"queue_throttled", "1 while claiming has stopped since the application asked for a pause.", "queue"},
		{"queue_unknown_acks_total", "Deliveries whose task was gone already: delivered twice.", "queue"},
		{"queue_lateness_seconds", "Time from when a task could be delivered until its first delivery began.", "queue"},
		{"queue_end_to_end_seconds", "Time from when a task could be delivered until its webhook had answered with a 2xx.", "queue"},
		{"queue_attempts", "Deliveries that each delivered task took.", "queue"},
		{"queue_paused", "1 while the queue is paused, on every pod.", "queue"},
		{"queue_breaker_open", "1 while the webhook cannot be reached.", "queue"},
		{"queue_tasks", "Tasks in Redis by state.", "queue", "state"},
		{"queue_oldest_due_age_seconds", "How long the oldest due task has waited, where that is known.", "queue"},
		{"queue_enqueued_total", "Tasks that this process added, by the admin API, by a response of the application, or from Go.", "queue"},
		{"queue_enqueue_duplicates_total", "Tasks that were not added, since one of that deduplication key was.", "queue"},
		{"queue_enqueue_failures_total", "Tasks that Redis did not take, or not surely.", "queue"},
		{"response_tasks_total", "Tasks in responses of the application by what became of them.", "result"},
		{"config_reloads_total", "Reloads by result.", "result"},
		{"config_last_reload_successful", "1 when the newest configuration is the one in use."},
	}
}

func newCollector(p *Pillion) *collector {
	c := &collector{p: p, desc: make(map[string]*prometheus.Desc)}
	for _, m := range metricTexts() {
		c.desc[m[0]] = prometheus.NewDesc("pillion_"+m[0], m[1], m[2:], nil)
	}
	return c
}

// Describe names every metric.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.desc {
		ch <- d
	}
}

// Collect reads everything once.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	e := emitter{c, ch}
	e.gauge("build_info", 1, c.p.version)
	c.requests(e)
	c.tunnels(e)
	c.redis(e)
	c.sessions(e)
	c.upstream(e)
	if c.p.queues != nil {
		c.queues(e)
	}
	ok, failed, last := c.p.reloads.counts()
	e.counter("config_reloads_total", ok, "success")
	e.counter("config_reloads_total", failed, "failure")
	e.gauge("config_last_reload_successful", boolean(last))
}

// emitter sends metrics by name.
type emitter struct {
	c  *collector
	ch chan<- prometheus.Metric
}

func (e emitter) counter(name string, v uint64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.c.desc[name], prometheus.CounterValue, float64(v), labels...)
}

func (e emitter) histogram(name string, h queueagent.Histogram, labels ...string) {
	e.ch <- prometheus.MustNewConstHistogram(e.c.desc[name], h.Count, h.Sum, h.Buckets, labels...)
}

func (e emitter) gauge(name string, v float64, labels ...string) {
	e.ch <- prometheus.MustNewConstMetric(e.c.desc[name], prometheus.GaugeValue, v, labels...)
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// requests adds up the handlers of this Pillion: its own and those that Handler made.
func (c *collector) requests(e emitter) {
	c.p.mu.Lock()
	handlers, servers := c.p.handlers, c.p.servers
	c.p.mu.Unlock()
	var sum proxy.Counts
	for _, h := range handlers {
		sum.Add(h.Stats())
	}
	for outcome, n := range sum.Outcomes {
		e.counter("requests_total", n, outcome)
	}
	for class, n := range sum.Classes {
		e.counter("responses_total", n, class)
	}
	for reason, n := range sum.Refused {
		e.counter("refused_total", n, reason)
	}
	e.counter("panics_total", sum.Panics)
	if c.p.config().Enqueue.Enabled {
		for result, n := range sum.Tasks {
			e.counter("response_tasks_total", n, result)
		}
	}
	for f, n := range sum.Failed {
		e.counter("upstream_failures_total", n, f.Upstream, strconv.Itoa(f.Status))
	}
	e.ch <- prometheus.MustNewConstHistogram(c.desc["request_duration_seconds"], sum.Count, sum.Seconds, sum.Buckets)
	open := 0
	for _, s := range servers {
		open += s.OpenConnections()
	}
	e.gauge("connections", float64(open))
}

func (c *collector) tunnels(e emitter) {
	c.p.mu.Lock()
	handlers := c.p.handlers
	c.p.mu.Unlock()
	var sum proxy.TunnelCounts
	for _, h := range handlers {
		sum.Add(h.Tunnels())
	}
	e.gauge("tunnels", float64(sum.Open))
	for how, n := range sum.Ended {
		e.counter("tunnels_total", n, how)
	}
	e.counter("tunnel_bytes_total", sum.Up, "to_application")
	e.counter("tunnel_bytes_total", sum.Down, "to_client")
}

func (c *collector) redis(e emitter) {
	st, s := c.p.redis.State(), c.p.redis.Stats()
	e.gauge("redis_up", boolean(st.Up))
	e.gauge("redis_tracking", boolean(st.Tracking))
	age := -1.0
	if st.SinceBeat >= 0 {
		age = st.SinceBeat.Seconds()
	}
	e.gauge("redis_heartbeat_age_seconds", age)
	e.counter("redis_reads_total", s.Reads)
	e.counter("redis_writes_total", s.Writes)
	e.counter("redis_timeouts_total", s.Timeouts)
	e.counter("redis_rejected_total", s.Rejected)
	e.counter("redis_invalidations_total", s.Invalidations)
	e.gauge("memory_items", float64(s.Items))
	e.gauge("memory_bytes", float64(s.Bytes))
	e.counter("memory_evictions_total", s.Evictions)
}

func (c *collector) sessions(e emitter) {
	s := c.p.sessions.Stats()
	e.counter("session_checks_total", s.ValidMemory, "valid_memory")
	e.counter("session_checks_total", s.ValidRedis, "valid_redis")
	e.counter("session_checks_total", s.ValidGrace, "valid_grace")
	e.counter("session_identity_omitted_total", s.IdentityOmitted)
	for reason, n := range s.Absent {
		e.counter("session_checks_total", n, reason)
	}
	e.counter("session_checks_total", s.Unknown, "unknown")
	e.counter("session_renewals_total", s.Renewed)
	e.counter("session_renewals_failed_total", s.RenewDropped+s.RenewFailed)
	e.gauge("session_watches", float64(s.Watched))
	e.counter("session_watch_ends_total", s.WatchEnded)
	c.users(e, s.ProbesRejected)
}

// users tells of what is recorded of users beside the requests, and what bounds the check.
func (c *collector) users(e emitter, rejected uint64) {
	cfg := c.p.config()
	e.gauge("session_staleness_bound_seconds", (cfg.Redis.MaxStaleness + cfg.Session.Grace).Seconds())
	e.counter("session_probes_rejected_total", rejected)
	u := c.p.users.Stats()
	e.counter("session_indexed_total", u.Indexed)
	e.counter("session_users_marked_total", u.Marked)
	e.counter("session_records_dropped_total", u.Dropped)
	e.counter("session_records_failed_total", u.Failures)
}

func (c *collector) upstream(e emitter) {
	oneUpstream(e, defaultUpstream, c.p.upstream)
	for name, client := range c.p.upstreams {
		oneUpstream(e, name, client)
	}
}

func oneUpstream(e emitter, name string, client *upstream.Client) {
	s := client.Stats()
	e.gauge("upstream_connections", float64(s.Idle), name, "idle")
	e.gauge("upstream_connections", float64(s.Open-s.Idle), name, "busy")
	e.counter("upstream_dials_total", s.Dials, name)
	e.counter("upstream_dial_errors_total", s.DialErrors, name)
	e.counter("upstream_stale_total", s.Stale, name)
	e.counter("upstream_retries_total", s.Retries, name)
	e.gauge("upstream_up", boolean(s.Up), name)
	if client.Config().Health.Path != "" {
		e.counter("upstream_health_checks_total", s.HealthGood, name, "success")
		e.counter("upstream_health_checks_total", s.HealthBad, name, "failure")
	}
}

func (c *collector) queues(e emitter) {
	for _, q := range c.p.queues.Stats() {
		e.gauge("queue_in_flight", float64(q.InFlight), q.Name)
		e.counter("queue_claimed_total", q.Claimed, q.Name)
		e.counter("queue_delivered_total", q.Delivered, q.Name)
		e.counter("queue_failed_total", q.Failed, q.Name)
		e.counter("queue_dead_lettered_total", q.DeadLettered, q.Name)
		e.counter("queue_redelivered_total", q.Redelivered, q.Name)
		e.counter("queue_throttled_total", q.Throttled, q.Name)
		e.gauge("queue_throttled", boolean(q.HeldBack), q.Name)
		e.counter("queue_unknown_acks_total", q.UnknownAcks, q.Name)
		e.histogram("queue_lateness_seconds", q.Lateness, q.Name)
		e.histogram("queue_end_to_end_seconds", q.EndToEnd, q.Name)
		e.histogram("queue_attempts", q.Attempts, q.Name)
		e.counter("queue_enqueued_total", q.Enqueued, q.Name)
		e.counter("queue_enqueue_duplicates_total", q.Duplicates, q.Name)
		e.counter("queue_enqueue_failures_total", q.EnqueueFailed, q.Name)
		e.gauge("queue_breaker_open", boolean(q.BreakerOpen), q.Name)
	}
	if !c.p.redis.Up() {
		return // depths are not known: no number is better than an old one
	}
	ctx, cancel := context.WithTimeout(c.p.ctx, time.Second)
	defer cancel()
	depths, err := c.p.queues.Depths(ctx)
	if err != nil {
		c.p.log.Warn().Err(err).Msg("queue depths are not known")
		return
	}
	for _, d := range depths {
		c.depth(e, d)
	}
}

func (c *collector) depth(e emitter, d queueagent.Depth) {
	for state, n := range map[string]int64{
		"ready": d.Ready, "scheduled": d.Scheduled, "retrying": d.Retrying, "leased": d.Leased, "dead": d.Dead,
	} {
		if n >= 0 { // else it is not known
			e.gauge("queue_tasks", float64(n), d.Name, state)
		}
	}
	e.gauge("queue_paused", boolean(d.Paused), d.Name)
	age := 0.0 // an autoscaler takes a metric that is missing for an error
	if !d.OldestDue.IsZero() {
		age = max(time.Since(d.OldestDue).Seconds(), 0)
	}
	e.gauge("queue_oldest_due_age_seconds", age, d.Name)
}
