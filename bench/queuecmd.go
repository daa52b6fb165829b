package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion/bench/queue"
	"github.com/pillion-proxy/pillion/bench/rig"
)

// queueFlags are those of the queue scenarios.
type queueFlags struct {
	concurrency int
	tasks       map[string]int
	idle        queue.IdleOptions
	queues      []int
	delay       queue.DelayOptions
}

func (s *suite) queueCommands() []*cobra.Command {
	var f queueFlags
	drain := &cobra.Command{
		Use: queue.DrainName, Short: "How fast agents deliver a full queue", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.queues(cmd, &f, func(b *queue.Bench) error { return b.Drain(cmd.Context(), f.tasks) })
		},
	}
	drain.Flags().StringToIntVar(&f.tasks, "tasks", map[string]int{"pillion": 300000, "asynq": 60000, "bullmq": 100000},
		"tasks of a round for each peer; a round should take 5 to 10 seconds")
	idle := &cobra.Command{
		Use: queue.IdleName, Short: "How soon agents deliver a single task, and what they do meanwhile", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.queues(cmd, &f, func(b *queue.Bench) error { return runIdle(cmd, b, &f) })
		},
	}
	idle.Flags().IntVar(&f.idle.Tasks, "tasks", 1000, "tasks of a round")
	idle.Flags().DurationVar(&f.idle.Every, "every", 20*time.Millisecond, "interval between them")
	idle.Flags().DurationVar(&f.idle.Idle, "idle", 10*time.Second, "how long to watch an agent with nothing to do")
	idle.Flags().IntSliceVar(&f.queues, "queues", []int{1, 100}, "numbers of queues")
	delay := &cobra.Command{
		Use: queue.DelayName, Short: "How late agents deliver tasks that become due", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.queues(cmd, &f, func(b *queue.Bench) error { return b.Delay(cmd.Context(), f.delay) })
		},
	}
	delay.Flags().IntVar(&f.delay.Rate, "rate", 1000, "tasks that become due in a second")
	delay.Flags().DurationVar(&f.delay.For, "for", 10*time.Second, "from the first due time to the last")
	delay.Flags().DurationVar(&f.delay.Ahead, "ahead", 6*time.Second, "from enqueuing until the first is due")
	all := []*cobra.Command{drain, idle, delay}
	for _, cmd := range all {
		cmd.Flags().IntVar(&f.concurrency, "concurrency", 64, "deliveries in flight")
	}
	return all
}

func runIdle(cmd *cobra.Command, b *queue.Bench, f *queueFlags) error {
	for _, n := range f.queues {
		o := f.idle
		o.Queues = n
		if err := b.Idle(cmd.Context(), o); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) queues(cmd *cobra.Command, f *queueFlags, do func(*queue.Bench) error) error {
	return s.measure(cmd.Context(), cmd.OutOrStdout(), func(r *rig.Rig) error {
		return do(&queue.Bench{Rig: r, Concurrency: f.concurrency})
	})
}
