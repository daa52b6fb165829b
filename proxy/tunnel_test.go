package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// TestTunnelHalfClose: the end of one direction leaves the other open, whichever ends
// first, and what goes through is counted.
func TestTunnelHalfClose(t *testing.T) {
	noLeak(t)
	p, sides, _ := tunnelRig(t, nil)
	for _, clientFirst := range []bool{true, false} {
		client, app := p.upgrade(t, sides)
		first, second := client, app
		if !clientFirst {
			first, second = app, client
		}
		first.say(t, "last words\n")
		first.half(t)
		second.hear(t, "last words\n")
		second.hear(t, "") // the end
		for range 3 {
			second.say(t, "go on\n")
			first.hear(t, "go on\n")
		}
		if n := p.handler.Tunnels().Open; n != 1 {
			t.Fatalf("%d tunnels are open", n)
		}
		second.half(t)
		first.hear(t, "")
		eventually(t, "the tunnel has ended", func() bool { return p.handler.Tunnels().Open == 0 })
	}
	p.endsAre(t, "closed 2")
	if c := p.handler.Tunnels(); c.Up != 11+18 || c.Down != 11+18 {
		// The 101 is no byte of the tunnel.
		t.Errorf("%d bytes up and %d down, want 29 and 29", c.Up, c.Down)
	}
}

// TestTunnelBulk sends more than any buffer holds, both ways at once.
func TestTunnelBulk(t *testing.T) {
	noLeak(t)
	p, sides, _ := tunnelRig(t, nil)
	client, app := p.upgrade(t, sides)
	up, down := make([]byte, 3<<20), make([]byte, 3<<20)
	for i := range up {
		up[i], down[i] = byte(rand.Uint32()), byte(rand.Uint32())
	}
	send := func(s side, b []byte) {
		for len(b) > 0 {
			n, err := s.Write(b[:min(len(b), 1+rand.IntN(100<<10))])
			if err != nil {
				t.Error(err)
				return
			}
			b = b[n:]
		}
		s.half(t)
	}
	go send(client, up)
	go send(app, down)
	got := make(chan []byte, 1)
	go func() { b, _ := io.ReadAll(app.br); got <- b }()
	if b, err := io.ReadAll(client.br); err != nil || !bytes.Equal(b, down) {
		t.Errorf("%d bytes %v down, want the %d that were sent", len(b), err, len(down))
	}
	if b := <-got; !bytes.Equal(b, up) {
		t.Errorf("%d bytes up, want the %d that were sent", len(b), len(up))
	}
	p.endsAre(t, "closed 1")
}

// TestTunnelEarlyBytes: what the client sends before the 101 reaches the application
// after it, and all of it.
func TestTunnelEarlyBytes(t *testing.T) {
	noLeak(t)
	asked, go101 := make(chan side, 1), make(chan string)
	r := newRig(t, []proxy.Rule{rule("ws", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		s := takeOver(t, w, "")
		asked <- s
		for part := range go101 {
			_, _ = io.WriteString(s, part)
		}
	}, 1)
	early := strings.Repeat("early bytes\n", 2000)
	client := r.pods[0].dial(t, ask+"\r\n"+early[:15000])
	app := <-asked
	defer app.Close()
	client.say(t, early[15000:])
	go101 <- switching[:len(switching)-1] // all but the last byte
	_ = app.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := app.br.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes reached the application before its 101: %v", n, err)
	}
	_ = app.SetReadDeadline(time.Now().Add(time.Minute))
	go101 <- switching[len(switching)-1:] + "with the 101\n"
	close(go101)
	if got := client.answer(t); got.status != 101 || got.header.Get("Connection") != "Upgrade" || got.header.Get("Upgrade") != "echo" {
		t.Fatalf("%+v", got)
	}
	client.hear(t, "with the 101\n")
	client.half(t)
	if b, err := io.ReadAll(app.br); string(b) != early || err != nil {
		t.Errorf("%d of %d early bytes: %v", len(b), len(early), err)
	}
}

