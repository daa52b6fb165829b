// Package load is the client of the HTTP scenarios. One thread drives all connections
// with epoll and precomputed requests, so that the client costs less than any server,
// and checks every answer: its status, its length, and how its body begins and ends.
package load

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pillion-proxy/pillion/bench/latency"
)

// Request is what one connection sends, and what must come back.
type Request struct {
	Raw    []byte // the whole request
	Status int
	Length int64  // of the body
	Marker []byte // how the body begins
	Tail   []byte // how it ends
}

// Group is some connections that send the same kind of request.
type Group struct {
	Connections int
	Requests    []Request
	// Order are indexes of Requests, begun anew at the end; nil sends them in turn.
	Order []int32
	// Background connections are load beside what is measured.
	Background bool
}

// Plan says what to do.
type Plan struct {
	Addr   string // host:port
	Groups []Group
	// Fill is sent first, each request once, over connections of the first group.
	Fill []Request
	Warm time.Duration // not measured
	For  time.Duration // measured
	// Least is how many answers must have come, even if that takes longer than For.
	Least int64
	// Rate is how many requests a second the first group begins; 0 is as many as are
	// answered. With a rate, latency counts from the time when a request should have
	// begun, whether or not a connection was free: a server that stalls is not spared
	// the requests that it kept from being sent.
	Rate float64
	// Begin and End are called around the measured time.
	Begin, End func()
}

// Outcome is what was measured.
type Outcome struct {
	Requests int64 // of groups that are not in the background
	Bytes    int64 // of their bodies
	Took     time.Duration
	Latency  *latency.Histogram
}

const (
	readSize = 256 << 10
	maxHead  = 64 << 10
	// stalled is how long nothing may come before the run fails.
	stalled = 20 * time.Second
)

// conn is one connection. Each has at most one request under way.
type conn struct {
	fd      int
	group   *group
	req     *Request
	sent    int // bytes of req.Raw
	began   time.Time
	head    []byte // of an answer whose head came in parts
	inBody  bool
	pos     int64 // of the body
	writing bool  // registered for EPOLLOUT
}

type group struct {
	Group
	next int
}

func (g *group) request() *Request {
	i := g.next
	g.next++
	if g.Order != nil {
		if g.next == len(g.Order) {
			g.next = 0
		}
		return &g.Requests[g.Order[i]]
	}
	if g.next == len(g.Requests) {
		g.next = 0
	}
	return &g.Requests[i]
}

// client drives the connections. It is for one goroutine.
type client struct {
	plan    Plan
	epoll   int
	conns   []*conn // by file descriptor
	buf     []byte
	events  []unix.EpollEvent
	idle    []*conn   // of the first group, when there is a rate
	due     time.Time // when the next request of the first group should begin
	gap     time.Duration
	begun   int64
	origin  time.Time // of the schedule
	filling int       // requests of the fill that have not been answered
	counted bool
	out     Outcome
}

// Run does what the plan says. Any answer that is not as it must be is an error.
func Run(p Plan) (out Outcome, err error) {
	if err := p.check(); err != nil {
		return out, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &client{plan: p, buf: make([]byte, readSize), events: make([]unix.EpollEvent, 512)}
	c.out.Latency = latency.New()
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return out, err
	}
	defer c.close()
	if err := c.connect(); err != nil {
		return out, err
	}
	return c.out, c.phases()
}

func (p Plan) check() error {
	if len(p.Groups) == 0 || p.For <= 0 {
		return errors.New("a plan needs a group and a time")
	}
	for _, g := range p.Groups {
		if g.Connections < 1 || len(g.Requests) == 0 {
			return errors.New("a group needs connections and requests")
		}
	}
	return nil
}

