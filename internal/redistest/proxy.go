package redistest

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Fault is what a Proxy does to a command.
type Fault int

// The faults. Each but Hold ends the connection.
const (
	// DropRequest: the command never reaches Redis.
	DropRequest Fault = iota
	// DropReply: Redis executes the command, and its reply is lost.
	DropReply
	// Hold: the command waits in the proxy until Trap.Pass or Trap.Cut.
	Hold
)

// Match chooses commands by their words.
type Match func(words [][]byte) bool

// Command matches a command by its name.
func Command(name string) Match {
	return func(words [][]byte) bool { return strings.EqualFold(string(words[0]), name) }
}

// ScriptCall matches EVAL and EVALSHA of any of these scripts.
func ScriptCall(texts ...string) Match {
	shas := make(map[string]bool, len(texts))
	for _, text := range texts {
		shas[sha1Hex([]byte(text))] = true
	}
	return func(words [][]byte) bool {
		if len(words) < 3 {
			return false
		}
		switch strings.ToUpper(string(words[0])) {
		case "EVALSHA":
			return shas[string(words[1])]
		case "EVAL":
			return shas[sha1Hex(words[1])]
		}
		return false
	}
}

func sha1Hex(b []byte) string {
	sum := sha1.Sum(b) // what Redis names scripts by
	return hex.EncodeToString(sum[:])
}

// Proxy passes connections to a Redis on, and harms single commands. It reads requests
// as RESP; replies it passes on as bytes.
type Proxy struct {
	Addr string // where clients connect

	ln    net.Listener
	conns sync.WaitGroup
	mu    sync.Mutex
	to    string
	ended bool
	traps []*Trap // set and not sprung
	held  []*Trap
	open  map[net.Conn]struct{}
}

// Trap waits for one command.
type Trap struct {
	match  Match
	fault  Fault
	sprung chan struct{}
	pass   chan bool // capacity 1
}

// Sprung is closed when the command came; with DropReply, when Redis has executed it.
func (t *Trap) Sprung() <-chan struct{} { return t.sprung }

// Pass lets a held command go on to Redis.
func (t *Trap) Pass() { t.release(true) }

// Cut drops a held command and ends its connection.
func (t *Trap) Cut() { t.release(false) }

// release decides what becomes of a held command; the first decision counts.
func (t *Trap) release(pass bool) {
	select {
	case t.pass <- pass:
	default:
	}
}

// StartProxy opens a proxy to the Redis at that address, which ends with the test.
func StartProxy(tb testing.TB, to string) *Proxy {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{Addr: ln.Addr().String(), ln: ln, to: to, open: make(map[net.Conn]struct{})}
	p.conns.Go(p.accept)
	tb.Cleanup(p.end)
	return p
}

func (p *Proxy) end() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.ended, p.traps = true, nil
	held := p.held
	p.mu.Unlock()
	for _, t := range held {
		t.Cut()
	}
	p.CutAll()
	p.conns.Wait()
}

// Trap harms the next command that matches, once.
func (p *Proxy) Trap(m Match, f Fault) *Trap {
	t := &Trap{match: m, fault: f, sprung: make(chan struct{}), pass: make(chan bool, 1)}
	p.mu.Lock()
	p.traps = append(p.traps, t)
	p.mu.Unlock()
	return t
}

// Retarget ends all connections and passes new ones on to another Redis, as a failover
// does.
func (p *Proxy) Retarget(to string) {
	p.mu.Lock()
	p.to = to
	p.mu.Unlock()
	p.CutAll()
}

// CutAll ends all connections.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.conns.Go(func() { p.serve(c) })
	}
}

// enter notes a connection, so that it can be cut; false when the proxy has ended.
func (p *Proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[c] = struct{}{}
	return !p.ended
}

