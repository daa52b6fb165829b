package pillion

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pillion-proxy/pillion/admin"
	"github.com/pillion-proxy/pillion/proxy"
)

// Start starts what works beside the requests: session renewal, the queue agent and
// the admin listener. It returns at once; Shutdown ends it. The error says which
// address could not be opened.
func (p *Pillion) Start() error {
	err := p.start()
	p.ready.Store(err == nil)
	return err
}

func (p *Pillion) start() error {
	if p.started.Swap(true) {
		return errors.New("pillion: Start was called before")
	}
	p.background.Go(func() { p.sessions.Run(p.ctx) })
	p.background.Go(func() { p.users.Run(p.ctx) })
	if err := p.startAdmin(); err != nil {
		return err
	}
	if p.queues != nil {
		p.background.Go(p.runQueues)
	}
	return nil
}

func (p *Pillion) startAdmin() error {
	if p.cfg.Admin.Listen == "" || p.cfg.Admin.Listen == Off {
		return nil
	}
	ln, err := listen(p.cfg.Admin.Listen)
	if err != nil {
		return fmt.Errorf("admin.listen: %w", err)
	}
	srv := admin.New(p.cfg.Admin, admin.Deps{Ready: p.readiness, Metrics: p.metrics, Purger: p, Sessions: p, Enqueuer: p.adminEnqueuer(), Queues: p.adminQueues()})
	p.background.Go(func() {
		if err := srv.Serve(ln); err != nil {
			p.log.Error().Err(err).Msg("the admin listener ended")
		}
	})
	// It outlives the drain, so that the drain can be watched.
	p.background.Go(func() {
		<-p.ctx.Done()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	})
	p.log.Info().Stringer("address", ln.Addr()).Msg("admin listener is open")
	return nil
}

// readiness is about this process, not about Redis or the application: were it
// coupled to them, an outage there would take every pod out of service at once,
// also for what can be served without them.
func (p *Pillion) readiness() (bool, map[string]any) {
	ready := p.ready.Load() && !p.draining.Load()
	st := p.redis.State()
	return ready, map[string]any{
		"ready": ready, "draining": p.draining.Load(),
		"redis": map[string]any{"up": st.Up, "tracking": st.Tracking},
	}
}

// Run opens the listeners of the configuration and works until ctx ends; then it
// drains: readiness turns false, listeners close, requests and deliveries in
// flight finish within server.shutdown_timeout, and tunnels within server.tunnel_drain. It returns nil after a clean drain.
func (p *Pillion) Run(ctx context.Context) error {
	if err := p.start(); err != nil {
		return errors.Join(err, p.Shutdown(context.Background()))
	}
	failed := make(chan error, 1)
	if p.cfg.Listen != "" && p.cfg.Listen != Off {
		ln, err := listen(p.cfg.Listen)
		if err != nil {
			return errors.Join(fmt.Errorf("listen: %w", err), p.Shutdown(context.Background()))
		}
		p.log.Info().Stringer("address", ln.Addr()).Str("upstream", p.cfg.Upstream.URL).Msg("proxy is open")
		p.background.Go(func() { failed <- p.Serve(ln) })
	}
	p.ready.Store(true)
	var err error
	select {
	case <-ctx.Done():
		p.log.Info().Msg("stopping: new connections are refused, what is in flight finishes")
	case err = <-failed:
		if err == nil {
			err = errors.New("pillion: the listener ended by itself")
		}
	}
	drain, cancel := context.WithTimeout(context.Background(), p.config().Server.ShutdownTimeout)
	defer cancel()
	return errors.Join(err, p.Shutdown(drain))
}

func (p *Pillion) config() Config {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg
}

// Shutdown drains and releases everything: readiness turns false, listeners close,
// requests and deliveries in flight may finish until ctx ends, then the rest is cut
// off and queue tasks are given back. It waits for every goroutine. Calls after the
// first do nothing.
func (p *Pillion) Shutdown(ctx context.Context) error {
	var err error
	p.closeOnce.Do(func() { err = p.shutdown(ctx) })
	return err
}

func (p *Pillion) shutdown(ctx context.Context) error {
	var errs []error
	p.mu.Lock()
	p.draining.Store(true)
	servers, handlers, listeners := p.servers, p.handlers, p.listeners
	p.mu.Unlock()
	stopped := make(chan error, 1)
	go func() { stopped <- p.stopQueues(ctx) }()
	var tunnels sync.WaitGroup
	for _, h := range handlers {
		tunnels.Go(func() { h.DrainTunnels(ctx) })
	}
	for _, srv := range servers {
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("drain: requests were cut off: %w", err))
		}
	}
	for _, ln := range listeners {
		_ = ln.Close() // one that its server has not begun to accept from is still open
	}
	tunnels.Wait()
	p.closeHandlers(ctx, handlers)
	if p.sessions != nil {
		p.sessions.Close()
	}
	errs = append(errs, <-stopped)
	p.stop()
	p.background.Wait()
	errs = append(errs, p.closeUpstreams())
	if p.redis != nil {
		p.redis.Close()
	}
	p.log.Info().Msg("stopped")
	return errors.Join(errs...)
}

// closeHandlers waits for what handlers do beside requests. What has not ended with ctx
// is cut off from the application.
func (p *Pillion) closeHandlers(ctx context.Context, handlers []*proxy.Handler) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, h := range handlers {
			h.Shutdown(ctx)
		}
	}()
	select {
	case <-done:
	case <-ctx.Done():
		_ = p.closeUpstreams()
		<-done
	}
}

// runQueues drains the queues until stopQueues.
func (p *Pillion) runQueues() {
	// Not with p.ctx: Shutdown ends it with the caller's own bound.
	if err := p.queues.Run(context.Background()); err != nil {
		p.log.Error().Err(err).Msg("the queue agent ended with tasks in hand")
	}
}

func (p *Pillion) stopQueues(ctx context.Context) error {
	if p.queues == nil {
		return nil
	}
	if err := p.queues.Shutdown(ctx); err != nil {
		return fmt.Errorf("queue agent: deliveries were cut off, and their tasks are delivered again: %w", err)
	}
	return nil
}
