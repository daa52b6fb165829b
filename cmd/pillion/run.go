package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion"
)

// defaultConfig is what is read without --config.
const defaultConfig = "config.yaml"

func (p *program) configFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "config", "c", "", "configuration file (default: $PILLION_CONFIG, else config.yaml)")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
}

// load reads the configuration. The variables that only this command knows are
// allowed beside those of the configuration.
func (p *program) load(file string) (pillion.Config, string, error) {
	if file == "" {
		file = p.getenv("PILLION_CONFIG")
	}
	if file == "" {
		file = defaultConfig
	}
	cfg, err := pillion.Load(pillion.LoadOptions{
		File: file, Env: p.env, AllowEnv: ownVariables(),
	})
	return cfg, file, err
}

// ownVariables are the variables that this command reads itself.
func ownVariables() []string { return []string{"PILLION_CONFIG", "PILLION_AGENT_ID"} }

func (p *program) runCommand() *cobra.Command {
	var file string
	cmd := plain(&cobra.Command{
		Use:   "run",
		Short: "Run the sidecar until SIGTERM or Ctrl-C; SIGHUP reloads the configuration",
	})
	p.configFlag(cmd, &file)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return p.run(cmd.Context(), file) }
	return cmd
}

func (p *program) run(ctx context.Context, file string) error {
	cfg, name, err := p.load(file)
	if err != nil {
		return fmt.Errorf("the configuration has mistakes:\n%w", err)
	}
	log := p.logger(cfg.Log.Level)
	side, err := pillion.New(cfg, pillion.WithLogger(log), pillion.WithVersion(version), pillion.WithAgentID(p.getenv("PILLION_AGENT_ID")))
	if err != nil {
		return err
	}
	abs, _ := filepath.Abs(name)
	log.Info().Str("version", version).Str("config", abs).Int("rules", len(cfg.Rules)).Int("queues", len(cfg.Queues)).Msg("pillion starts")
	background, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	helpers.Go(func() { p.reloadOnSignal(background, side, file, log) })
	helpers.Go(func() { p.keepMemory(background, int64(cfg.Cache.Memory)) })
	err = profiled(func() error { return side.Run(ctx) })
	cancel()
	helpers.Wait()
	return err
}

// reloadOnSignal reads the file again on each SIGHUP. A bad file changes nothing.
func (p *program) reloadOnSignal(ctx context.Context, side *pillion.Pillion, file string, log zerolog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		_ = side.ReloadFrom(func() (pillion.Config, error) { // it logs
			cfg, _, err := p.load(file)
			return cfg, err
		})
	}
}

// logger writes JSON lines to standard error, or lines for a person when that is a
// terminal.
func (p *program) logger(level string) zerolog.Logger {
	lvl, err := zerolog.ParseLevel(level)
	if err != nil {
		lvl = zerolog.InfoLevel
	}
	out := p.stderr
	if f, ok := out.(*os.File); ok && isTerminal(f) {
		out = zerolog.ConsoleWriter{Out: f, TimeFormat: time.TimeOnly}
	}
	return zerolog.New(out).Level(lvl).With().Timestamp().Logger()
}

func isTerminal(f *os.File) bool {
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