func (p *Proxy) leave(c net.Conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// serve passes one connection on.
func (p *Proxy) serve(client net.Conn) {
	defer p.leave(client)
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer p.leave(server)
	if !p.enter(client) || !p.enter(server) {
		return
	}
	replies := &replies{to: client}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(replies, server)
		replies.end()
		_ = client.Close()
	}()
	p.requests(client, server, replies)
	_ = server.Close()
	<-done
}

// requests passes commands on until the connection ends, or a trap ends it.
func (p *Proxy) requests(client, server net.Conn, r *replies) {
	br := bufio.NewReaderSize(client, 64<<10)
	for {
		raw, words, err := readCommand(br)
		if err != nil {
			return
		}
		if t := p.spring(words); t != nil && !t.harm(raw, server, r) {
			return
		} else if t != nil {
			continue
		}
		if _, err := server.Write(raw); err != nil {
			return
		}
	}
}

// spring finds the trap for a command and takes it away.
func (p *Proxy) spring(words [][]byte) *Trap {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, t := range p.traps {
		if t.match(words) {
			p.traps = append(p.traps[:i:i], p.traps[i+1:]...)
			p.held = append(p.held, t)
			return t
		}
	}
	return nil
}

// harm does to a command what the trap is for; true when the connection goes on.
func (t *Trap) harm(raw []byte, server net.Conn, r *replies) bool {
	switch t.fault {
	case Hold:
		close(t.sprung)
		if !<-t.pass {
			return false
		}
		_, err := server.Write(raw)
		return err == nil
	case DropReply:
		// Replies come in the order of the commands, so when that of the ECHO is
		// there, Redis has executed the command before it.
		const token = "the-proxy-has-seen-the-reply"
		seen := r.swallow(token)
		echo := fmt.Sprintf("*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(token), token)
		if _, err := server.Write(append(raw, echo...)); err == nil {
			<-seen
		}
	}
	close(t.sprung)
	return false
}

// replies passes on what Redis says, until it is told to swallow it.
type replies struct {
	to    net.Conn
	mu    sync.Mutex
	token []byte        // nil: pass on
	tail  []byte        // the end of what was swallowed
	seen  chan struct{} // closed when the token came, or none will
	ended bool
}

// end is called when Redis says no more.
func (r *replies) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	if r.seen != nil {
		close(r.seen)
	}
}

// swallow passes nothing on any more; the channel is closed when the token has come.
func (r *replies) swallow(token string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token, r.seen = []byte(token), make(chan struct{})
	if r.ended {
		close(r.seen)
	}
	return r.seen
}

func (r *replies) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.token == nil {
		return r.to.Write(p)
	}
	r.tail = append(r.tail, p...)
	if bytes.Contains(r.tail, r.token) {
		return 0, io.EOF // ends the copying, and so closes seen
	}
	if keep := len(r.token); len(r.tail) > keep {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-keep:]...)
	}
	return len(p), nil
}

// readCommand reads an array of bulk strings, which is what clients send.
func readCommand(br *bufio.Reader) (raw []byte, words [][]byte, err error) {
	count, raw, err := readLength(br, nil, '*')
	if err != nil {
		return nil, nil, err
	}
	for range count {
		var n int
		if n, raw, err = readLength(br, raw, '$'); err != nil {
			return nil, nil, err
		}
		word := make([]byte, n+2)
		if _, err = io.ReadFull(br, word); err != nil {
			return nil, nil, err
		}
		raw, words = append(raw, word...), append(words, word[:n])
	}
	if len(words) == 0 {
		return nil, nil, errors.New("an empty command")
	}
	return raw, words, nil
}

// readLength reads a line of a type and a number, and appends it to raw.
func readLength(br *bufio.Reader, raw []byte, kind byte) (int, []byte, error) {
	line, err := br.ReadBytes('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 4 || line[0] != kind {
		return 0, nil, fmt.Errorf("%q: want %c and a length", line, kind)
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < 0 || n > 512<<20 {
		return 0, nil, fmt.Errorf("%q is not a length", line)
	}
	return n, append(raw, line...), nil
}
