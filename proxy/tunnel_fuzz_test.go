package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// FuzzTunnel asks for an upgrade with any offer, and with any bytes behind the request;
// the application answers with anything. However it is cut into packets:
//   - nothing of the client reaches the application before the head of its 101 is complete;
//   - there is no tunnel without a 101 to a protocol that was offered, and carries no HTTP;
//   - a tunnel carries exactly the bytes of both sides, in order;
//   - the next request, on another connection, gets its own answer;
//   - nothing stays behind.
func FuzzTunnel(f *testing.F) {
	noLeak(f)
	b := newTunnelBench(f)
	f.Add("echo", []byte("early"), []byte("late"), uint8(0), []byte(""), []byte("down"), uint64(1))
	f.Add("h2c, echo/1", []byte(""), []byte("x"), uint8(0), []byte(""), bytes.Repeat([]byte("d"), 40000), uint64(2))
	f.Add("h2c", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []byte(""), uint8(0), []byte(""), []byte(""), uint64(3))
	f.Add("echo", []byte("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"), []byte(""), uint8(1), []byte(""), []byte("no"), uint64(4))
	f.Add("echo", bytes.Repeat([]byte("e"), 30000), bytes.Repeat([]byte("l"), 5000), uint8(0), []byte(""), []byte(""), uint64(64))
	f.Add("a, b", []byte("e"), []byte("l"), uint8(2), []byte(""), []byte("d"), uint64(5))
	f.Add("echo", []byte("e"), []byte(""), uint8(3), []byte(""), []byte("d"), uint64(6))
	f.Add("echo", []byte("e"), []byte("l"), uint8(4), []byte("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: ECHO\r\n\r\n"), []byte("d"), uint64(7))
	f.Add("echo", []byte("e"), []byte("l"), uint8(4), []byte("HTTP/1.1 101 S\r\nUpgrade: tls\r\n\r\n"), []byte("d"), uint64(8))
	f.Add("echo", []byte("e"), []byte("l"), uint8(4), []byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), []byte("d"), uint64(9))
	f.Fuzz(func(t *testing.T, offer string, early, late []byte, kind uint8, answer, down []byte, seed uint64) {
		if len(offer) > 1000 || len(early)+len(late)+len(answer)+len(down) > 1<<18 || seed%64 == 0 && len(answer) > 8192 {
			return
		}
		b.run(t, newScript(offer, early, late, kind, answer, down, seed))
	})
}

// script is what both sides do in one execution.
type script struct {
	id                 string
	offer              string
	early, late        []byte
	answer             []byte // the application's, up to its half-close
	head               int    // the length of the answer up to the end of a 101's head; -1 without one
	mustSwitch         bool   // it is a plain 101 to a good offer
	slow               bool   // gives a mistake time to show
	seed               uint64
	started            atomic.Bool
	complete           atomic.Bool // all of the 101's head but its last byte has been sent
	tooSoon, forbidden atomic.Bool
	got                []byte // what the application got behind the request's head
	appErr             error
	done               chan struct{}
}

