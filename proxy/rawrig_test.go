package proxy_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/proxy"
)

// Limits of the pod that raw requests go to: small, so that exceeding them is cheap.
const (
	rawMaxHeader = 8 << 10
	rawMaxBody   = 64 << 10
)

// rawRig is a pod without a cache and without sessions, in front of an application
// that records.
type rawRig struct {
	pod *pod
	app *apptest.Recorder
	ln  *pieceListener
	// dialled counts the connections to the pod: one whose client has gone may not
	// have been accepted yet.
	dialled atomic.Int64
}

func newRawRig(t testing.TB) *rawRig {
	t.Helper()
	g := &rawRig{app: apptest.StartRecorder(t)}
	off := func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff }
	r := newRig(t, []proxy.Rule{rule("all", "/**", off), rule("star", "", off)}, nil, 0)
	r.up.URL, r.quiet = g.app.URL(), true
	r.cfg.MaxHeader, r.cfg.MaxBody = rawMaxHeader, rawMaxBody
	r.cfg.ReadTimeout = 2 * time.Second // what waits for more than it gets ends by this
	r.accept = func(ln net.Listener) net.Listener {
		g.ln = &pieceListener{Listener: ln}
		return g.ln
	}
	g.pod = r.addPod()
	return g
}

// pieceListener hands out what its connections receive in pieces: what a division
// into packets does by chance is done here on purpose.
type pieceListener struct {
	net.Listener
	pieces   atomic.Pointer[func(done int) int] // how many bytes the next read may give
	accepted atomic.Int64
	open     atomic.Int64
}

func (l *pieceListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	l.accepted.Add(1)
	c := &pieceConn{TCPConn: nc.(*net.TCPConn), ln: l}
	if f := l.pieces.Load(); f != nil {
		c.pieces = *f
	}
	return c, nil
}

type pieceConn struct {
	*net.TCPConn
	ln     *pieceListener
	pieces func(done int) int
	done   int
	once   sync.Once
}

func (c *pieceConn) Read(p []byte) (int, error) {
	if c.pieces != nil {
		p = p[:min(len(p), c.pieces(c.done))]
	}
	n, err := c.TCPConn.Read(p)
	c.done += n
	return n, err
}

// SyscallConn keeps the reader from reading the socket itself, past the pieces.
func (c *pieceConn) SyscallConn() (syscall.RawConn, error) {
	if c.pieces != nil {
		return nil, errors.ErrUnsupported
	}
	return c.TCPConn.SyscallConn()
}

func (c *pieceConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() { c.ln.open.Add(-1) })
	return err
}

func byteByByte(int) int { return 1 }

// inTwo gives k bytes first, and then all that is there.
func inTwo(k int) func(int) int {
	return func(done int) int {
		if done < k {
			return k - done
		}
		return 1 << 30
	}
}

// ending is what a client does when it has sent everything.
type ending int

const (
	endWait  ending = iota // for the answers, until the server closes
	endHalf                // it sends no more, and waits
	endClose               // it goes away
	endReset               // the same, with a TCP reset
)

// talk sends bytes on a connection of their own and gives all that comes back.
func (g *rawRig) talk(t testing.TB, send string, end ending) ([]byte, error) {
	t.Helper()
	nc, err := net.Dial("tcp", g.pod.addr)
	must(t, err)
	g.dialled.Add(1)
	defer nc.Close()
	c := nc.(*net.TCPConn)
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	var writer sync.WaitGroup
	defer writer.Wait()
	// Beside the reading: who refuses early may not read the rest.
	writer.Go(func() {
		_, _ = io.WriteString(c, send)
		switch end {
		case endHalf:
			_ = c.CloseWrite()
		case endReset:
			_ = c.SetLinger(0)
			_ = c.Close()
		case endClose:
			_ = c.Close()
		}
	})
	got, err := io.ReadAll(io.LimitReader(c, 16<<20))
	_ = c.Close() // ends the writing too
	return got, err
}

// settle waits until the pod is done with its clients and the application has seen
// the end of every connection that the pod has given up.
func (g *rawRig) settle(t testing.TB) {
	t.Helper()
	soon(t, "the pod has closed the client's connection", func() bool {
		return g.ln.accepted.Load() == g.dialled.Load() && g.ln.open.Load() == 0
	})
	soon(t, "the application has as many connections as the pod", func() bool {
		s := g.pod.up.Stats()
		accepted, open := g.app.Conns()
		return s.Open == s.Idle && uint64(accepted) == s.Dials && open == s.Open
	})
}

// soon is eventually for what is true at once but for another goroutine's turn.
func soon(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		runtime.Gosched()
	}
	eventually(t, what, ok)
}

// strictRequests reads what a client sends as strictly as RFC 9112 allows: empty
// lines may come before a request (§2.2).
func strictRequests(stream string) (list []apptest.Message, last apptest.Message) {
	b := []byte(stream)
	for {
		for len(b) > 1 && b[0] == '\r' && b[1] == '\n' {
			b = b[2:]
		}
		m, n, err := apptest.ReadRequest(b)
		if err != nil {
			return list, m
		}
		list = append(list, m)
		b = b[n:]
	}
}

// answers is what a client got.
type answers struct {
	interim []int
	final   []apptest.Message // complete responses
	rest    string            // bytes after them
}

// readAnswers reads responses strictly. methods are those of the requests; "" is one
// whose method cannot be told, which may have been a HEAD.
func readAnswers(b []byte, methods []string) (a answers) {
	for len(b) > 0 {
		method := ""
		if len(a.final) < len(methods) {
			method = methods[len(a.final)]
		}
		m, n, err := apptest.ReadResponse(b, method, true)
		if err != nil && method == "" {
			m, n, err = apptest.ReadResponse(b, "HEAD", true)
		}
		if err != nil {
			a.rest = string(b)
			return a
		}
		b = b[n:]
		if m.Status < 200 && m.Status != 101 {
			a.interim = append(a.interim, m.Status)
			continue
		}
		a.final = append(a.final, m)
	}
	return a
}

func (a answers) String() string {
	s := "statuses"
	for _, i := range a.interim {
		s += fmt.Sprint(" ", i)
	}
	for _, m := range a.final {
		s += fmt.Sprint(" ", m.Status)
	}
	if len(a.final)+len(a.interim) == 0 {
		s = "no response"
	}
	if a.rest != "" {
		s += fmt.Sprintf(" and %.200q", a.rest)
	}
	return s
}