// TestTunnelAnswers: what is a valid 101, and what the client gets for another answer.
// Its connection stays usable.
func TestTunnelAnswers(t *testing.T) {
	noLeak(t)
	answer := make(chan string, 1)
	gone := make(chan struct{}, 1)
	r := newRig(t, []proxy.Rule{rule("ws", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/ws" {
			fmt.Fprint(w, "next")
			return
		}
		s := takeOver(t, w, <-answer)
		_, _ = io.Copy(io.Discard, s.br)
		s.Close()
		gone <- struct{}{}
	}, 1)
	p := r.pods[0]
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nSec-WebSocket-Accept: k\r\n"
	for name, tt := range map[string]struct {
		answer string
		status int
	}{
		"offered":                 {head + "Upgrade: echo\r\n\r\n", 101},
		"another case":            {head + "Upgrade: ECHO\r\n\r\n", 101},
		"second of the offer":     {head + "Upgrade: other/2\r\n\r\n", 101},
		"both":                    {head + "Upgrade: other/2, echo\r\n\r\n", 101},
		"with a length":           {head + "Upgrade: echo\r\nContent-Length: 5\r\n\r\n", 101},
		"foreign":                 {head + "Upgrade: foreign\r\n\r\n", 502},
		"one foreign":             {head + "Upgrade: echo\r\nUpgrade: foreign\r\n\r\n", 502},
		"another version":         {head + "Upgrade: other/3\r\n\r\n", 502},
		"offered but not allowed": {head + "Upgrade: h2c\r\n\r\n", 502},
		"no field":                {head + "\r\n", 502},
		"an empty field":          {head + "Upgrade: ,\r\n\r\n", 502},
		"refused":                 {"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno", 426},
		"ignored":                 {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200},
		"nonsense":                {"SSH-2.0-x\r\n\r\n", 502},
	} {
		t.Run(name, func(t *testing.T) {
			answer <- tt.answer
			c := p.dial(t, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo, h2c\r\nUpgrade: other/2\r\n\r\n")
			got := c.answer(t)
			if got.status != tt.status {
				t.Fatalf("%+v, want %d", got, tt.status)
			}
			if got.status == 101 {
				if h := got.header; h.Get("X-End") != "2" || h.Get("X-Hop") != "" || h.Get("Sec-WebSocket-Accept") != "k" || h.Get("Content-Length") != "" || h.Get("Connection") != "Upgrade" {
					t.Errorf("header of the 101: %v", h)
				}
			} else {
				c.say(t, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
				if got := c.answer(t); got.body != "next" {
					t.Errorf("the next request: %+v", got)
				}
			}
			c.Close()
			<-gone // the application's side of it is closed
		})
	}
	p.endsAre(t, "closed 5")
}

// TestUpgradeToHTTP: what carries HTTP itself is not offered on; without another
// protocol the request is like any other, and is cached.
func TestUpgradeToHTTP(t *testing.T) {
	p, sides, _ := tunnelRig(t, nil)
	for _, lines := range []string{
		"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
		"Connection: Upgrade\r\nUpgrade: H2C\r\nUpgrade: h2, HTTP/2.0\r\nhttp2-settings: A\r\n",
		"Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n",
		"Connection: Upgrade\r\nUpgrade: e cho, /, echo/\r\n",
		"Upgrade: echo\r\n", // not named by Connection
	} {
		if got := p.raw(t, "GET /a HTTP/1.1\r\nHost: h\r\n"+lines+"\r\n"); got.status != 200 || got.body != "plain  " {
			t.Errorf("%q: %+v", lines, got)
		}
	}
	if got := p.raw(t, "GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); !strings.Contains(got.cacheStatus(), "; hit") {
		t.Errorf("not an ordinary request: %+v", got)
	}
	if got := p.raw(t, "GET /b HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"); got.status != 200 || got.body != "plain  " {
		t.Errorf("HTTP/1.0: %+v", got)
	}
	c := p.dial(t, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: close, upgrade\r\nUpgrade: h2c, echo, TLS/1.2\r\n\r\n")
	if got := c.answer(t); got.status != 101 {
		t.Fatalf("%+v", got)
	}
	app := <-sides
	app.say(t, "here\n")
	c.hear(t, "here\n")
	app.Close()
	c.hear(t, "")
}

func TestTunnelIdle(t *testing.T) {
	noLeak(t)
	const idle = 400 * time.Millisecond
	p, sides, _ := tunnelRig(t, func(c *proxy.ServerConfig) { c.TunnelIdleTimeout = idle })
	client, app := p.upgrade(t, sides)
	began, last := time.Now(), time.Now() // last is before the last byte
	for tick := range time.Tick(idle / 20) {
		if tick.Sub(began) > 3*idle {
			break
		}
		// One direction at a time: bytes in either keep both.
		from, to := app, client
		if tick.Sub(began) > 2*idle {
			from, to = client, app
		}
		before := last
		last = time.Now()
		err := from.passes("tick\n", to)
		if time.Since(before) > idle/2 {
			t.Skip("the machine is too slow for this test")
		}
		must(t, err)
	}
	client.ended(t)
	app.ended(t)
	if quiet := time.Since(last); quiet < idle-idle/20 {
		t.Errorf("ended after %v, want %v without a byte", quiet, idle)
	}
	p.endsAre(t, "idle 1")
}

// TestTunnelStalledReader: a client that takes nothing ends the tunnel, though the
// application would send for ever.
func TestTunnelStalledReader(t *testing.T) {
	noLeak(t)
	p, sides, _ := tunnelRig(t, func(c *proxy.ServerConfig) { c.WriteTimeout = 200 * time.Millisecond })
	_, app := p.upgrade(t, sides)
	piece := make([]byte, 64<<10)
	var err error
	for err == nil {
		_, err = app.Write(piece)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the application was not let go")
	}
	p.endsAre(t, "error 1")
}

func TestMaxTunnels(t *testing.T) {
	noLeak(t)
	p, sides, r := tunnelRig(t, func(c *proxy.ServerConfig) { c.MaxTunnels = 2 })
	a, appA := p.upgrade(t, sides)
	p.upgrade(t, sides)
	calls := r.calls.Load()
	c := p.dial(t, ask+"\r\n")
	if got := c.answer(t); got.status != 503 || got.header.Get("Retry-After") == "" || got.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("one too many: %+v", got)
	}
	if n := r.calls.Load(); n != calls {
		t.Error("the application was asked all the same")
	}
	if p.handler.Stats().Refused["tunnels"] != 1 {
		t.Errorf("refused: %v", p.handler.Stats().Refused)
	}
	a.Close()
	appA.ended(t)
	appA.Close()
	eventually(t, "there is room again", func() bool { return p.handler.Tunnels().Open == 1 })
	c.say(t, ask+"\r\n") // on the connection that was refused
	if got := c.answer(t); got.status != 101 {
		t.Errorf("with room again: %+v", got)
	}
	app := <-sides
	app.Close()
}

// TestTunnelClientGone: the client has gone when the 101 comes. Nothing stays behind.
func TestTunnelClientGone(t *testing.T) {
	noLeak(t)
	asked := make(chan side, 1)
	r := newRig(t, []proxy.Rule{rule("ws", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		asked <- takeOver(t, w, "")
	}, 1)
	c := r.pods[0].dial(t, ask+"\r\n")
	app := <-asked
	must(t, c.Conn.(*net.TCPConn).SetLinger(0)) // a reset
	c.Close()
	app.say(t, switching)
	app.ended(t)
	app.Close()
	eventually(t, "the tunnel has ended", func() bool {
		c := r.pods[0].handler.Tunnels()
		return c.Open == 0 && c.Ended["error"] == 1
	})
}

// TestTunnelDrain: tunnels that end by themselves in time are not cut, others are.
func TestTunnelDrain(t *testing.T) {
	noLeak(t)
	p, sides, _ := tunnelRig(t, func(c *proxy.ServerConfig) { c.TunnelDrain = time.Second })
	client, app := p.upgrade(t, sides)
	stuck, stuckApp := p.upgrade(t, sides)
	done := make(chan struct{})
	go func() { defer close(done); p.handler.DrainTunnels(context.Background()) }()
	eventually(t, "no tunnel opens any more", func() bool {
		got := p.dial(t, ask+"\r\n").answer(t)
		if got.status == 101 {
			(<-sides).Close()
		}
		return got.status == 503
	})
	client.say(t, "still here\n")
	app.hear(t, "still here\n")
	app.Close()
	client.hear(t, "")
	client.Close()
	if n := p.handler.Tunnels().Ended["shutdown"]; n != 0 {
		t.Fatalf("%d tunnels were cut within the drain", n)
	}
	stuck.ended(t)
	stuckApp.ended(t)
	<-done
	if c := p.handler.Tunnels(); c.Open != 0 || c.Ended["shutdown"] != 1 || c.Ended["closed"] == 0 {
		t.Errorf("%+v", c)
	}
}

// TestTunnelDrainIsBounded by the shutdown's own context.
func TestTunnelDrainIsBounded(t *testing.T) {
	noLeak(t)
	p, sides, _ := tunnelRig(t, func(c *proxy.ServerConfig) { c.TunnelDrain = time.Hour })
	client, app := p.upgrade(t, sides)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.handler.DrainTunnels(ctx)
	client.ended(t)
	app.ended(t)
	p.endsAre(t, "shutdown 1")
}

// TestDrainEndsAnUpgrade that the application does not answer.
func TestDrainEndsAnUpgrade(t *testing.T) {
	noLeak(t)
	asked := make(chan side, 1)
	r := newRig(t, []proxy.Rule{rule("ws", "/**")}, func(w http.ResponseWriter, q *http.Request) {
		asked <- takeOver(t, w, "")
	}, 0)
	r.cfg.TunnelDrain = 50 * time.Millisecond
	p := r.addPod()
	c := p.dial(t, ask+"\r\n")
	app := <-asked
	p.handler.DrainTunnels(context.Background())
	app.ended(t)
	app.Close()
	if got := c.answer(t); got.status != 502 {
		t.Errorf("%+v", got)
	}
}
