package pillion

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/queueagent/webhook"
)

func (v *validator) queues() {
	names, keys := map[string]int{}, map[string]int{}
	for i, q := range v.cfg.Queues {
		at := fmt.Sprintf("queues[%d]", i)
		v.queueName(at+".name", q.Name)
		v.unique(at+".name", q.Name, "queues", names, i)
		source, name := v.queueSource(at, q)
		v.unique(source, name, "queues", keys, i)
		v.webhook(at+".webhook", q.Webhook)
		v.task(at+".task", q.Task)
		v.queueFlow(at, q)
		v.positive(at+".lease", q.Lease)
		v.retry(at+".retry", q.Retry)
		v.sizeBetween(at+".max_payload", q.MaxPayload, 1, queueagent.MaxPayload)
	}
}

// unique reports a value that an earlier entry of the list has too.
func (v *validator) unique(key, value, list string, seen map[string]int, i int) {
	if value == "" {
		return
	}
	if first, twice := seen[value]; twice {
		v.add(key, value, fmt.Sprintf("is used by %s[%d] already", list, first), "use each name and each key once")
		return
	}
	seen[value] = i
}

func (v *validator) queueName(key, name string) {
	const remedy = "write 1 to 64 lower-case letters, digits, - and _"
	if ok, _ := regexp.MatchString(`^[a-z0-9_-]{1,64}$`, name); !ok {
		v.add(key, name, orEmpty(name, "is not a valid queue name"), remedy)
	}
}

// queueSource checks what is drained, and gives its key in the configuration and in Redis.
func (v *validator) queueSource(at string, q queueagent.Config) (setting, redisKey string) {
	for _, s := range []struct{ name, key string }{{"list", q.List}, {"delay", q.Delay}, {"stream", q.Stream}} {
		switch {
		case s.key == "":
			continue
		case len(s.key) > 512:
			v.add(at+"."+s.name, s.key, "has more than 512 bytes", "use a shorter Redis key")
		case redisKey != "":
			v.add(at+"."+s.name, s.key, "is set beside "+setting, "write a queue of its own for each")
			continue
		}
		setting, redisKey = s.name, s.key
	}
	if redisKey == "" {
		v.add(at, "", "has neither list nor delay nor stream", "name the Redis key to drain: a list, a sorted set as delay, or a stream")
		return at, ""
	}
	v.queueOptions(at, setting, q)
	if setting == "stream" { // each group drains it once
		redisKey += " with the group " + q.Group
	}
	return at + "." + setting, redisKey
}

// queueOptions checks what belongs to one kind of source.
func (v *validator) queueOptions(at, kind string, q queueagent.Config) {
	for _, o := range []struct{ name, kind string }{
		{"pop", "list"}, {"score", "delay"}, {"group", "stream"}, {"field", "stream"}, {"delete", "stream"}, {"min_idle", "stream"},
	} {
		if key := at + "." + o.name; o.kind != kind && v.isSet(key) {
			v.add(key, "", "has no meaning for a "+kind, "remove it, or name the source as "+o.kind)
		}
	}
	switch kind {
	case "list":
		v.oneOf(at+".pop", q.Pop, "an end of a list", queueagent.PopLeft, queueagent.PopRight)
	case "delay":
		v.oneOf(at+".score", q.Score, "a unit of time", queueagent.ScoreSeconds, queueagent.ScoreMilliseconds)
	case "stream":
		v.queueGroup(at, q)
	}
}

func (v *validator) queueGroup(at string, q queueagent.Config) {
	if q.Group == "" || len(q.Group) > 512 {
		v.add(at+".group", q.Group, orEmpty(q.Group, "has more than 512 bytes"), "name the consumer group of the stream")
	}
	if q.MinIdle < time.Second {
		v.add(at+".min_idle", strictyaml.Duration(q.MinIdle), "is less than 1s", "write how long another consumer may take for an entry, such as 5m")
	}
}

// queueFlow checks how fast tasks are delivered.
func (v *validator) queueFlow(at string, q queueagent.Config) {
	v.between(at+".concurrency", q.Concurrency, 1, 10000)
	if q.FIFO && q.Concurrency > 1 && v.isSet(at+".concurrency") {
		v.add(at+".concurrency", strconv.Itoa(q.Concurrency), "is set beside fifo, which delivers one task at a time", "remove one of the two")
	}
	v.between(at+".rate.limit", q.Rate.Limit, 0, 1_000_000)
	v.between(at+".rate.burst", q.Rate.Burst, 0, 1_000_000)
	if q.Rate.Limit > 0 || v.isSet(at+".rate.per") {
		v.positive(at+".rate.per", q.Rate.Per)
	}
}

