// Package web measures pillion beside other caching proxies, and beside a bare server.
//
// Each server has a core of its own. The client, the application and Redis are on
// another one. What counts is the processor time of the server's processes for each
// request, and, where the client and the application leave their core some rest, the
// throughput.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/pillion-proxy/pillion/bench/load"
	"github.com/pillion-proxy/pillion/bench/proc"
	"github.com/pillion-proxy/pillion/bench/result"
	"github.com/pillion-proxy/pillion/bench/rig"
)

// Bench is what the scenarios have in common.
type Bench struct {
	*rig.Rig
	Warm, For   time.Duration // of each round
	Connections int
}

// dependency gives the version of a module of this program.
func dependency(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == path })
	if i < 0 {
		return "unknown"
	}
	return info.Deps[i].Version
}

// Run measures the named scenarios; none is all.
func (b *Bench) Run(ctx context.Context, names []string) error {
	all := Scenarios()
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s Scenario) bool { return s.Name == name }) {
			return fmt.Errorf("--scenario %s is not known: `bench http --list` lists them", name)
		}
	}
	raiseOpenFiles()
	var errs []error
	for _, s := range all {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		if err := b.scenario(ctx, s); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// scenario measures all peers in turns, and prints a table. A peer that fails is left
// out of it, and the others go on.
func (b *Bench) scenario(ctx context.Context, s Scenario) error {
	servers := b.servers(ctx, s)
	var errs []error
	for round := range b.Rounds {
		servers = slices.DeleteFunc(servers, func(srv server) bool {
			err := b.round(ctx, s, srv, round)
			if err != nil {
				b.Printf("%v\n", err)
				b.Results.Drop(s.Name, srv.name())
				errs = append(errs, err)
			}
			return err != nil
		})
	}
	if len(servers) > 0 {
		errs = append(errs, b.Results.Print(b.Out, s.Name))
	}
	return errors.Join(errs...)
}

// round measures one peer once.
func (b *Bench) round(ctx context.Context, s Scenario, srv server, round int) error {
	var m measured
	err := b.Quiet(s.Name, srv.name(), func() (float64, error) {
		var err error
		m, err = s.measure(ctx, b, s, srv)
		return m.foreign, err
	})
	if err != nil {
		return err
	}
	b.Printf("%s round %d: %-15s %s, others took %.2f of a core\n", s.Name, round+1, srv.name(), m, m.foreign)
	for _, v := range m.values {
		b.Results.Add(result.Key{Scenario: s.Name, Peer: srv.name(), Metric: v.metric, Unit: v.unit}, v.value)
	}
	return nil
}

func (b *Bench) servers(ctx context.Context, s Scenario) []server {
	var out []server
	for _, srv := range []server{&pillion{b: b}, &bare{b: b}, &floor{b: b}, &nginx{}, &haproxy{}, &varnish{}, &caddy{}, &nginx{lua: true}} {
		if !slices.Contains(s.peers, srv.name()) || !b.Wanted(srv.name()) {
			continue
		}
		version, err := srv.available(ctx)
		if err != nil {
			b.Skip(srv.name(), err)
			continue
		}
		if most := maxConnections(openFiles()); srv.name() == "haproxy" && s.conns > most {
			b.Skip(s.Name+" of "+srv.name(), fmt.Errorf("with %d open files it takes %d connections: raise ulimit -n", openFiles(), most))
			continue
		}
		b.Results.SetVersion(srv.name(), version)
		out = append(out, srv)
	}
	return out
}

// measured is the outcome of a round.
type measured struct {
	values  []value
	foreign float64
}

type value struct {
	metric, unit string
	value        float64
}

func (m *measured) add(metric, unit string, v float64) {
	m.values = append(m.values, value{metric, unit, v})
}

func (m measured) String() string {
	var s string
	for i, v := range m.values {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%s %s %s", v.metric, result.Format(v.value), v.unit)
	}
	return s
}

// stage is the processes of a round.
type stage struct {
	b       *Bench
	dir     string
	addr    string // of the server
	server  *proc.Process
	origin  *proc.Process
	redis   *proc.Redis
	clean   []func() error
	started time.Time
	app     string // host:port of the origin
}

// stage starts what a scenario needs.
func (b *Bench) stage(ctx context.Context, s Scenario, srv server) (st *stage, err error) {
	st = &stage{b: b}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.stop())
		}
	}()
	dir, remove, err := b.workDir()
	if err != nil {
		return st, err
	}
	st.dir = dir
	st.clean = append(st.clean, func() error { remove(); return nil })
	p := place{dir: dir, cores: s.serverCores(b), services: s.services, env: s.env, keys: max(1, s.keys), size: s.size}
	if st.redis, err = proc.StartRedis(ctx, dir, s.clientCores(b)); err != nil {
		return st, err
	}
	st.clean = append(st.clean, st.redis.Stop)
	p.redis = st.redis.Addr
	if v, err := st.redis.Version(ctx); err == nil {
		b.Results.SetVersion("redis", v)
	}
	if s.sessions > 0 {
		if err := st.login(ctx, s.sessions); err != nil {
			return st, err
		}
	}
	if err := st.startOrigin(ctx, s, &p); err != nil {
		return st, err
	}
	return st, st.startServer(ctx, srv, p)
}

