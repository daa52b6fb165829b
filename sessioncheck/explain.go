package sessioncheck

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

// Outcome is how one step of an explanation went.
type Outcome string

// A note says something that refuses nobody. Unknown means that Redis gave no answer.
const (
	StepOK      Outcome = "ok"
	StepFailed  Outcome = "failed"
	StepUnknown Outcome = "unknown"
	StepNote    Outcome = "note"
)

// Step is one step of an explanation: what was looked at, how it went and, if it did
// not go well, the remedy. It never holds a secret, an id or a value.
type Step struct {
	Outcome      Outcome
	Text, Remedy string
}

// Getter reads a key from Redis. *redisconn.Conn is one.
type Getter interface {
	Get(ctx context.Context, key string, mode redisconn.Mode) (*redisconn.Value, error)
}

// ExplainValue says step by step whether what a client sends (the value of a cookie or
// header, or a bearer token) gives the id of a session. id is empty when it does not.
func ExplainValue(cfg *Config, value string) (steps []Step, id string) {
	var list []formats.Step
	best := -1 // the step at which the most promising of the sources fails
	for _, s := range cfg.Sources {
		v, err := formats.Lookup(cfg.Format).Verifier(cfg.Secrets, s.Cookie)
		if err != nil {
			continue // Check has found it
		}
		out, fault := v.AppendID(nil, []byte(value))
		if fault == 0 {
			best, id = 0, string(out)
		}
		if id == "" && fault > best || fault == 0 {
			list, best = v.Steps(), fault
		}
		if id != "" {
			break
		}
	}
	for i, step := range list {
		if best == i+1 {
			return append(steps, Step{StepFailed, step.Name, step.Remedy}), ""
		}
		steps = append(steps, Step{Outcome: StepOK, Text: step.Name})
	}
	return steps, id
}

// ExplainSession says step by step whether Redis has a session of that id that counts.
func ExplainSession(ctx context.Context, cfg *Config, store Getter, id string, now time.Time) []Step {
	sc := newSchema(cfg, nil)
	key := sc.prefix + id + sc.suffix
	v, err := store.Get(ctx, key, sc.mode())
	if err != nil {
		remedy := "see that Redis runs and that redis.url and its password are right"
		if strings.Contains(err.Error(), "WRONGTYPE") {
			remedy = "the key holds another type: session.format must be " + map[bool]string{true: "another than spring, which stores hashes", false: "spring for a hash"}[sc.format.Hash]
		}
		return []Step{{StepUnknown, "Redis answers with " + sc.format.Stored, remedy}}
	}
	pattern := sc.prefix + "<id>" + sc.suffix
	if !v.Exists() {
		return []Step{{StepFailed, "Redis has the key " + pattern, "the session has ended, or session.key or the database of redis.url is not the application's"}}
	}
	steps := []Step{{Outcome: StepOK, Text: "Redis has the key " + pattern}}
	s, _ := sc.decode(v.Key(), v.String(), v.ExpireAt())
	stored := "what is stored is " + sc.format.Stored
	if s.malformed {
		return append(steps, Step{StepFailed, stored, "choose the session.format that the application writes, or presence"})
	}
	steps = append(steps, Step{Outcome: StepOK, Text: stored})
	if sc.format.IdleUntil != nil {
		text := "it was used within its maxInactiveInterval"
		if s.idleUntil != 0 && now.UnixMilli() >= s.idleUntil {
			return append(steps, Step{StepFailed, text, "the session has ended: log in again"})
		}
		steps = append(steps, Step{Outcome: StepOK, Text: text})
	}
	return append(steps, explainLogin(cfg, s)...)
}

func explainLogin(cfg *Config, s *Session) (steps []Step) {
	if len(cfg.Login) > 0 {
		text := "somebody is logged in: one of " + strings.Join(cfg.Login, ", ") + " has a value"
		if s.guest {
			return []Step{{StepFailed, text, "it is a guest's session: log in, or name in session.login the field that the application sets at a login"}}
		}
		steps = append(steps, Step{Outcome: StepOK, Text: text})
	}
	if cfg.User != "" && s.User() == "" {
		steps = append(steps, Step{StepNote, fmt.Sprintf("the field %s has no value: the session is a user of its own in the cache", cfg.User),
			"name in session.user, and in session.identity, the field that identifies the user"})
	}
	return steps
}
