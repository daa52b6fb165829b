//go:build linux && !race

package scale

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
)

const (
	rounds  = 5
	loops   = 4  // connections of the measured client
	openers = 64 // connections that are opened at a time
	sources = 20 // client addresses, as each has its own ephemeral ports
	// descriptorsForOthers are those that the process needs beside the idle connections.
	descriptorsForOthers = 400
	// maxFactor bounds the median latency beside idle and slow connections, in that
	// without. It is for a cost that grows with their number, not for a busy machine.
	maxFactor = 3
	slowByte  = time.Second // one byte of a header comes this often
	// headerWithin bounds how long a client may take for a header.
	headerWithin = 45 * time.Second
)

const idleConfig = `
server: { header_timeout: 10s, read_timeout: 1h, idle_timeout: 1h }
cache: { memory: 16MiB }
rules:
  - { name: all, match: { path: "/**" }, session: none }
`

// TestIdleConnections measures a client beside thousands of idle connections and
// slow-header clients, and the same without them, in turns.
func TestIdleConnections(t *testing.T) {
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", r.URL.Query().Get("control"))
		_, _ = io.WriteString(w, "hello")
	})
	p, _ := start(t, idleConfig, app)
	n := fitting(t, *idleConns, *slowConns)
	measure(t, p) // warm
	var p50, p99 [2][]time.Duration
	var perConn []int64
	for round := range rounds {
		note := func(which int) {
			samples := measure(t, p)
			p50[which] = append(p50[which], quantile(samples, 0.5))
			p99[which] = append(p99[which], quantile(samples, 0.99))
		}
		note(0)
		crowd := gather(t, p, n, *slowConns)
		perConn = append(perConn, crowd.grown/int64(n))
		note(1)
		if round == rounds-1 {
			crowd.ask(t)
			crowd.slow.allRefused(t)
		}
		crowd.leave(t, p)
	}
	t.Logf("%d idle and %d slow connections, medians of %d rounds of %d requests", n, *slowConns, rounds, *measured)
	t.Logf("without them: p50 %v p99 %v; beside them: p50 %v p99 %v", median(p50[0]), median(p99[0]), median(p50[1]), median(p99[1]))
	t.Logf("resident memory of an idle connection, in the first round: %d bytes", perConn[0])
	// Of the best rounds: what else runs on the machine makes some worse, and what the
	// connections cost makes all of them worse.
	if a, b := slices.Min(p50[0]), slices.Min(p50[1]); b > maxFactor*a {
		t.Errorf("the median latency is %v beside them and %v without, more than %d times as much", b, a, maxFactor)
	}
	p.Stop()
}

// fitting is how many idle connections the limit of open files leaves room for, here
// and in the process, which has the same limit.
func fitting(t *testing.T, idle, slow int) int {
	t.Helper()
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)) // the runtime has raised the soft limit to the hard one
	room := int(limit.Cur) - slow - descriptorsForOthers
	if idle > room {
		t.Logf("the limit of open files is %d: %d idle connections in place of %d", limit.Cur, room, idle)
		return room
	}
	return idle
}

// measure is a closed loop: loops connections ask for a stored and for a passed-on
// response in turns, as fast as they are answered.
func measure(t *testing.T, p *programtest.Process) []time.Duration {
	t.Helper()
	// The crowd's connections have their other ends in this process: its own collector,
	// going through them, would be measured with the program.
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	samples := make([][]time.Duration, loops)
	var clients sync.WaitGroup
	for i := range loops {
		clients.Go(func() {
			c, err := dial(p.Addr, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for n := range *measured / loops {
				began := time.Now()
				if err := c.ask("/hello?control=" + []string{"max-age=600", "no-store"}[n%2]); err != nil {
					t.Error(err)
					return
				}
				samples[i] = append(samples[i], time.Since(began))
			}
		})
	}
	clients.Wait()
	if t.Failed() {
		t.FailNow()
	}
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	return all
}

// conn is a connection of a client.
type conn struct {
	net.Conn
	in *bufio.Reader
}

// dial connects from one of the addresses of loopback.
func dial(addr string, source int) (*conn, error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+source%sources))}}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetLinger(0) // thousands in TIME_WAIT would use up the ports
	return &conn{Conn: c, in: bufio.NewReaderSize(c, 512)}, nil
}

func (c *conn) ask(path string) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: scale.test\r\n\r\n", path); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(body) != "hello") {
		err = fmt.Errorf("status %d, body %q", resp.StatusCode, body)
	}
	return err
}

// crowd is what the measured client is not to notice.
type crowd struct {
	before int // descriptors of the process without it
	grown  int64
	idle   []*conn
	slow   *slowClients
}