func (st *stage) startOrigin(ctx context.Context, s Scenario, p *place) (err error) {
	if st.app, err = proc.FreeAddr(); err != nil {
		return err
	}
	p.origin = st.app
	app := *p
	app.lean = s.reachesOrigin()
	if st.origin, err = proc.Start(st.b.originSpec(st.app, app, s.clientCores(st.b))); err != nil {
		return err
	}
	st.clean = append(st.clean, st.origin.Stop)
	return st.origin.WaitTCP(ctx, st.app)
}

func (st *stage) startServer(ctx context.Context, srv server, p place) error {
	spec, addr, err := srv.prepare(p)
	if err != nil {
		return err
	}
	st.addr, st.started = addr, time.Now()
	if st.server, err = proc.Start(spec); err != nil {
		return err
	}
	st.clean = append(st.clean, st.server.Stop)
	return st.server.WaitTCP(ctx, addr)
}

// login puts sessions into Redis, as an application would.
func (st *stage) login(ctx context.Context, n int) error {
	pipe := st.redis.Pipeline()
	for i := range n {
		pipe.Set(ctx, "session:"+SessionID(i), sessionValue(i), 24*time.Hour)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// SessionID is the id of a session of the scenarios.
func SessionID(i int) string { return fmt.Sprintf("bench-session-%06d-0123456789abcdef", i) }

func sessionValue(i int) string {
	b, _ := json.Marshal(map[string]any{"user_id": fmt.Sprintf("u%d", i), "role": "member", "created_at": "2026-01-01T00:00:00Z"})
	return string(b)
}

// stop ends the processes, the last first.
func (st *stage) stop() error {
	var errs []error
	for _, f := range slices.Backward(st.clean) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// asked is how many requests the application has had.
func (st *stage) asked(ctx context.Context) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+st.app+"/count", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	var n int64
	return n, json.NewDecoder(res.Body).Decode(&n)
}

// use is what a measured time cost.
type use struct {
	load.Outcome
	server  time.Duration // CPU of the server's processes
	client  time.Duration // CPU of the client, the application and Redis
	foreign float64
	origin  int64 // requests that the application had
}

// drive runs a plan and measures what it costs.
func (st *stage) drive(ctx context.Context, p load.Plan) (u use, err error) {
	p.Addr = st.addr
	var servers []int
	others := []int{os.Getpid(), st.redis.PID(), st.origin.PID()}
	var w proc.Window
	var server, client proc.CPU
	var asked int64
	var askErr error
	p.Begin = func() {
		servers = proc.Tree(st.server.PID()) // not before: they fork as they start
		asked, askErr = st.asked(ctx)
		w = proc.Watch()
		server, client = proc.Clocks(servers), proc.Clocks(others)
	}
	p.End = func() {
		u.server, u.client = proc.Clocks(servers).Since(server), proc.Clocks(others).Since(client)
		u.foreign = w.End().Foreign
	}
	u.Outcome, err = load.Run(p)
	if err := errors.Join(err, askErr); err != nil {
		return u, fmt.Errorf("%w\nthe end of the server's log:\n%s", err, st.server.Log())
	}
	now, err := st.asked(ctx)
	u.origin = now - asked
	return u, err
}
