// Package demo runs everything on one machine: a Redis of its own, a small
// application that counts how often it is called, and pillion in front of it. It
// shows what pillion does, by hand or as a tour that checks itself, and leaves
// nothing behind.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion"
)

// Options say how the demo runs.
type Options struct {
	// Tour takes the tour and ends, instead of waiting for requests.
	Tour bool
	// Embedded uses the built-in Redis even when redis-server is on PATH.
	Embedded bool
	// Verbose writes pillion's log to Err.
	Verbose bool
	// Out gets what the demo shows; Err the log.
	Out, Err io.Writer
	// Version is the version that the metrics show.
	Version string
}

// Run runs the demo until ctx ends, or with Options.Tour until the tour has ended.
// When it returns, its processes, ports, goroutines and temporary folder are gone.
// The error says what could not start, what was not left clean, or how many steps
// of the tour failed; the end of ctx is an error only in the middle of a tour.
func Run(ctx context.Context, opts Options) error {
	r, err := start(ctx, opts)
	if err != nil {
		return err
	}
	if opts.Tour {
		err = r.takeTour(ctx)
	} else {
		err = r.watch(ctx)
	}
	if left := r.close(); left != nil {
		return errors.Join(err, left)
	}
	r.screen.line("Stopped. Nothing is left behind.")
	return err
}

// rig is the running demo.
type rig struct {
	opts   Options
	screen *screen
	redis  redisServer
	app    *app
	side   *pillion.Pillion
	proxy  string // host:port of the proxy
	admin  string // host:port of the admin listener

	cancel  context.CancelFunc // begins pillion's drain
	done    chan struct{}      // closed when pillion has ended
	sideErr error              // to be read after done
}

// start starts the parts in the order in which they need each other.
func start(ctx context.Context, opts Options) (*rig, error) {
	r := &rig{opts: opts, screen: newScreen(opts.Out), done: make(chan struct{})}
	var err error
	if r.redis, err = startRedis(opts.Embedded); err != nil {
		return nil, err
	}
	if r.app, err = startApp(r.redis.addr(), r.event); err != nil {
		return nil, errors.Join(err, r.redis.stop())
	}
	if err = r.startPillion(); err != nil {
		return nil, errors.Join(err, r.app.stop(), r.redis.stop())
	}
	if err = r.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// event shows what happened in the application. The tour shows what it sees itself.
func (r *rig) event(text string) {
	if !r.opts.Tour {
		r.screen.line("%s  %s", time.Now().Format(time.TimeOnly), printable(text))
	}
}

// printable makes a text, parts of which come from requests and tasks, fit for one
// line of a terminal.
func printable(text string) string {
	const most = 200
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '?'
		}
		return c
	}, text)
}

func (r *rig) startPillion() error {
	cfg, err := r.config()
	if err != nil {
		return err
	}
	log := zerolog.Nop()
	if r.opts.Verbose {
		log = r.logger()
	}
	r.side, err = pillion.New(cfg, pillion.WithLogger(log), pillion.WithVersion(r.opts.Version), pillion.WithAgentID("demo"))
	if err != nil {
		return err
	}
	// Not the caller's context: pillion must be the first to stop, and we wait for it.
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.done)
		r.sideErr = r.side.Run(ctx)
	}()
	return nil
}

// stopPillion drains pillion and gives what Run returned. It may be called again.
func (r *rig) stopPillion() error {
	r.cancel()
	<-r.done
	return r.sideErr
}

// close stops the parts in the reverse order.
func (r *rig) close() error {
	r.screen.status("")
	return errors.Join(r.stopPillion(), r.app.stop(), r.redis.stop())
}

// awaitReady waits until pillion is ready and has found Redis.
func (r *rig) awaitReady(ctx context.Context) error {
	client := newClient()
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var last readiness
	err := poll(ctx, func() bool {
		select {
		case <-r.done:
			return true
		default:
		}
		last = readReady(ctx, client, r.admin)
		return last.Ready && last.Redis.Up
	})
	select {
	case <-r.done:
		return fmt.Errorf("pillion ended at once: %w", r.sideErr)
	default:
	}
	if err != nil {
		return fmt.Errorf("pillion did not become ready (ready %t, redis up %t): %w", last.Ready, last.Redis.Up, err)
	}
	return nil
}

// poll calls until it holds, every few milliseconds, or until ctx ends.
func poll(ctx context.Context, until func() bool) error {
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !until() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// freeAddr gives a loopback address that nobody listens on: the wanted port if it
// is free, else one that the system picks.
func freeAddr(want string) (string, error) {
	addr := net.JoinHostPort("127.0.0.1", want)
	// Some systems let a listener on loopback hide one on all addresses.
	if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		_ = c.Close()
	} else if ln, err := net.Listen("tcp", addr); err == nil {
		return addr, ln.Close()
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// newClient makes an HTTP client that shows answers as they are.
func newClient() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 64,
			DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
