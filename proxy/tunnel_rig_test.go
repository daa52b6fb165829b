package proxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pillion-proxy/pillion/proxy"
)

// noLeak fails the test when it leaves a goroutine behind. To be called first.
func noLeak(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before,
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
			goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
	})
}

// side is one end of an upgraded connection.
type side struct {
	net.Conn
	br *bufio.Reader
}

func (s side) say(t testing.TB, text string) {
	t.Helper()
	_, err := io.WriteString(s, text)
	must(t, err)
}

func (s side) hear(t testing.TB, want string) {
	t.Helper()
	if line, err := s.br.ReadString('\n'); line != want {
		t.Fatalf("heard %q %v, want %q", line, err, want)
	}
}

// ended waits for the end of the connection, whatever comes before it.
func (s side) ended(t testing.TB) {
	t.Helper()
	if _, err := io.Copy(io.Discard, s.br); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection did not end")
	}
}

func (s side) half(t testing.TB) {
	t.Helper()
	must(t, s.Conn.(*net.TCPConn).CloseWrite())
}

// takeOver answers an upgrade inside an application. The answer is what follows the
// status line's code.
func takeOver(t testing.TB, w http.ResponseWriter, head string) side {
	t.Helper()
	c, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		panic(http.ErrAbortHandler)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(c, head)
	return side{c, rw.Reader}
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// echoes is an application that upgrades, and gives each of its sides to the test.
func echoes(t testing.TB, sides chan<- side) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Upgrade") != "echo" {
			fmt.Fprintf(w, "plain %s %s", q.Header.Get("Upgrade"), q.Header.Get("HTTP2-Settings"))
			return
		}
		sides <- takeOver(t, w, switching)
	}
}

const ask = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"

func (p *pod) dial(t testing.TB, send string) side {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	s := side{c, bufio.NewReader(c)}
	s.say(t, send)
	return s
}

// passes sends a text through a tunnel.
func (s side) passes(text string, to side) error {
	if _, err := io.WriteString(s, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(to.br, got)
	if err == nil && string(got) != text {
		err = fmt.Errorf("heard %q: want %q", got, text)
	}
	return err
}

// answer reads the head of a response, and its body unless it is a 101.
func (s side) answer(t testing.TB) reply {
	t.Helper()
	resp, err := http.ReadResponse(s.br, nil)
	must(t, err)
	r := reply{status: resp.StatusCode, header: resp.Header}
	if r.status != 101 {
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		r.body = string(b)
	}
	return r
}

// upgrade opens a tunnel; its two ends are the client and what the application got.
func (p *pod) upgrade(t testing.TB, sides <-chan side, header ...string) (client, app side) {
	t.Helper()
	client = p.dial(t, ask+strings.Join(header, "")+"\r\n")
	if got := client.answer(t); got.status != 101 {
		t.Fatalf("no upgrade: %+v", got)
	}
	app = <-sides
	t.Cleanup(func() { app.Close() })
	return client, app
}

// endsAre waits until no tunnel is open, and compares how they have ended.
func (p *pod) endsAre(t testing.TB, want string) {
	t.Helper()
	eventually(t, "tunnels have ended", func() bool { return p.handler.Tunnels().Open == 0 })
	var got []string
	for how, n := range p.handler.Tunnels().Ended {
		if n > 0 {
			got = append(got, fmt.Sprint(how, " ", n))
		}
	}
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("tunnels ended: %s, want %s", text, want)
	}
}

func tunnelRig(t testing.TB, change func(*proxy.ServerConfig)) (*pod, chan side, *rig) {
	sides := make(chan side, 8)
	r := newRig(t, []proxy.Rule{rule("ws", "/**", ttl(time.Minute))}, echoes(t, sides), 0)
	if change != nil {
		change(&r.cfg)
	}
	return r.addPod(), sides, r
}