var (
	protocolForm  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+(/[A-Za-z0-9!#$%&'*+.^_`|~-]+)?$")
	carriesHTTP   = regexp.MustCompile(`(?i)^(h2c|h2|h3|http|tls)(/|$)`)
	fieldMayNotBe = regexp.MustCompile("[\x00-\x08\x0a-\x1f\x7f]")
)

// acceptable lists the protocols of an Upgrade field that may be had.
func acceptable(field string) (list []string) {
	for protocol := range strings.SplitSeq(field, ",") {
		if protocol = strings.Trim(protocol, " \t"); protocolForm.MatchString(protocol) && !carriesHTTP.MatchString(protocol) {
			list = append(list, protocol)
		}
	}
	return list
}

func newScript(offer string, early, late []byte, kind uint8, answer, down []byte, seed uint64) *script {
	s := &script{
		offer: fieldMayNotBe.ReplaceAllString(offer, ""), early: early, late: late,
		seed: seed, slow: seed%64 == 0, done: make(chan struct{}),
	}
	protocols := acceptable(s.offer)
	switch kind % 5 {
	case 0:
		if s.mustSwitch = len(protocols) > 0; s.mustSwitch {
			answer = []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocols[seed%uint64(len(protocols))] + "\r\n\r\n")
		}
	case 1:
		answer = []byte("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\n")
	case 2:
		answer = []byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: not offered\r\n\r\n")
	case 3:
		answer = []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
	}
	s.head = headOf101(answer)
	s.answer = append(bytes.Clone(answer), down...)
	if s.head < 0 {
		s.head = headOf101(s.answer) // the two together may be one
	}
	return s
}

// headOf101 finds the end of the first head that is no interim one, if it is a 101.
func headOf101(b []byte) int {
	for begin := 0; ; {
		n := bytes.Index(b[begin:], []byte("\r\n\r\n"))
		if n < 0 || !bytes.HasPrefix(b[begin:], []byte("HTTP/1.")) || n < len("HTTP/1.1 101") || b[begin+9] != '1' {
			return -1
		}
		end := begin + n + 4
		if string(b[begin+9:begin+12]) == "101" {
			return end
		}
		begin = end
	}
}

// tunnelBench is one handler with its listener and its application, for all executions.
type tunnelBench struct {
	addr    string
	handler *proxy.Handler
	scripts sync.Map // by id
	n       atomic.Uint64
}

func newTunnelBench(f *testing.F) *tunnelBench {
	b := new(tunnelBench)
	app, err := net.Listen("tcp", "127.0.0.1:0")
	must(f, err)
	var apps sync.WaitGroup
	apps.Go(func() {
		for {
			c, err := app.Accept()
			if err != nil {
				return
			}
			apps.Go(func() { b.serve(c) })
		}
	})
	cfg := redisconn.Default()
	cfg.URL, cfg.MaxStaleness = "redis://127.0.0.1:1", time.Hour // nothing here needs it
	conn, err := redisconn.Open(cfg, 1<<20, zerolog.Nop())
	must(f, err)
	sessions, err := sessioncheck.New(sessioncheck.Default(), conn, zerolog.Nop())
	must(f, err)
	upCfg := upstream.Default()
	upCfg.URL = "http://" + app.Addr().String()
	up, err := upstream.New(upCfg)
	must(f, err)
	server := proxy.DefaultServer()
	b.handler, err = proxy.New(proxy.Deps{Sessions: sessions, Store: cache.NewStore(conn, time.Hour), Upstream: up, Log: zerolog.Nop()},
		proxy.Settings{Server: server, FillTimeout: 10 * time.Second, RetryAfter: time.Second, Access: "off",
			Rules: []proxy.Rule{rule("all", "/**", func(r *proxy.Rule) { r.Cache.Mode = cache.ModeOff })}})
	must(f, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(f, err)
	b.addr = ln.Addr().String()
	srv := proxy.NewServer(b.handler, server, zerolog.Nop())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		b.handler.Shutdown(ctx)
		<-served
		sessions.Close()
		_ = up.Close()
		conn.Close()
		app.Close()
		apps.Wait()
	})
	return b
}

// serve is the application: upgrades go by their script, others get their own target.
func (b *tunnelBench) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if q.Header.Get("Upgrade") != "" || q.Header.Get("Http2-Settings") != "" {
			if s, ok := b.scripts.Load(q.Header.Get("X-Script")); ok {
				s.(*script).play(c.(*net.TCPConn), br, q)
			}
			return
		}
		_, _ = io.Copy(io.Discard, q.Body)
		body := q.RequestURI
		if q.Method == http.MethodHead {
			body = ""
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(q.RequestURI), body)
	}
}

func (s *script) play(c *net.TCPConn, br *bufio.Reader, q *http.Request) {
	defer close(s.done)
	s.started.Store(true)
	for _, field := range q.Header.Values("Upgrade") {
		if len(acceptable(field)) != strings.Count(field, ",")+1 {
			s.forbidden.Store(true)
		}
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		p := make([]byte, 4096)
		for {
			n, err := br.Read(p)
			if n > 0 && !s.complete.Load() {
				s.tooSoon.Store(true)
			}
			s.got = append(s.got, p[:n]...)
			if err != nil {
				if !errors.Is(err, io.EOF) {
					s.appErr = err
				}
				return
			}
		}
	})
	before, after := s.answer, []byte(nil)
	if s.head >= 0 {
		before, after = s.answer[:s.head-1], s.answer[s.head-1:]
	}
	inPieces(c, before, s.seed)
	if s.slow {
		time.Sleep(2 * time.Millisecond) // what must not come has time to come
	}
	if s.head >= 0 {
		s.complete.Store(true)
		inPieces(c, after, s.seed+1)
	}
	_ = c.CloseWrite()
	reading.Wait()
}

