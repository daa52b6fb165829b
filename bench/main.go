// Command bench is pillion's load suite: it measures pillion beside other programs
// that do the same. `make bench` in the root of the project runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "bench",
		Short:         "Measure pillion beside other programs that do the same",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	s := new(suite)
	s.flags(cmd)
	cmd.AddCommand(s.queueCommands()...)
	cmd.AddCommand(s.httpCommand(), s.allCommand(), s.reportCommand(), targetCommand())
	cmd.AddCommand(roles()...)
	return cmd
}
