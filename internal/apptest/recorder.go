package apptest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// Recorder is an application that reads requests with the strict reader, keeps them
// byte by byte, and answers each with its method and target. X-Seq numbers the
// answers, so that one that reaches the wrong request shows.
type Recorder struct {
	ln net.Listener
	wg sync.WaitGroup

	mu       sync.Mutex
	got      Recording
	seq      int
	accepted int
	open     map[net.Conn]struct{}
}

// Recording is what a Recorder got.
type Recording struct {
	Requests []Recorded
	// Partial holds what connections had received of a request when they ended.
	Partial []string
	// Faults say what no proxy may send.
	Faults []error
}

// Recorded is one request, complete and unambiguous.
type Recorded struct {
	Message
	Seq  int // of its answer
	Conn int // 0 for the first connection
}

// StartRecorder listens on a loopback port until the test ends.
func StartRecorder(tb testing.TB) *Recorder {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r := &Recorder{ln: ln, open: make(map[net.Conn]struct{})}
	r.wg.Go(r.accept)
	tb.Cleanup(r.stop)
	return r
}

// URL is http://host:port.
func (r *Recorder) URL() string { return "http://" + r.ln.Addr().String() }

// Conns counts the connections that were accepted, and those still open.
func (r *Recorder) Conns() (accepted, open int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted, len(r.open)
}

// Take gives what came since the last Take.
func (r *Recorder) Take() Recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = Recording{}
	return got
}

func (r *Recorder) accept() {
	for {
		nc, err := r.ln.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		id := r.accepted
		r.accepted++
		r.open[nc] = struct{}{}
		r.mu.Unlock()
		r.wg.Go(func() { r.serve(nc, id) })
	}
}

func (r *Recorder) stop() {
	_ = r.ln.Close()
	r.mu.Lock()
	for nc := range r.open {
		_ = nc.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// serve reads requests until the connection ends or one is wrong.
func (r *Recorder) serve(nc net.Conn, id int) {
	var buf []byte
	piece := make([]byte, 64<<10)
	var fault error
	for fault == nil {
		n, err := nc.Read(piece)
		buf = append(buf, piece[:n]...)
		if buf, fault = r.requests(nc, id, buf); err != nil {
			break
		}
	}
	r.end(nc, buf, fault)
}

// requests answers the complete requests of buf and gives what is left.
func (r *Recorder) requests(nc net.Conn, id int, buf []byte) ([]byte, error) {
	for len(buf) > 0 {
		m, n, err := ReadRequest(buf)
		if errors.Is(err, ErrIncomplete) {
			return buf, nil
		}
		if err == nil {
			err = CheckForwarded(&m)
		}
		if err != nil {
			return buf, fmt.Errorf("the application got %q: %w", clip(buf), err)
		}
		m.raw = bytes.Clone(m.raw)
		seq := r.keep(Recorded{Message: m, Conn: id})
		buf = buf[n:]
		if _, err := nc.Write(answer(&m, seq)); err != nil {
			return buf, nil // it has gone: the next read says so
		}
	}
	return buf, nil
}

func (r *Recorder) keep(q Recorded) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	q.Seq = r.seq
	r.got.Requests = append(r.got.Requests, q)
	return q.Seq
}

func (r *Recorder) end(nc net.Conn, rest []byte, fault error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = nc.Close()
	delete(r.open, nc)
	switch {
	case fault != nil:
		r.got.Faults = append(r.got.Faults, fault)
	case len(rest) > 0:
		if m, _, _ := ReadRequest(rest); m.Head > 0 {
			if err := CheckForwarded(&m); err != nil {
				r.got.Faults = append(r.got.Faults, fmt.Errorf("the application got %q: %w", clip(rest), err))
			}
		}
		r.got.Partial = append(r.got.Partial, string(rest))
	}
}

func answer(m *Message, seq int) []byte {
	body := m.Method + " " + m.Target
	b := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nX-Seq: %d\r\nContent-Length: %d\r\n\r\n", seq, len(body))
	if m.Method != "HEAD" {
		b = append(b, body...)
	}
	return b
}

// String writes a request in the short form of the tables: method, target, body.
func (q Recorded) String() string {
	return strings.TrimRight(q.Method+" "+q.Target+" "+q.Body, " ")
}

func clip(b []byte) []byte { return b[:min(len(b), 600)] }
