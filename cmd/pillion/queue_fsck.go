package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/redisconn"
)

// fsckConnect is how long fsck waits for Redis.
const fsckConnect = 10 * time.Second

func (p *program) fsckCommand() *cobra.Command {
	var file string
	var repair, asJSON bool
	cmd := plain(&cobra.Command{
		Use:   "fsck [--repair]",
		Short: "Prove that no task of the queues is lost, stuck or held twice; exit 1 when one is",
		Long: "Prove that no task of the queues is lost, stuck or held twice. It reads the configuration and asks Redis:\n" +
			"pillion may run meanwhile, or not. Exit 0 when all is well or was repaired, 1 when not, 2 when it is not known.",
	})
	p.configFlag(cmd, &file)
	cmd.Flags().BoolVar(&repair, "repair", false, "put right what needs no decision; nothing is deleted but leases and retries without a task")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the reports as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := p.loadOrDefault(file)
		if err != nil {
			return usageError{fmt.Errorf("queue fsck: the configuration has mistakes:\n%w", err)}
		}
		reports, err := fsck(cmd.Context(), cfg, repair)
		if err == nil && asJSON {
			err = json.NewEncoder(p.stdout).Encode(map[string]any{"reports": reports})
		} else if err == nil {
			err = p.printReports(reports)
		}
		if err != nil {
			fmt.Fprintln(p.stderr, "pillion: queue fsck:", err)
			return exitError{2}
		}
		if broken(reports) {
			return exitError{1}
		}
		return nil
	}
	return cmd
}

// fsck connects and checks every queue.
func fsck(ctx context.Context, cfg pillion.Config, repair bool) ([]tasks.Report, error) {
	conn, err := redisconn.Open(cfg.Redis, 1<<20, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	tick, end := time.NewTicker(20*time.Millisecond), time.NewTimer(fsckConnect)
	defer tick.Stop()
	defer end.Stop()
	for !conn.Up() || conn.Client() == nil {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-end.C:
			return nil, fmt.Errorf("redis does not answer within %s: check redis.url", fsckConnect)
		case <-tick.C:
		}
	}
	return queueagent.Fsck(ctx, cfg.Queues, conn, cfg.Redis.Prefix, repair)
}

// broken says whether an invariant does not hold, and was not repaired.
func broken(reports []tasks.Report) bool {
	for i := range reports {
		if reports[i].Broken() {
			return true
		}
	}
	return false
}

func (p *program) printReports(reports []tasks.Report) error {
	lines := [][]string{{"QUEUE", "RECORDS", "LEASES", "RETRIES", "DEAD", "FOUND"}}
	found := [][]string{{"LEVEL", "FAULT", "QUEUE", "WHAT", "DETAIL"}}
	shown, all := 0, 0
	for i := range reports {
		r := &reports[i]
		if r.Queue != "" {
			lines = append(lines, []string{r.Queue, strconv.Itoa(r.Records), strconv.Itoa(r.Leases), strconv.Itoa(r.Retries), strconv.Itoa(r.Dead), r.Summary()})
		}
		for _, n := range r.Counts {
			all += n
		}
		for _, f := range r.Findings {
			shown++
			level := string(f.Level)
			if f.Repaired {
				level = "repaired"
			}
			queue := f.Queue
			if queue == "" {
				queue = "-"
			}
			found = append(found, []string{level, string(f.Fault), queue, printable(f.What, 100), printable(f.Detail, 200)})
		}
	}
	if err := p.table(lines); err != nil {
		return err
	}
	if shown == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(p.stdout); err != nil {
		return err
	}
	if err := p.table(found); err != nil || shown == all {
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "and %d more\n", all-shown)
	return err
}