func gather(t *testing.T, p *programtest.Process, idle, slow int) *crowd {
	t.Helper()
	c := &crowd{before: p.Descriptors(), idle: make([]*conn, idle)}
	rss := p.Memory("VmRSS")
	c.each(t, func(i int) error {
		var err error
		if c.idle[i], err = dial(p.Addr, i); err == nil {
			err = c.idle[i].ask("/hello?control=max-age=600")
		}
		return err
	})
	c.grown = p.Memory("VmRSS") - rss
	c.slow = startSlow(t, p.Addr, slow)
	return c
}

// each does something for all idle connections, openers of them at a time.
func (c *crowd) each(t *testing.T, do func(i int) error) {
	t.Helper()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range openers {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(c.idle) && !t.Failed(); i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// ask shows that idle connections are still good.
func (c *crowd) ask(t *testing.T) {
	t.Helper()
	c.each(t, func(i int) error { return c.idle[i].ask("/hello?control=max-age=600") })
}

// leave closes all and waits until the process has done so too.
func (c *crowd) leave(t *testing.T, p *programtest.Process) {
	t.Helper()
	c.slow.stop()
	for _, idle := range c.idle {
		_ = idle.Close()
	}
	programtest.Eventually(t, patience, "the process closes what its clients closed", func() bool {
		return p.Descriptors() <= c.before+loops
	})
}

// slowClients send a header byte by byte and never end it. One goroutine writes for
// all; each has one that waits for the end of its connection, and connects again.
type slowClients struct {
	addr    string
	done    chan struct{}
	all     sync.WaitGroup
	mu      sync.Mutex
	conns   []*conn
	refused []time.Duration // how long each first connection was borne; 0 until its end
	wrong   []string
}

func startSlow(t *testing.T, addr string, n int) *slowClients {
	t.Helper()
	s := &slowClients{addr: addr, done: make(chan struct{}), conns: make([]*conn, n), refused: make([]time.Duration, n)}
	for i := range n {
		c, err := dialSlow(addr, i)
		must(t, err)
		s.conns[i] = c
		s.all.Go(func() { s.attend(i, c, time.Now()) })
	}
	s.all.Go(s.trickle)
	return s
}

// trickle sends each connection a byte every now and then.
func (s *slowClients) trickle() {
	tick := time.NewTicker(slowByte)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		for _, c := range s.conns {
			_, _ = c.Write([]byte{'x'}) // to one that was closed: attend sees it
		}
		s.mu.Unlock()
	}
}

// attend notes when and how the program ends a connection, and opens the next.
func (s *slowClients) attend(i int, c *conn, began time.Time) {
	for first := true; ; first = false {
		resp, err := http.ReadResponse(c.in, nil)
		select {
		case <-s.done:
			return
		default:
		}
		if err == nil && resp.StatusCode != http.StatusRequestTimeout {
			s.note(fmt.Sprintf("a client that does not end its header got %d", resp.StatusCode))
		}
		_ = c.Close()
		if c, err = dialSlow(s.addr, i); err != nil {
			s.note(err.Error())
			return
		}
		if !s.replace(i, c, first, time.Since(began)) {
			return
		}
	}
}

// replace is false, with the connection closed, when stop has been called: that has
// closed the connections that it knew of.
func (s *slowClients) replace(i int, c *conn, first bool, borne time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		_ = c.Close()
		return false
	default:
	}
	s.conns[i] = c
	if first {
		s.refused[i] = borne
	}
	return true
}

// dialSlow connects and begins a header.
func dialSlow(addr string, i int) (*conn, error) {
	c, err := dial(addr, i)
	if err == nil {
		_, err = io.WriteString(c, "GET /hello HTTP/1.1\r\nHost: scale.test\r\nX-Slow: ")
	}
	return c, err
}

func (s *slowClients) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.wrong) < 10 {
		s.wrong = append(s.wrong, what)
	}
}

// allRefused waits until each of the first connections was ended by the program,
// although its client has never been silent for long.
func (s *slowClients) allRefused(t *testing.T) {
	t.Helper()
	var borne []time.Duration
	programtest.Eventually(t, headerWithin, "clients that never end their header are refused", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		borne = borne[:0]
		for _, d := range s.refused {
			if d > 0 {
				borne = append(borne, d)
			}
		}
		return len(borne) == len(s.refused) || len(s.wrong) > 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wrong {
		t.Error(w)
	}
	t.Logf("clients that send a byte of their header each %v were refused after %v (median), %v at most", slowByte, median(borne), quantile(borne, 1))
}

// stop closes the connections and waits for the goroutines.
func (s *slowClients) stop() {
	close(s.done)
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}