// phases are the fill, the warm-up, and the measured time.
func (c *client) phases() error {
	first := c.conns0()
	if len(c.plan.Fill) > 0 {
		if err := c.fill(first); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	for _, k := range c.conns {
		if k == nil || k.group == first && c.plan.Rate > 0 {
			continue
		}
		if err := c.send(k, time.Now()); err != nil {
			return err
		}
	}
	if c.plan.Rate > 0 {
		c.gap = time.Duration(float64(time.Second) / c.plan.Rate)
		c.schedule(time.Now())
	}
	if err := c.loop(c.plan.Warm); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	if c.plan.Begin != nil {
		c.plan.Begin()
	}
	c.counted = true
	began := time.Now()
	if c.plan.Rate > 0 {
		c.schedule(began) // what Begin took is not the server's delay
	}
	err := c.loop(c.plan.For)
	c.out.Took = time.Since(began)
	if c.plan.End != nil {
		c.plan.End()
	}
	return err
}

func (c *client) conns0() *group {
	for _, k := range c.conns {
		if k != nil && !k.group.Background {
			return k.group
		}
	}
	return nil
}

// schedule begins the intended times of an open loop at now.
func (c *client) schedule(now time.Time) { c.origin, c.begun, c.due = now, 0, now }

// connect opens all connections.
func (c *client) connect() error {
	addr, err := netip.ParseAddrPort(c.plan.Addr)
	if err != nil || !addr.Addr().Is4() {
		return fmt.Errorf("the address %q must be an IPv4 host:port", c.plan.Addr)
	}
	to := &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	for i := range c.plan.Groups {
		g := &group{Group: c.plan.Groups[i]}
		for range g.Connections {
			if err := c.open(g, to); err != nil {
				return fmt.Errorf("connect to %s: %w", c.plan.Addr, err)
			}
		}
	}
	return nil
}

func (c *client) open(g *group, to unix.Sockaddr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	for fd >= len(c.conns) {
		c.conns = append(c.conns, make([]*conn, fd+1024)...)
	}
	k := &conn{fd: fd, group: g}
	c.conns[fd] = k
	// A reset at the end: thousands in TIME_WAIT would use up the ports.
	err = errors.Join(
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Connect(fd, to),
		unix.SetNonblock(fd, true),
		unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}),
	)
	if c.plan.Rate > 0 && !g.Background {
		c.idle = append(c.idle, k)
	}
	return err
}

func (c *client) close() {
	for _, k := range c.conns {
		if k != nil {
			_ = unix.Close(k.fd)
		}
	}
	_ = unix.Close(c.epoll)
}

// fill sends each request once, over some connections.
func (c *client) fill(g *group) error {
	measured, rate := g.Group, c.plan.Rate
	g.Requests, g.Order, c.plan.Rate = c.plan.Fill, nil, 0
	c.filling = len(c.plan.Fill)
	for _, k := range c.conns {
		if k != nil && k.group == g && c.begun < int64(min(64, c.filling)) {
			c.begun++
			if err := c.send(k, time.Now()); err != nil {
				return err
			}
		}
	}
	err := c.until(func() bool { return c.filling == 0 })
	g.Group, g.next, c.plan.Rate = measured, 0, rate
	return err
}

// loop runs for a time.
func (c *client) loop(d time.Duration) error {
	end := time.Now().Add(d)
	return c.until(func() bool { return !time.Now().Before(end) && (!c.counted || c.out.Requests >= c.plan.Least) })
}

// until handles events until it is done.
func (c *client) until(done func() bool) error {
	last := time.Now()
	for !done() {
		wait := 10 // ms
		if c.gap > 0 {
			wait = c.wait()
		}
		n, err := unix.EpollWait(c.epoll, c.events, wait)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		now := time.Now()
		for _, e := range c.events[:max(n, 0)] {
			if err := c.handle(c.conns[e.Fd], e.Events, now); err != nil {
				return err
			}
		}
		if n > 0 {
			last = now
		} else if now.Sub(last) > stalled {
			return fmt.Errorf("no answer has come for %v", stalled)
		}
		if c.gap > 0 {
			if err := c.launch(); err != nil {
				return err
			}
		}
	}
	return nil
}

// wait is the time in ms that an open loop may sleep: none when a request is due
// within it, since epoll's clock is too coarse. The client has a core of its own.
func (c *client) wait() int {
	if len(c.idle) == 0 {
		return 10
	}
	return int(max(0, time.Until(c.due)/time.Millisecond-1))
}

// launch begins the requests that are due, as long as connections are free.
func (c *client) launch() error {
	now := time.Now()
	for len(c.idle) > 0 && !c.due.After(now) {
		k := c.idle[len(c.idle)-1]
		c.idle = c.idle[:len(c.idle)-1]
		if err := c.send(k, c.due); err != nil {
			return err
		}
		c.begun++
		c.due = c.origin.Add(time.Duration(float64(c.begun) * float64(time.Second) / c.plan.Rate))
	}
	return nil
}
