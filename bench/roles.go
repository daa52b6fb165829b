package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/cobra"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/bench/origin"
	"github.com/pillion-proxy/pillion/bench/queue"
	"github.com/pillion-proxy/pillion/bench/sink"
	"github.com/pillion-proxy/pillion/bench/web"
)

// roles are the processes that this program starts of itself.
func roles() []*cobra.Command {
	all := []*cobra.Command{sinkRole(), asynqRole(), originRole(), stormRole()}
	for _, cmd := range all {
		cmd.Hidden = true
		cmd.Args = cobra.NoArgs
	}
	return all
}

func sinkRole() *cobra.Command {
	var addr string
	var tasks int
	var marks []int
	cmd := &cobra.Command{Use: "sink", Short: "The application that tasks are delivered to"}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "where to listen")
	cmd.Flags().IntVar(&tasks, "tasks", 1, "how many tasks there are")
	cmd.Flags().IntSliceVar(&marks, "mark", nil, "numbers of tasks at which to read the clock")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if tasks < 1 || tasks > sink.MostTasks {
			return fmt.Errorf("--tasks %d: set 1 to %d", tasks, sink.MostTasks)
		}
		return serve(cmd.Context(), addr, sink.New(tasks, marks...).Handle)
	}
	return cmd
}

// serve answers requests until the context ends.
func serve(ctx context.Context, addr string, h fasthttp.RequestHandler) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &fasthttp.Server{Handler: h, NoDefaultServerHeader: true, CloseOnShutdown: true}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return errors.Join(srv.Shutdown(), <-ended)
	}
}

func originRole() *cobra.Command {
	var addr string
	var keys int
	var sizes []int
	var lean bool
	cmd := &cobra.Command{Use: "origin", Short: "The application of the HTTP scenarios, and the bare fasthttp server"}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:0", "where to listen")
	cmd.Flags().IntVar(&keys, "keys", 1, "objects to prepare")
	cmd.Flags().IntSliceVar(&sizes, "size", nil, "their sizes")
	cmd.Flags().BoolVar(&lean, "lean", false, "one thread that has objects of one size, which must not be stored")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if lean && len(sizes) == 1 {
			l, err := origin.NewLean(keys, sizes[0])
			if err != nil {
				return err
			}
			return l.Serve(cmd.Context(), addr)
		}
		return serve(cmd.Context(), addr, origin.New(keys, sizes).Handle)
	}
	return cmd
}

func stormRole() *cobra.Command {
	var s web.Storm
	cmd := &cobra.Command{Use: "storm", Short: "Purges, or ends sessions, at a steady rate"}
	cmd.Flags().StringVar(&s.Redis, "redis", "", "host:port")
	cmd.Flags().StringVar(&s.Kind, "kind", "", "purge or revocation")
	cmd.Flags().IntVar(&s.Rate, "rate", 1000, "changes a second")
	cmd.Flags().IntVar(&s.Sessions, "sessions", 1, "how many sessions there are")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return s.Run(cmd.Context()) }
	return cmd
}

func asynqRole() *cobra.Command {
	var w queue.AsynqWorker
	cmd := &cobra.Command{Use: "asynq", Short: "A worker of asynq that posts its tasks"}
	cmd.Flags().StringVar(&w.Redis, "redis", "", "host:port")
	cmd.Flags().StringVar(&w.URL, "url", "", "where to post tasks")
	cmd.Flags().IntVar(&w.Queues, "queues", 1, "number of queues")
	cmd.Flags().IntVar(&w.Concurrency, "concurrency", 64, "tasks in flight")
	cmd.Flags().DurationVar(&w.Interval, "interval", time.Duration(0), "of its polls; 0 is its default")
	cmd.RunE = func(*cobra.Command, []string) error { return w.Run() }
	return cmd
}
