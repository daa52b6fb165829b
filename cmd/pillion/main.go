// Command pillion runs the sidecar, checks its configuration and shows what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// program is what the subcommands share. Tests make one with streams of their own.
type program struct {
	env            []string
	stdout, stderr io.Writer
}

// exitError carries an exit code other than 1. Its text was written already.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// execute runs one command line and gives its exit code: 0 when it did what it was
// asked, 1 when it could not, 2 when the command line is wrong.
func execute(ctx context.Context, args, env []string, stdout, stderr io.Writer) int {
	p := &program{env: env, stdout: stdout, stderr: stderr}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var exit exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.code
	}
	fmt.Fprintln(stderr, "pillion:", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(stderr, "Run 'pillion --help' for usage.")
		return 2
	}
	return 1
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "pillion",
		Short:         "A sidecar that caches, checks sessions and drains queues on one Redis",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
		Args:          func(_ *cobra.Command, args []string) error { return noArgs(args) },
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(p.runCommand(), p.checkCommand(), p.versionCommand(), p.healthCommand(), p.purgeCommand(), p.sessionCommand(), p.usersCommand(), p.queueCommand(), p.demoCommand())
	return root
}

// plain refuses arguments that a command does not take.
func plain(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(_ *cobra.Command, args []string) error { return noArgs(args) }
	return cmd
}

func noArgs(args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command or argument %q", args[0])}
	}
	return nil
}

// getenv looks a variable up in the environment that the program was started with.
func (p *program) getenv(name string) string {
	for i := len(p.env) - 1; i >= 0; i-- {
		if rest, ok := cutVariable(p.env[i], name); ok {
			return rest
		}
	}
	return ""
}

func cutVariable(kv, name string) (string, bool) {
	if len(kv) > len(name) && kv[:len(name)] == name && kv[len(name)] == '=' {
		return kv[len(name)+1:], true
	}
	return "", false
}
