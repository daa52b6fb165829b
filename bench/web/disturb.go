package web

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/pillion-proxy/pillion/bench/load"
	"github.com/pillion-proxy/pillion/bench/origin"
)

const (
	// calmShare of the throughput is asked for: what disturbs needs some of the core too.
	calmShare = 0.5
	// reloadEvery is the time from one reload to the next.
	reloadEvery = 250 * time.Millisecond
	// freshAnswers is how many answers are stored, one after the other, to keep the
	// collector at work. It is more than can be fetched in the time.
	freshAnswers = 200_000
)

// disturbance is something that happens while hits are measured.
type disturbance struct {
	name  string
	group *load.Group // requests beside the measured ones
	begin func(ctx context.Context) (stop func() error, err error)
}

// disturbed measures the latency of hits in an open loop: left alone, and then while
// each of the disturbances goes on.
func disturbed(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	const worst = 99.9
	st, err := b.stage(ctx, s, srv)
	if err != nil {
		return m, err
	}
	defer func() { err = join(err, st.stop()) }()
	p := s.plan(b)
	u, err := st.drive(ctx, p)
	if err != nil {
		return m, err
	}
	m.foreign = u.foreign
	p.Fill, p.Rate = nil, calmShare*float64(u.Requests)/u.Took.Seconds()
	var calm float64
	for _, d := range append([]disturbance{{name: "calm"}}, st.disturbances(s)...) {
		if u, err = st.driveDisturbed(ctx, p, d); err != nil {
			return m, fmt.Errorf("%s: %w", d.name, err)
		}
		m.foreign = max(m.foreign, u.foreign)
		at := float64(u.Latency.Percentile(worst).Nanoseconds()) / 1e3
		m.add(fmt.Sprintf("latency p%g, %s", worst, d.name), "us", at)
		if d.group == nil && d.begin == nil {
			calm = at
			continue
		}
		m.add(fmt.Sprintf("p%g against calm, %s", worst, d.name), "x", at/calm)
	}
	return m, nil
}

func (st *stage) driveDisturbed(ctx context.Context, p load.Plan, d disturbance) (u use, err error) {
	if d.group != nil {
		p.Groups = append(p.Groups[:len(p.Groups):len(p.Groups)], *d.group)
	}
	if d.begin != nil {
		stop, err := d.begin(ctx)
		if err != nil {
			return u, err
		}
		defer func() { err = join(err, stop()) }()
	}
	return st.drive(ctx, p)
}

func (st *stage) disturbances(s Scenario) []disturbance {
	tagged, fresh := s, s
	tagged.kind, tagged.keys, tagged.storm = origin.Tagged, 64, "purge"
	fresh.keys = freshAnswers
	beside := func(s Scenario, skip int) *load.Group {
		return &load.Group{Connections: 1, Requests: s.requests()[skip:], Background: true}
	}
	return []disturbance{
		{name: "purges", group: beside(tagged, 0), begin: func(ctx context.Context) (func() error, error) { return st.storm(ctx, tagged) }},
		{name: "reloads", begin: st.reloads},
		{name: "collections", group: beside(fresh, 1)},
	}
}

// reloads has the server read its configuration again and again.
func (st *stage) reloads(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		tick := time.NewTicker(reloadEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				done <- nil
				return
			case <-tick.C:
			}
			if err := syscall.Kill(st.server.PID(), syscall.SIGHUP); err != nil {
				done <- fmt.Errorf("reloading: %w", err)
				return
			}
		}
	}()
	return func() error { cancel(); return <-done }, nil
}
