// Package queue measures pillion's queue agent beside other agents that deliver tasks
// from Redis: how many tasks a second they deliver, how soon, and what they cost when
// there is nothing to do.
package queue

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/rig"
	"github.com/pillion-proxy/pillion/bench/sink"
)

// Bench is what the scenarios have in common.
type Bench struct {
	*rig.Rig
	Concurrency int // deliveries in flight
}

// agent delivers tasks. Its methods are called in their order, once for each round.
type agent interface {
	name() string
	// available gives the version, or an error that says what is missing.
	available(ctx context.Context) (version string, err error)
	// enqueue puts n tasks with the ids from 0 into Redis. Tasks are due at the time
	// that due gives, at once for nil.
	enqueue(ctx context.Context, r *proc.Redis, n int, due func(id int) time.Time) error
	// trickle sends a task to one of the queues after the other, about one each interval.
	trickle(ctx context.Context, r *proc.Redis, n int, every time.Duration, queues int) error
	// start runs the agent on queues queues; it delivers to url.
	start(ctx context.Context, r *proc.Redis, url string, o options) (*proc.Process, error)
}

// options say how an agent is run.
type options struct {
	queues int
	delay  bool // the source holds tasks that are due later
}

func (b *Bench) agents(all ...agent) ([]agent, error) {
	var out []agent
	for _, a := range all {
		if !b.Wanted(a.name()) {
			continue
		}
		version, err := a.available(context.Background())
		if err != nil {
			b.Skip(a.name(), err)
			continue
		}
		b.Results.SetVersion(a.name(), version)
		out = append(out, a)
	}
	if len(out) == 0 {
		return nil, errors.New("no peer is left to measure: see --peers, and the lines above")
	}
	return out, nil
}

func (b *Bench) noteRedis(ctx context.Context, r *proc.Redis) {
	if v, err := r.Version(ctx); err == nil {
		b.Results.SetVersion("redis", v)
	}
}

// remoteSink is a sink in a process of its own.
type remoteSink struct {
	*proc.Process
	addr string
}

func (b *Bench) startSink(ctx context.Context, tasks, mark int) (*remoteSink, error) {
	addr, err := proc.FreeAddr()
	if err != nil {
		return nil, err
	}
	p, err := proc.Start(proc.Spec{Name: "the sink", Path: b.Self, Args: []string{
		"sink", "--addr", addr, "--tasks", strconv.Itoa(tasks), "--mark", strconv.Itoa(mark), "--mark", strconv.Itoa(tasks),
	}})
	if err != nil {
		return nil, err
	}
	if err := p.WaitHTTP(ctx, "http://"+addr+"/state"); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return &remoteSink{Process: p, addr: addr}, nil
}

// localSink is a sink in this process, whose clock stamps the tasks that are sent too.
type localSink struct {
	*sink.Sink
	addr   string
	server *fasthttp.Server
	ended  chan error
}

func startLocalSink(tasks int, marks ...int) (*localSink, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &localSink{Sink: sink.New(tasks, marks...), addr: ln.Addr().String(), ended: make(chan error, 1)}
	s.server = &fasthttp.Server{Handler: s.Handle, NoDefaultServerHeader: true, CloseOnShutdown: true}
	go func() { s.ended <- s.server.Serve(ln) }()
	return s, nil
}

func (s *localSink) stop() error { return errors.Join(s.server.Shutdown(), <-s.ended) }
