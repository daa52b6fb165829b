package demo

import (
	"time"

	"github.com/pillion-proxy/pillion"
	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

const (
	listKey  = "demo:tasks"
	delayKey = "demo:delayed"
)

// config is what a config.yaml would say: see the one at the root of the project.
func (r *rig) config() (pillion.Config, error) {
	cfg := pillion.Default()
	var err error
	if r.proxy, err = freeAddr("8080"); err != nil {
		return cfg, err
	}
	if r.admin, err = freeAddr("9900"); err != nil {
		return cfg, err
	}
	cfg.Listen, cfg.Admin.Listen = r.proxy, r.admin
	cfg.Upstream.URL = r.app.url()
	cfg.Redis.URL = r.redis.url()
	// The built-in Redis shares our processors, and the demo may run on a busy machine.
	cfg.Redis.Timeout, cfg.Redis.MaxStaleness = 500*time.Millisecond, 2*time.Second
	cfg.Server.ShutdownTimeout = 5 * time.Second
	cfg.Rules = demoRules()
	cfg.Queues = []queueagent.Config{
		r.queue("tasks", func(q *queueagent.Config) { q.List = listKey }),
		r.queue("delayed", func(q *queueagent.Config) { q.Delay = delayKey }),
	}
	return cfg, nil
}

func (r *rig) queue(name string, source func(*queueagent.Config)) queueagent.Config {
	q := queueagent.Default()
	q.Name = name
	source(&q)
	q.Webhook.URL = r.app.url() + "/tasks/{type}"
	q.Retry.Min, q.Retry.Max = 200*time.Millisecond, 2*time.Second
	return q
}

func demoRules() []proxy.Rule {
	off := cache.Policy{Mode: cache.ModeOff}
	none := sessioncheck.Policy{Mode: sessioncheck.ModeNone}
	optional := sessioncheck.Policy{Mode: sessioncheck.ModeOptional}
	required := sessioncheck.Policy{Mode: sessioncheck.ModeRequired}
	return []proxy.Rule{
		{
			Name: "product", Session: optional,
			Match: rules.Match{Path: "/api/products/{id}", Methods: []string{"GET"}},
			Cache: cache.Policy{
				TTL: 5 * time.Minute, Jitter: 10, NegativeTTL: time.Minute, Scope: cache.ScopePublic,
				Tags: []string{"product:{id}"}, Query: cache.Query{Ignore: []string{"utm_*"}},
			},
		},
		{
			Name: "profile", Session: required, Match: rules.Match{Path: "/profile", Methods: []string{"GET"}},
			Cache: cache.Policy{TTL: 15 * time.Minute, Scope: cache.ScopeUser, Tags: []string{"user:{session.user_id}"}},
		},
		{Name: "login", Match: rules.Match{Path: "/login", Methods: []string{"POST"}}, Session: none, Cache: off},
		{Name: "logout", Match: rules.Match{Path: "/logout", Methods: []string{"POST"}}, Session: required, Cache: off},
		{Name: "whoami", Match: rules.Match{Path: "/whoami", Methods: []string{"GET"}}, Session: optional, Cache: off},
		{Name: "slow", Match: rules.Match{Path: "/slow", Methods: []string{"GET"}}, Session: none, Cache: off},
	}
}