func (v *validator) webhook(at string, w queueagent.Webhook) {
	v.webhookPlace(at, w)
	v.positive(at+".timeout", w.Timeout)
	v.webhookSecrets(at, w)
	if wrong := webhook.ContentTypeProblem(w.ContentType); wrong != "" {
		v.add(at+".content_type", w.ContentType, wrong, "write one such as application/json")
	}
	v.webhookHeaders(at+".headers", w.Headers)
	if d := w.AcceptedLease; d != 0 && (d < webhook.MinAcceptedLease || d > webhook.MaxAcceptedLease) {
		v.add(at+".accepted_lease", strictyaml.Duration(d), "is out of range", "write a duration from 1s to 24h, or 0s for off")
	}
}

func (v *validator) webhookSecrets(at string, w queueagent.Webhook) {
	const remedy = "copy the whole secret, or write one without whsec_"
	if wrong := webhook.SecretProblem(w.Secret); wrong != "" {
		v.add(at+".secret", w.Secret, wrong, remedy)
	}
	for i, secret := range w.Secrets {
		key := v.element(at+".secrets", i)
		if secret == "" {
			v.add(key, "", "is empty", "write the secret, or remove the entry")
		} else if wrong := webhook.SecretProblem(secret); wrong != "" {
			v.add(key, secret, wrong, remedy)
		}
	}
	if n := len(w.Secrets); n > 0 && n+min(len(w.Secret), 1) > webhook.MaxSecrets {
		v.add(at+".secrets", "", fmt.Sprintf("are more than %d secrets, that of secret counted", webhook.MaxSecrets), "keep those that receivers still use")
	}
}

// webhookHeaders shows no values: they may be secrets.
func (v *validator) webhookHeaders(at string, headers map[string]string) {
	if len(headers) > webhook.MaxHeaders {
		v.add(at, "", fmt.Sprintf("are more than %d headers", webhook.MaxHeaders), "keep those that the application reads")
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		key := strictyaml.KeyPath(at, name)
		if wrong := webhook.HeaderProblem(name, headers[name]); wrong != "" {
			v.add(key, "", wrong, "change or remove it")
			continue
		}
		folded := strings.ToLower(name)
		if other, twice := seen[folded]; twice {
			v.add(key, "", fmt.Sprintf("is the same header as %s", other), "remove one of the two")
		}
		seen[folded] = name
	}
}

func (v *validator) task(at string, t queueagent.Task) {
	for _, p := range []struct{ name, path string }{
		{"type", t.Type}, {"body", t.Body}, {"due", t.Due}, {"expires", t.Expires}, {"traceparent", t.Traceparent},
	} {
		if wrong := webhook.PathProblem(p.path); wrong != "" {
			v.add(at+"."+p.name, p.path, wrong, "write names with single dots between them, such as headers.task")
		}
	}
	switch {
	case t.Encoding == "":
	case t.Encoding != "base64":
		v.add(at+".encoding", t.Encoding, "is not an encoding", "write base64, or leave it out")
	case t.Body == "":
		v.add(at+".encoding", t.Encoding, "is set, but task.body is not", "name the field that is encoded as task.body")
	}
}

func (v *validator) retry(at string, r queueagent.Retry) {
	if r.MaxAttempts < 1 {
		v.add(at+".max_attempts", strconv.Itoa(r.MaxAttempts), "is less than 1", "write 1 for no second attempt, or more")
	}
	if r.MaxAbandons < 1 {
		v.add(at+".max_abandons", strconv.Itoa(r.MaxAbandons), "is less than 1", "write how often an agent may die on a task, such as 5")
	}
	v.notNegative(at+".max_age", r.MaxAge)
	for _, m := range r.StatusMistakes() {
		v.add(strictyaml.KeyPath(at+".status", m.Key), r.Status[m.Key], m.Message, m.Remedy)
	}
	v.positive(at+".min", r.Min)
	v.positive(at+".max", r.Max)
	if r.Min > r.Max && r.Max > 0 {
		key, value, message := at+".min", r.Min, "is more than max, which is "+strictyaml.Duration(r.Max)
		if !v.isSet(key) && v.isSet(at+".max") {
			key, value, message = at+".max", r.Max, "is less than min, which is "+strictyaml.Duration(r.Min)
		}
		v.add(key, strictyaml.Duration(value), message, "let min be at most max")
	}
}
