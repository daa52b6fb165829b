package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion"
)

func (p *program) checkCommand() *cobra.Command {
	var file string
	var show bool
	cmd := plain(&cobra.Command{
		Use:   "check",
		Short: "Check a configuration and list every mistake in it; exit 0 when there is none",
	})
	p.configFlag(cmd, &file)
	cmd.Flags().BoolVar(&show, "print", false, "print the configuration in effect, secrets left out")
	cmd.RunE = func(*cobra.Command, []string) error { return p.check(file, show) }
	return cmd
}

func (p *program) check(file string, show bool) error {
	cfg, name, err := p.load(file)
	var mistakes *pillion.ConfigError
	if errors.As(err, &mistakes) {
		for _, m := range mistakes.Mistakes {
			fmt.Fprintln(p.stderr, m.String())
		}
		return exitError{1}
	}
	if err != nil {
		return err
	}
	if show {
		text, err := cfg.Redacted().YAML()
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(text)
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: ok, %d rules, %d queues\n", name, len(cfg.Rules), len(cfg.Queues))
	return err
}

func (p *program) versionCommand() *cobra.Command {
	cmd := plain(&cobra.Command{Use: "version", Short: "Print the version"})
	cmd.RunE = func(*cobra.Command, []string) error {
		_, err := fmt.Fprintln(p.stdout, "pillion", version)
		return err
	}
	return cmd
}
