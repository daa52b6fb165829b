package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/admin"
)

// deadCommand is the parent of what can be done with dead letters.
func (p *program) deadCommand() *cobra.Command {
	cmd := plain(&cobra.Command{
		Use:   "dead",
		Short: "Show dead letters, deliver them again, or delete them",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	})
	cmd.AddCommand(p.deadListCommand(), p.deadShowCommand(), p.deadReplayCommand(), p.deadDeleteCommand(), p.deadExportCommand())
	return cmd
}

// deadFlags choose dead letters, in the words of the admin API.
type deadFlags map[string]*string

func newDeadFlags(cmd *cobra.Command) deadFlags {
	f := deadFlags{}
	for name, help := range map[string]string{
		"reason":   "only those given up for this reason, such as max_attempts or poison",
		"id":       "only the task of this id",
		"type":     `only tasks of this type`,
		"contains": "only those with this text in their payload or detail",
		"since":    "only those given up since then: RFC 3339, or how long ago, such as 24h",
		"until":    "only those given up until then: likewise",
		"after":    "only those after this entry",
		"before":   "only those before this entry",
	} {
		f[name] = cmd.Flags().String(name, "", help)
	}
	return f
}

// set gives the flags that have a value.
func (f deadFlags) set() map[string]string {
	out := make(map[string]string)
	for name, value := range f {
		if *value != "" {
			out[name] = *value
		}
	}
	return out
}

func query(values map[string]string) string {
	q := url.Values{}
	for name, value := range values {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func (p *program) deadListCommand() *cobra.Command {
	var f adminFlags
	var limit int
	var oldest, asJSON bool
	cmd := &cobra.Command{Use: "list QUEUE", Short: "List dead letters, the newest first", Args: queueArgs("queue dead list", 0, 0, "")}
	p.adminFlags(cmd, &f)
	filter := newDeadFlags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many, 1 to 1000")
	cmd.Flags().BoolVar(&oldest, "oldest", false, "the oldest first")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer of the admin API")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := p.admin(f)
		if err != nil {
			return err
		}
		c.http.Timeout = time.Minute // a filter looks at many
		q := filter.set()
		q["limit"], q["order"] = strconv.Itoa(limit), "newest"
		if oldest {
			q["order"] = "oldest"
		}
		text, err := c.call(cmd.Context(), http.MethodGet, queuePath(args[0], "dead")+query(q), nil)
		if err != nil {
			return err
		}
		if asJSON {
			_, err = p.stdout.Write(text)
			return err
		}
		return p.deadTable(text, oldest)
	}
	return cmd
}

func (p *program) deadTable(text []byte, oldest bool) error {
	var answer struct {
		Dead []admin.DeadLetter
		Next string
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("the answer is not understood: %w", err)
	}
	lines := [][]string{{"ENTRY", "DIED", "REASON", "ATTEMPTS", "TYPE", "ID", "DETAIL"}}
	for _, d := range answer.Dead {
		detail := d.Detail
		if d.Damaged != "" {
			detail = "damaged: " + d.Damaged
		}
		lines = append(lines, []string{
			d.Entry, d.Died.Format(time.RFC3339), printable(d.Reason, 20), strconv.Itoa(d.Attempts),
			printable(d.Type, 30), printable(d.ID, 64), printable(detail, 80),
		})
	}
	if err := p.table(lines); err != nil || answer.Next == "" {
		return err
	}
	flag := "--before"
	if oldest {
		flag = "--after"
	}
	_, err := fmt.Fprintf(p.stderr, "There may be more: %s %s\n", flag, answer.Next)
	return err
}

func (p *program) deadShowCommand() *cobra.Command {
	var f adminFlags
	cmd := &cobra.Command{
		Use: "show QUEUE ENTRY", Short: "Print one dead letter as JSON, with its whole payload",
		Args: queueArgs("queue dead show", 1, 1, " and the entry of a dead letter"),
	}
	p.adminFlags(cmd, &f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.copyAnswer(cmd, f, queuePath(args[0], "dead", args[1]), p.stdout)
	}
	return cmd
}

// copyAnswer writes an answer of any length.
func (p *program) copyAnswer(cmd *cobra.Command, f adminFlags, path string, to io.Writer) error {
	c, err := p.admin(f)
	if err != nil {
		return err
	}
	c.http.Timeout = 0 // it takes as long as it takes; the server ends what does not move
	answer, err := c.open(cmd.Context(), http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(to, answer)
	return err
}

func (p *program) deadExportCommand() *cobra.Command {
	var f adminFlags
	var file string
	cmd := &cobra.Command{
		Use: "export QUEUE", Short: "Write dead letters as lines of JSON, the oldest first",
		Args: queueArgs("queue dead export", 0, 0, ""),
	}
	p.adminFlags(cmd, &f)
	filter := newDeadFlags(cmd)
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to this file, which must not exist (default: standard output)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path := queuePath(args[0], "dead", "export") + query(filter.set())
		if file == "" {
			return p.copyAnswer(cmd, f, path, p.stdout)
		}
		out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // users' data
		if err != nil {
			return err
		}
		return errors.Join(p.copyAnswer(cmd, f, path, out), out.Close())
	}
	return cmd
}

func (p *program) deadReplayCommand() *cobra.Command {
	var f adminFlags
	var all bool
	cmd := &cobra.Command{
		Use: "replay QUEUE (ENTRY … | --all | a filter)", Short: "Deliver dead letters again, with all their attempts",
		Args: queueArgs("queue dead replay", 0, -1, ", then entries, --all or a filter"),
	}
	p.adminFlags(cmd, &f)
	filter := newDeadFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that there are now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneChoice("queue dead replay", args[1:], all, filter); err != nil {
			return err
		}
		body := make(map[string]any)
		for name, value := range filter.set() {
			body[name] = value
		}
		if len(args) > 1 {
			body["entries"] = args[1:]
		}
		if all {
			body["all"] = true
		}
		return p.sweep(cmd, f, "replayed", func(c *adminClient, bounds map[string]string) ([]byte, error) {
			for name, value := range bounds {
				body[name] = value
			}
			return c.call(cmd.Context(), http.MethodPost, queuePath(args[0], "dead", "replay"), body)
		})
	}
	return cmd
}