// inPieces writes with up to 7 cuts, at places that the seed decides.
func inPieces(w io.Writer, b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for cuts := r.IntN(8); len(b) > 0; cuts-- {
		n := len(b)
		if cuts > 0 {
			n = 1 + r.IntN(min(len(b), 1+r.IntN(len(b))))
		}
		if _, err := w.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

func (b *tunnelBench) run(t *testing.T, s *script) {
	s.id = fmt.Sprint(b.n.Add(1))
	b.scripts.Store(s.id, s)
	defer b.scripts.Delete(s.id)
	c, err := net.Dial("tcp", b.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	request := "GET /t HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nX-Script: " + s.id + "\r\nUpgrade: " + s.offer + "\r\n\r\n"
	inPieces(c, append([]byte(request), s.early...), s.seed+2)
	switched := s.talk(t, c.(*net.TCPConn))
	c.Close()
	if s.started.Load() {
		select {
		case <-s.done:
		case <-time.After(time.Minute):
			t.Fatal("the application's connection did not end")
		}
		s.check(t, switched)
	}
	if s.mustSwitch && !switched {
		t.Fatalf("no tunnel after %q to %q", s.answer[:s.head], s.offer)
	}
	if got := b.next(t, "/next/"+s.id); got != "/next/"+s.id {
		t.Fatalf("the next request got %q", got)
	}
	end := time.Now().Add(time.Minute)
	for b.handler.Tunnels().Open > 0 {
		if time.Now().After(end) {
			t.Fatal("a tunnel stays behind")
		}
		time.Sleep(20 * time.Microsecond)
	}
}

// talk is the client after its request.
func (s *script) talk(t *testing.T, c *net.TCPConn) (switched bool) {
	br := bufio.NewReader(c)
	for {
		line, err := textproto.NewReader(br).ReadLine()
		if err != nil {
			return false
		}
		var status int
		_, _ = fmt.Sscanf(line, "HTTP/1.1 %d", &status)
		if status < 100 || status >= 200 {
			_, _ = io.CopyN(io.Discard, br, int64(br.Buffered()))
			return false
		}
		if _, err := textproto.NewReader(br).ReadMIMEHeader(); err != nil {
			return false
		}
		if status == http.StatusSwitchingProtocols {
			break
		}
	}
	if s.head < 0 {
		t.Fatalf("a tunnel after %q", s.answer)
	}
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		inPieces(c, s.late, s.seed+3)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(br)
	<-wrote
	if err != nil || !bytes.Equal(got, s.answer[s.head:]) {
		t.Fatalf("the client got %d bytes %v, want %d", len(got), err, len(s.answer)-s.head)
	}
	return true
}

// check judges what the application saw.
func (s *script) check(t *testing.T, switched bool) {
	switch {
	case s.forbidden.Load():
		t.Fatalf("of the offer %q, the application saw what it must not", s.offer)
	case s.tooSoon.Load():
		t.Fatal("bytes of the client came before the 101")
	case !switched && len(s.got) > 0 && s.head < 0:
		t.Fatalf("%q came without a tunnel", s.got)
	}
	if !switched {
		return
	}
	if want := append(bytes.Clone(s.early), s.late...); s.appErr != nil || !bytes.Equal(s.got, want) {
		t.Fatalf("the application got %d bytes %v, want %d", len(s.got), s.appErr, len(want))
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(last101(s.answer[:s.head]))), nil)
	if err != nil {
		t.Fatalf("a tunnel after %q: %v", s.answer[:s.head], err)
	}
	offered := strings.ToLower(strings.Join(acceptable(s.offer), ","))
	for _, field := range resp.Header.Values("Upgrade") {
		for protocol := range strings.SplitSeq(strings.ToLower(field), ",") {
			if protocol = strings.Trim(protocol, " \t"); protocol != "" && !strings.Contains(","+offered+",", ","+protocol+",") {
				t.Fatalf("a tunnel of %q, which is not in %q", protocol, offered)
			}
		}
	}
}

// last101 leaves the interim responses out.
func last101(b []byte) []byte {
	if i := bytes.LastIndex(b[:len(b)-4], []byte("\r\n\r\n")); i >= 0 {
		return b[i+4:]
	}
	return b
}

func (b *tunnelBench) next(t *testing.T, path string) string {
	c, err := net.Dial("tcp", b.addr)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	must(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return string(body)
}
