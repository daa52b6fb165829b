package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/admin"
)

// queueArgs refuses a command line without a queue, or with more or fewer arguments after it than
// a command takes; most -1: any number.
func queueArgs(command string, least, most int, rest string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		n := len(args) - 1
		if n < least || most >= 0 && n > most || args[0] == "" {
			return usageError{errors.New(command + ": give the name of a queue" + rest)}
		}
		return nil
	}
}

// queuePath gives the path of a call about a queue.
func queuePath(queue string, rest ...string) string {
	path := "/queues/" + url.PathEscape(queue)
	for _, r := range rest {
		path += "/" + url.PathEscape(r)
	}
	return path
}

// table writes lines of columns, the first one above the others.
func (p *program) table(lines [][]string) error {
	w := tabwriter.NewWriter(p.stdout, 0, 8, 2, ' ', 0)
	for _, line := range lines {
		for i, cell := range line {
			if i > 0 {
				_, _ = io.WriteString(w, "\t")
			}
			_, _ = io.WriteString(w, cell)
		}
		_, _ = io.WriteString(w, "\n") // Flush gives the error
	}
	return w.Flush()
}

// printable is the beginning of a text that a user wrote: it must not steer the terminal.
func printable(text string, most int) string {
	q := strconv.Quote(text)
	if q = q[1 : len(q)-1]; len(q) > most {
		q = q[:most] + "…"
	}
	return q
}

func (p *program) queueListCommand() *cobra.Command {
	var f adminFlags
	var asJSON bool
	cmd := plain(&cobra.Command{Use: "list", Short: "List the queues, with what is in them and what holds them up"})
	p.adminFlags(cmd, &f)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the admin API")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := p.admin(f)
		if err != nil {
			return err
		}
		text, err := c.call(cmd.Context(), http.MethodGet, "/queues", nil)
		if err != nil {
			return err
		}
		if asJSON {
			_, err = p.stdout.Write(text)
			return err
		}
		var answer struct{ Queues []admin.Queue }
		if err := json.Unmarshal(text, &answer); err != nil {
			return fmt.Errorf("the answer is not understood: %w", err)
		}
		return p.table(queueTable(answer.Queues, time.Now()))
	}
	return cmd
}

func queueTable(queues []admin.Queue, now time.Time) [][]string {
	lines := [][]string{{"QUEUE", "KIND", "STATE", "READY", "SCHEDULED", "RETRYING", "LEASED", "DEAD", "OLDEST", "LAST ERROR"}}
	for _, q := range queues {
		line := []string{q.Name, q.Config.Kind, queueState(q), "?", "?", "?", "?", "?", "", q.LastError}
		if d := q.Depth; d != nil {
			for i, n := range []int64{d.Scheduled, d.Retrying, d.Leased, d.Dead} {
				line[4+i] = strconv.FormatInt(n, 10)
			}
			if d.Ready != nil {
				line[3] = strconv.FormatInt(*d.Ready, 10)
			}
			if d.OldestDue != nil && d.OldestDue.Before(now) {
				line[8] = now.Sub(*d.OldestDue).Round(time.Second).String()
			}
		}
		lines = append(lines, line)
	}
	return lines
}

func queueState(q admin.Queue) string {
	switch {
	case q.Paused:
		return "paused"
	case q.BreakerOpen:
		return "unreachable"
	case q.Throttled:
		return "throttled"
	case q.Depth == nil:
		return "unknown"
	}
	return "running"
}

func (p *program) queuePauseCommand(action, short string) *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{Use: action + " QUEUE", Short: short, Args: queueArgs("queue "+action, 0, 0, "")}
	p.adminFlags(cmd, &f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.ask(cmd, f, http.MethodPost, queuePath(args[0], action))
	}
	return cmd
}

// taskCommands are what is said of one task.
func (p *program) taskCommands() []*cobra.Command {
	return []*cobra.Command{
		p.taskCommand("ack", "Say that a task is done: it is not delivered again", false, false),
		p.taskCommand("extend", "Let the lease of a task last, from now on, for --after", true, false),
		p.taskCommand("retry", "Call the attempt failed: the task is delivered again, after --after, unless that was the last one", true, false),
		p.taskCommand("release", "Give a task back without consuming an attempt, due after --after", true, false),
		p.taskCommand("dead-letter", "Move a task to the dead letters", false, true),
	}
}

func (p *program) taskCommand(action, short string, takesAfter, takesDetail bool) *cobra.Command {
	var f adminFlags
	var after time.Duration
	var lease string
	var body struct {
		After  string `json:"after,omitempty"`
		Detail string `json:"detail,omitempty"`
	}
	cmd := &cobra.Command{Use: action + " QUEUE ID", Short: short, Args: queueArgs("queue "+action, 1, 1, " and the id of a task")}
	p.adminFlags(cmd, &f)
	cmd.Flags().StringVar(&lease, "lease-token", "", "the Pillion-Lease-Token of its delivery: only if that lease still holds (default: whoever has it)")
	if takesAfter {
		cmd.Flags().DurationVar(&after, "after", 0, "how long from now")
	}
	if takesDetail {
		cmd.Flags().StringVar(&body.Detail, "detail", "", "why, for whoever looks at the dead letters")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := p.admin(f)
		if err != nil {
			return err
		}
		if after != 0 {
			body.After = after.String()
		}
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		var header []string
		if lease != "" {
			header = []string{"Pillion-Lease-Token", lease}
		}
		answer, err := c.open(cmd.Context(), http.MethodPost, queuePath(args[0], "tasks", args[1], action), bytes.NewReader(data), header...)
		if err != nil {
			return err
		}
		defer answer.Close()
		_, err = io.Copy(p.stdout, answer)
		return err
	}
	return cmd
}
