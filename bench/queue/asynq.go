package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/sink"
)

// asynqAgent is asynq with a handler that posts each task to the sink.
type asynqAgent struct {
	b *Bench
	// tuned looks for tasks more often than asynq does by itself; its documentation
	// warns that this loads Redis.
	tuned bool
}

// tunedInterval is that of both polls of the tuned agent.
const tunedInterval = 50 * time.Millisecond

func (a *asynqAgent) name() string {
	if a.tuned {
		return "asynq-" + tunedInterval.String()
	}
	return "asynq"
}

func (a *asynqAgent) available(context.Context) (string, error) {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/hibiken/asynq" {
			return dep.Version, nil
		}
	}
	return "unknown", nil
}

func asynqQueue(i int) string { return fmt.Sprintf("q%d", i) }

func (a *asynqAgent) enqueue(ctx context.Context, r *proc.Redis, n int, due func(int) time.Time) error {
	const producers = 32
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: r.Addr, PoolSize: producers})
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, producers)
	for i := range producers {
		all.Go(func() {
			for id := int(next.Add(1)) - 1; id < n && errs[i] == nil; id = int(next.Add(1)) - 1 {
				opts := []asynq.Option{asynq.Queue(asynqQueue(0))}
				at := int64(0)
				if due != nil {
					opts = append(opts, asynq.ProcessAt(due(id)))
					at = due(id).UnixMicro()
				}
				_, errs[i] = client.EnqueueContext(ctx, asynq.NewTask("t", sink.Payload(id, at)), opts...)
			}
		})
	}
	all.Wait()
	return errors.Join(append(errs, client.Close())...)
}

func (a *asynqAgent) trickle(ctx context.Context, r *proc.Redis, n int, every time.Duration, queues int) error {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: r.Addr})
	defer client.Close()
	return trickle(ctx, n, every, func(id int) error {
		_, err := client.EnqueueContext(ctx, asynq.NewTask("t", sink.Payload(id, time.Now().UnixMicro())), asynq.Queue(asynqQueue(id%queues)))
		return err
	})
}

func (a *asynqAgent) start(ctx context.Context, r *proc.Redis, url string, o options) (*proc.Process, error) {
	args := []string{"asynq", "--redis", r.Addr, "--url", url, "--queues", strconv.Itoa(o.queues), "--concurrency", strconv.Itoa(a.b.Concurrency)}
	if a.tuned {
		args = append(args, "--interval", tunedInterval.String())
	}
	return proc.Start(proc.Spec{Name: a.name(), Path: a.b.Self, Args: args})
}

// AsynqWorker is the process of that agent.
type AsynqWorker struct {
	Redis       string // host:port
	URL         string
	Queues      int
	Concurrency int
	Interval    time.Duration // of both polls; 0 leaves asynq's own
}

// Run works until SIGTERM.
func (w AsynqWorker) Run() error {
	queues := make(map[string]int)
	for i := range w.Queues {
		queues[asynqQueue(i)] = 1
	}
	srv := asynq.NewServer(
		// The pool of connections must not be what is waited for.
		asynq.RedisClientOpt{Addr: w.Redis, PoolSize: w.Concurrency + 16},
		asynq.Config{
			Concurrency: w.Concurrency, Queues: queues, LogLevel: asynq.ErrorLevel,
			TaskCheckInterval: w.Interval, DelayedTaskCheckInterval: w.Interval,
		})
	if err := srv.Start(newPoster(w.URL, w.Concurrency)); err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, os.Interrupt)
	<-term
	srv.Shutdown()
	return nil
}

// poster is asynq's handler: the cheapest keep-alive client that there is for Go.
type poster struct {
	client *fasthttp.HostClient
	url    string
}

func newPoster(url string, connections int) *poster {
	var u fasthttp.URI
	_ = u.Parse(nil, []byte(url))
	return &poster{url: url, client: &fasthttp.HostClient{
		Addr: string(u.Host()), MaxConns: connections, NoDefaultUserAgentHeader: true, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
	}}
}

// ProcessTask posts the task's payload.
func (p *poster) ProcessTask(_ context.Context, t *asynq.Task) error {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(p.url)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.Header.SetContentType("application/json")
	req.SetBodyRaw(t.Payload())
	if err := p.client.Do(req, resp); err != nil {
		return err
	}
	if code := resp.StatusCode(); code != fasthttp.StatusOK {
		return fmt.Errorf("status %d", code)
	}
	return nil
}
