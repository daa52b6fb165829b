package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// maxTask bounds what the command reads: no queue takes more.
const maxTask = 256 << 20

// enqueueTimeout is for a large task on a slow link.
const enqueueTimeout = time.Minute

// enqueueFlags are the options of queue enqueue, as the admin API takes them.
type enqueueFlags struct {
	delay, dedupFor time.Duration
	at, dedup       string
}

// queueCommand is the parent of what can be done about queues.
func (p *program) queueCommand() *cobra.Command {
	cmd := plain(&cobra.Command{
		Use:   "queue",
		Short: "Show, pause and check queues, add tasks to them, and decide on dead letters",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	cmd.AddCommand(p.queueEnqueueCommand(), p.queueListCommand(), p.queuePauseCommand("pause", "Stop a queue on every pod, until it is resumed; what is under way ends"),
		p.queuePauseCommand("resume", "Let a paused queue go on"), p.deadCommand(), p.fsckCommand())
	cmd.AddCommand(p.taskCommands()...)
	return cmd
}

func (p *program) queueEnqueueCommand() *cobra.Command {
	var f adminFlags
	var e enqueueFlags
	cmd := &cobra.Command{
		Use:   "enqueue QUEUE [--delay 30s | --at TIME] [--dedup KEY] [FILE|-]",
		Short: "Add a task to a queue: the bytes of a file, or of standard input",
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) < 1 || len(args) > 2 || args[0] == "" {
			return usageError{errors.New("queue enqueue: give the name of a queue, then at most one file")}
		}
		return nil
	}
	p.adminFlags(cmd, &f)
	flags := cmd.Flags()
	flags.DurationVar(&e.delay, "delay", 0, "how long the task is not delivered yet")
	flags.StringVar(&e.at, "at", "", "the time when it is due, RFC 3339 or Unix seconds")
	flags.StringVar(&e.dedup, "dedup", "", "a name for the task: while one of that name was added, another is not")
	flags.DurationVar(&e.dedupFor, "dedup-for", 0, "how long that holds (default 1h)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		task, err := readTask(cmd.InOrStdin(), args[1:])
		if err != nil {
			return fmt.Errorf("queue enqueue: %w", err)
		}
		c, err := p.admin(f)
		if err != nil {
			return err
		}
		c.http.Timeout = enqueueTimeout
		text, err := c.send(cmd.Context(), http.MethodPost, "/queues/"+url.PathEscape(args[0])+"/tasks"+e.query(), bytes.NewReader(task))
		if err == nil {
			_, err = p.stdout.Write(text)
		}
		return err
	}
	return cmd
}

// query gives the flags that are set; what is wrong with them the admin API says.
func (e *enqueueFlags) query() string {
	q := url.Values{}
	for name, d := range map[string]time.Duration{"delay": e.delay, "dedup_for": e.dedupFor} {
		if d != 0 {
			q.Set(name, d.String())
		}
	}
	for name, text := range map[string]string{"at": e.at, "dedup": e.dedup} {
		if text != "" {
			q.Set(name, text)
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// readTask reads the named file; without a name, or with "-", standard input.
func readTask(stdin io.Reader, files []string) ([]byte, error) {
	src := stdin
	if len(files) == 1 && files[0] != "-" {
		f, err := os.Open(files[0])
		if err != nil {
			return nil, err
		}
		defer f.Close()
		src = f
	}
	task, err := io.ReadAll(io.LimitReader(src, maxTask+1))
	switch {
	case err != nil:
		return nil, err
	case len(task) == 0:
		return nil, errors.New("the task is empty: name a file, or write it to standard input")
	case len(task) > maxTask:
		return nil, fmt.Errorf("the task has more than %d MiB, which no queue takes", maxTask>>20)
	}
	return task, nil
}
