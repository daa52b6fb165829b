package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck"
	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

// askRedis bounds the commands of verify: a person waits, no request does.
const askRedis = 2 * time.Second

// verifyFlags are the flags of session verify.
type verifyFlags struct {
	config, format, redis, cookie, id string
	secrets                           []string
}

func (p *program) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := plain(&cobra.Command{
		Use:   "verify (--config FILE | --format FORMAT [--secret SECRET …] [--redis URL]) (--cookie VALUE | --id ID)",
		Short: "Explain step by step why a session's cookie is accepted or not",
		Long: "Explain step by step why a session's cookie is accepted or not. A line for each step says ok, failed or\n" +
			"unknown, and what to do; secrets and ids are never printed. Exit 0 when the session is accepted, 1 when it is\n" +
			"refused, 2 when the command line is wrong or Redis gives no answer.\n\n" +
			"What comes from --format, without --redis, is checked up to the id, without Redis.",
	})
	flags := cmd.Flags()
	p.configFlag(cmd, &f.config)
	flags.StringVar(&f.format, "format", "", "session format, with its defaults: "+strings.Join(formats.Names(), ", "))
	flags.StringArrayVar(&f.secrets, "secret", nil, "a secret of the application, in place of session.secrets; may be given several times")
	flags.StringVar(&f.redis, "redis", "", "URL of the Redis with the sessions, in place of redis.url")
	flags.StringVar(&f.cookie, "cookie", "", "what the client sends: the cookie's value, also of a header or a bearer token")
	flags.StringVar(&f.id, "id", "", "the id itself, as it is in the Redis key, in place of a cookie")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if flags.Changed("cookie") == flags.Changed("id") {
			return usageError{errors.New("session verify: give either --cookie or --id")}
		}
		if f.config != "" && f.format != "" {
			return usageError{errors.New("session verify: give either --config or --format")}
		}
		return p.verify(cmd.Context(), f)
	}
	return cmd
}

func (p *program) verify(ctx context.Context, f verifyFlags) error {
	cfg, err := p.verifyConfig(f)
	if err != nil {
		return usageError{fmt.Errorf("session verify: %w", err)}
	}
	id := f.id
	var steps []sessioncheck.Step
	if f.id == "" {
		steps, id = sessioncheck.ExplainValue(&cfg.Session, f.cookie)
	}
	switch {
	case id == "":
	case f.format != "" && f.redis == "":
		steps = append(steps, sessioncheck.Step{
			Outcome: sessioncheck.StepNote, Text: "the session itself was not looked at", Remedy: "give --redis URL",
		})
	default:
		found, err := p.askForSession(ctx, cfg, id)
		if err != nil {
			return usageError{fmt.Errorf("session verify: %w", err)}
		}
		steps = append(steps, found...)
	}
	return p.printSteps(steps)
}

// verifyConfig gives the settings in effect, checked as run checks them.
func (p *program) verifyConfig(f verifyFlags) (cfg pillion.Config, err error) {
	if f.format == "" {
		cfg, _, err = p.load(f.config)
	} else {
		cfg = pillion.Default()
		cfg.Session = sessioncheck.DefaultFor(f.format)
		cfg.Session.Format = f.format
	}
	if err != nil {
		return cfg, fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	if len(f.secrets) > 0 {
		cfg.Session.Secrets = f.secrets
	}
	if f.redis != "" {
		cfg.Redis = redisconn.Default()
		cfg.Redis.URL = f.redis
	}
	return cfg, cfg.Validate()
}

func (p *program) askForSession(ctx context.Context, cfg pillion.Config, id string) ([]sessioncheck.Step, error) {
	cfg.Redis.Timeout = askRedis
	conn, err := redisconn.Open(cfg.Redis, 1<<20, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return sessioncheck.ExplainSession(ctx, &cfg.Session, conn, id, time.Now()), nil
}

// printSteps gives the exit code by the worst of the steps.
func (p *program) printSteps(steps []sessioncheck.Step) error {
	has := func(o sessioncheck.Outcome) bool {
		return slices.ContainsFunc(steps, func(s sessioncheck.Step) bool { return s.Outcome == o })
	}
	for _, s := range steps {
		line := fmt.Sprintf("%-8s%s", s.Outcome, s.Text)
		if s.Remedy != "" {
			line += ": " + s.Remedy
		}
		if _, err := fmt.Fprintln(p.stdout, line); err != nil {
			return err
		}
	}
	switch {
	case has(sessioncheck.StepUnknown):
		return exitError{2}
	case has(sessioncheck.StepFailed) || len(steps) == 0:
		return exitError{1}
	}
	return nil
}
