package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/sessioncheck"
)

const (
	// sessionsPerPod is how many sessions each pod brings; its neighbour uses them too.
	sessionsPerPod = 10
	// sessionTTL is short, so that what happens once a minute in life happens each second
	// here: a session is renewed when a tenth of its lifetime has gone by.
	sessionTTL = 10 * time.Second
	checkEvery = 100 * time.Millisecond
)

// sessions has pods check sessions, each of which two pods see, with sliding renewal.
func sessions(ctx context.Context, o options) (*table, error) {
	t := &table{title: "sessions: each is used on two pods all the time, and renewed when a tenth of its lifetime has gone by", columns: []column{
		{"pods", 0}, {"sessions", 0}, {"tracked items", 0}, {"checks/s", 0}, {"renewals/s/session", 2}, {"EVAL/renewal", 2},
		{"pushes/renewal", 2}, {"reads/renewal", 2}, {"commands/renewal", 1}, {"CPU us/renewal", 0}, {"bytes in/renewal", 0}, {"bytes out/renewal", 0},
	}}
	for _, n := range o.pods {
		if err := sessionStep(ctx, o, n, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func sessionStep(ctx context.Context, o options, n int, t *table) error {
	r, err := with(ctx, n, patient())
	if err != nil {
		return err
	}
	defer r.close()
	c, err := newCheckers(ctx, r)
	if err != nil {
		return err
	}
	c.start(ctx)
	defer c.stop()
	// The first renewals come a tenth of the lifetime after the sessions were written.
	if err := pause(ctx, sessionTTL/10*2); err != nil {
		return err
	}
	before, checked := r.invalidations(), c.checks.Load()
	s, err := r.during(ctx, func() error { return pause(ctx, o.window) })
	if err != nil {
		return err
	}
	if c.refused.Load() > 0 {
		return fmt.Errorf("%d checks found no valid session", c.refused.Load())
	}
	renewals, total := s.calls("pexpire"), float64(n*sessionsPerPod)
	t.add(float64(n), total, s.to.number("tracking_total_items"), float64(c.checks.Load()-checked)/s.seconds(), renewals/s.seconds()/total,
		s.calls("eval")/renewals, float64(r.invalidations()-before)/renewals, s.calls("get")/renewals, s.work()/renewals,
		s.cpu()/renewals*1e6, s.in()/renewals, s.out()/renewals)
	return nil
}

// checkers are the session checkers of all pods, and the requests that ask them.
type checkers struct {
	pods    []*sessioncheck.Checker
	checks  atomic.Int64
	refused atomic.Int64
	end     context.CancelFunc
	all     sync.WaitGroup
}

func newCheckers(ctx context.Context, r *rig) (*checkers, error) {
	c := &checkers{end: func() {}}
	cfg := sessioncheck.Default()
	cfg.TTL = sessionTTL
	for i, p := range r.pods {
		checker, err := sessioncheck.New(cfg, p.conn, zerolog.Nop())
		if err != nil {
			return nil, err
		}
		c.pods = append(c.pods, checker)
		for j := range sessionsPerPod {
			key := "session:" + sessionID(i, j)
			// Sessions are renewed at different moments, as those of people are.
			left := sessionTTL - sessionTTL/10*time.Duration(i*sessionsPerPod+j)/time.Duration(len(r.pods)*sessionsPerPod)
			if err := r.do(ctx, "SET", key, `{"user_id": 1, "role": "customer", "cart": [101, 102, 103]}`, "PX", fmt.Sprint(left.Milliseconds())).Error(); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// sessionID is as long as a UUID.
func sessionID(pod, n int) string { return fmt.Sprintf("%08d-0000-4000-8000-%012d", pod, n) }

func (c *checkers) start(ctx context.Context) {
	ctx, c.end = context.WithCancel(ctx)
	for i, checker := range c.pods {
		var lines [][]byte
		for j := range sessionsPerPod {
			for _, owner := range []int{i, (i + 1) % len(c.pods)} {
				lines = append(lines, []byte("X-Session-ID: "+sessionID(owner, j)+"\r\n"))
			}
		}
		c.all.Go(func() { checker.Run(ctx) })
		c.all.Go(func() { c.use(ctx, checker, lines) })
	}
}

// use checks all of a pod's sessions again and again.
func (c *checkers) use(ctx context.Context, checker *sessioncheck.Checker, lines [][]byte) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		for _, line := range lines {
			if checker.Check(ctx, line, time.Now()).Status != sessioncheck.Valid && ctx.Err() == nil {
				c.refused.Add(1)
			}
		}
		c.checks.Add(int64(len(lines)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *checkers) stop() {
	c.end()
	c.all.Wait()
	for _, checker := range c.pods {
		checker.Close()
	}
}
