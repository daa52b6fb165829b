package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/internal/demo"
)

func (p *program) demoCommand() *cobra.Command {
	var opts demo.Options
	cmd := plain(&cobra.Command{
		Use:   "demo",
		Short: "Run everything on this machine, with a small application and a Redis of its own",
		Long: "Run pillion in front of a small application, with a Redis of its own: redis-server or\n" +
			"valkey-server from PATH, else one that is built in. Nothing is left behind.",
	})
	cmd.Flags().BoolVar(&opts.Tour, "tour", false, "take the tour: run each step, print what it saw, exit 0 only if every step held")
	cmd.Flags().BoolVar(&opts.Embedded, "embedded-redis", false, "use the built-in Redis even when redis-server is there")
	cmd.Flags().BoolVarP(&opts.Verbose, "verbose", "v", false, "show the log")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts.Out, opts.Err, opts.Version = p.stdout, p.stderr, version
		return p.runDemo(cmd.Context(), opts)
	}
	return cmd
}

func (p *program) runDemo(ctx context.Context, opts demo.Options) error { return demo.Run(ctx, opts) }
