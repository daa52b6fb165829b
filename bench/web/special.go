package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/pillion-proxy/pillion/bench/proc"
)

func join(a, b error) error { return errors.Join(a, b) }

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// idle looks at a server that has just begun.
func idle(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	st, err := b.stage(ctx, s, srv)
	if err != nil {
		return m, err
	}
	defer func() { err = join(err, st.stop()) }()
	w := proc.Watch()
	if err := wait(ctx, settle); err != nil {
		return m, err
	}
	m.foreign = w.End().Foreign
	m.add("resident memory", "MiB", float64(proc.Memory(st.server.PID(), "Pss"))/(1<<20))
	first, err := b.firstAnswer(ctx, s, srv, st)
	if err != nil {
		return m, err
	}
	m.add("first answer", "ms", float64(first.Microseconds())/1e3)
	if spec, _, err := srv.prepare(place{dir: st.dir, origin: st.app, redis: st.redis.Addr, cores: []int{0}}); err == nil {
		if info, err := os.Stat(spec.Path); err == nil {
			m.add("binary", "MB", float64(info.Size())/1e6)
		}
		if srv.name() == "pillion" {
			b.image(&m, spec.Path)
		}
	}
	return m, nil
}

// image adds the size of the container image, which needs the certificates of the
// system. Where there are none, the page says so.
func (b *Bench) image(m *measured, program string) {
	plain, packed, err := proc.ImageSize(b.Root, program)
	if err != nil {
		b.Skip("the size of pillion's image", err)
		return
	}
	m.add("image", "MB", float64(plain)/1e6)
	m.add("image, compressed", "MB", float64(packed)/1e6)
}

// firstAnswer starts a second server and asks it until it answers.
func (b *Bench) firstAnswer(ctx context.Context, s Scenario, srv server, st *stage) (took time.Duration, err error) {
	dir, remove, err := b.workDir()
	if err != nil {
		return 0, err
	}
	defer remove()
	spec, addr, err := srv.prepare(place{dir: dir, origin: st.app, redis: st.redis.Addr, cores: s.serverCores(b)})
	if err != nil {
		return 0, err
	}
	raw := s.request(0, "").Raw
	began := time.Now()
	p, err := proc.Start(spec)
	if err != nil {
		return 0, err
	}
	defer func() { err = join(err, p.Stop()) }()
	const patience, pace = 20 * time.Second, 200 * time.Microsecond
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for !answers(addr, raw) {
		if time.Since(began) > patience || ctx.Err() != nil {
			return 0, fmt.Errorf("no answer within %v; the end of its log:\n%s", patience, p.Log())
		}
		<-tick.C
	}
	return time.Since(began), nil
}

// answers sends a request on a connection of its own.
func answers(addr string, raw []byte) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write(raw); err != nil {
		return false
	}
	const want = "HTTP/1.1 200"
	head := make([]byte, len(want))
	_, err = c.Read(head)
	return err == nil && string(head) == want
}

// twoCores measures with one core and with two. Where the client has no core beside
// two for the server, what one request costs tells how it would scale: locks that are
// waited for, and caches that are shared, show in it.
func twoCores(ctx context.Context, b *Bench, s Scenario, srv server) (m measured, err error) {
	one, err := closedLoop(ctx, b, s, srv)
	if err != nil {
		return m, err
	}
	s.cores = 2
	two, err := closedLoop(ctx, b, s, srv)
	if err != nil {
		return m, err
	}
	m.foreign = max(one.foreign, two.foreign)
	m.add("CPU with one core", "us/request", one.get("CPU"))
	m.add("CPU with two cores", "us/request", two.get("CPU"))
	if proc.Cores() > 3 {
		m.add("gain", "times", two.get("throughput")/one.get("throughput"))
		return m, nil
	}
	m.add("gain, from the CPU for a request", "times", 2*one.get("CPU")/two.get("CPU"))
	return m, nil
}

func (m measured) get(metric string) float64 {
	for _, v := range m.values {
		if v.metric == metric {
			return v.value
		}
	}
	return 0
}

// stormRate is how many purges, or ended sessions, there are in a second.
const stormRate = 1000

// storm starts a process that changes Redis while the server works.
func (st *stage) storm(ctx context.Context, s Scenario) (stop func() error, err error) {
	p, err := proc.Start(proc.Spec{Name: "the storm", Path: st.b.Self, Cores: s.clientCores(st.b), Args: []string{
		"storm", "--redis", st.redis.Addr, "--kind", s.storm, "--rate", strconv.Itoa(stormRate), "--sessions", strconv.Itoa(s.sessions),
	}})
	if err != nil {
		return nil, err
	}
	began := time.Now()
	return func() error {
		err := p.Stop()
		n, rerr := st.redis.Get(context.WithoutCancel(ctx), stormCount).Int64()
		if least := stormRate * time.Since(began).Seconds() / 2; rerr == nil && float64(n) < least {
			rerr = fmt.Errorf("the storm made %d changes, which is less than half of what it should", n)
		}
		return join(err, rerr)
	}, nil
}