// oneChoice refuses what would change dead letters that nobody meant.
func oneChoice(command string, entries []string, all bool, filter deadFlags) error {
	n := 0
	for _, given := range []bool{len(entries) > 0, all, len(filter.set()) > 0} {
		if given {
			n++
		}
	}
	if n != 1 {
		return usageError{errors.New(command + ": give entries, --all or a filter, one of the three")}
	}
	return nil
}

func (p *program) deadDeleteCommand() *cobra.Command {
	var f adminFlags
	var all bool
	cmd := &cobra.Command{
		Use: "delete QUEUE (ENTRY … | --all | a filter)", Short: "Delete dead letters for good",
		Args: queueArgs("queue dead delete", 0, -1, ", then entries, --all or a filter"),
	}
	p.adminFlags(cmd, &f)
	filter := newDeadFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all that there are now")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneChoice("queue dead delete", args[1:], all, filter); err != nil {
			return err
		}
		entries := args[1:]
		return p.sweep(cmd, f, "deleted", func(c *adminClient, bounds map[string]string) ([]byte, error) {
			if len(entries) == 0 {
				q := filter.set()
				maps.Copy(q, bounds)
				if all {
					q["all"] = "true"
				}
				return c.call(cmd.Context(), http.MethodDelete, queuePath(args[0], "dead")+query(q), nil)
			}
			text, err := c.call(cmd.Context(), http.MethodDelete, queuePath(args[0], "dead", entries[0]), nil)
			if entries = entries[1:]; err == nil && len(entries) > 0 {
				text = []byte(`{"deleted":1,"done":false}`) // go on with the next
			}
			return text, err
		})
	}
	return cmd
}

// sweep calls until all is done, and prints how many dead letters it was.
func (p *program) sweep(cmd *cobra.Command, f adminFlags, what string, call func(c *adminClient, bounds map[string]string) ([]byte, error)) error {
	c, err := p.admin(f)
	if err != nil {
		return err
	}
	c.http.Timeout = 5 * time.Minute
	bounds, sum := make(map[string]string), 0
	for {
		text, err := call(c, bounds)
		if err != nil {
			if sum > 0 {
				err = fmt.Errorf("after %d were %s: %w", sum, what, err)
			}
			return err
		}
		var answer struct {
			Replayed, Deleted int
			Done              bool
			After, Before     string
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			return fmt.Errorf("the answer is not understood: %w", err)
		}
		sum += answer.Replayed + answer.Deleted
		if answer.Done {
			_, err = fmt.Fprintf(p.stdout, "%d %s\n", sum, what)
			return err
		}
		for name, value := range map[string]string{"after": answer.After, "before": answer.Before} {
			if value != "" {
				bounds[name] = value
			}
		}
	}
}
