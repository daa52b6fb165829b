package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// stream is an open response, and the application's end of it.
type stream struct {
	resp *http.Response
	br   *bufio.Reader
	app  *source
}

// source writes lines into a response until its client has gone.
type source struct {
	lines chan string
	gone  chan struct{}
}

// streams is an application with upgrades, and responses that last.
func streams(t testing.TB, sides chan<- side, sources chan<- *source) http.HandlerFunc {
	upgrades := echoes(t, sides)
	return func(w http.ResponseWriter, q *http.Request) {
		if strings.HasPrefix(q.URL.Path, "/ws") {
			upgrades(w, q)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		if strings.HasPrefix(q.URL.Path, "/events") {
			w.Header().Set("Content-Type", "Text/Event-Stream; charset=utf-8")
		}
		if !strings.HasPrefix(q.URL.Path, "/events/stored") {
			w.Header().Set("Cache-Control", "no-store")
		}
		w.(http.Flusher).Flush()
		s := &source{lines: make(chan string), gone: make(chan struct{})}
		sources <- s
		defer close(s.gone)
		for {
			select {
			case line := <-s.lines:
				if line == "" {
					return
				}
				fmt.Fprint(w, line)
				w.(http.Flusher).Flush()
			case <-q.Context().Done():
				return
			}
		}
	}
}

func (p *pod) stream(t testing.TB, path, session string, sources <-chan *source) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.addr+path, nil)
	must(t, err)
	req.Header.Set("X-Session-ID", session)
	resp, err := transport().RoundTrip(req)
	must(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	return stream{resp, bufio.NewReader(resp.Body), <-sources}
}

func (s stream) passes(t testing.TB, line string) {
	t.Helper()
	s.app.lines <- line
	if got, err := s.br.ReadString('\n'); got != line {
		t.Fatalf("got %q %v, want %q", got, err, line)
	}
}

// cut expects the end of a body that is not complete, on both sides.
func (s stream) cut(t testing.TB) {
	t.Helper()
	if _, err := io.Copy(io.Discard, s.br); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v, want a body that is cut short", err)
	}
	select {
	case <-s.app.gone:
	case <-time.After(time.Minute):
		t.Error("the application goes on")
	}
}

type lasting struct {
	client, app side
	events      stream
}

func (l lasting) goesOn(t testing.TB) {
	t.Helper()
	l.client.say(t, "ping\n")
	l.app.hear(t, "ping\n")
	l.app.say(t, "pong\n")
	l.client.hear(t, "pong\n")
	l.events.passes(t, "data: x\n")
}

func (l lasting) ends(t testing.TB) {
	t.Helper()
	l.client.ended(t)
	l.app.ended(t)
	l.app.Close()
	l.events.cut(t)
}

func lastingRig(t testing.TB, pods int) (*rig, func(p *pod, session string) lasting, chan *source) {
	sides, sources := make(chan side, 8), make(chan *source, 8)
	r := newRig(t, []proxy.Rule{
		rule("public", "/*/public"), rule("optional", "/*/optional", optional), rule("stored", "/*/stored", required, ttl(time.Minute)),
		rule("mine", "/**", required, func(r *proxy.Rule) { r.Session.Require = map[string][]string{"role": {"admin"}} }),
	}, streams(t, sides, sources), 0)
	for range pods {
		r.addPod()
	}
	return r, func(p *pod, session string) lasting {
		t.Helper()
		client, app := p.upgrade(t, sides, "X-Session-ID: "+session+"\r\n")
		l := lasting{client, app, p.stream(t, "/events", session, sources)}
		l.goesOn(t)
		return l
	}, sources
}

func optional(r *proxy.Rule) { r.Session.Mode = "optional" }

const admin = `{"user_id": 7, "role": "admin"}`

// TestEndOfSession: tunnels and streams on every pod end with the session that opened
// them, whatever ends it, and no others do.
func TestEndOfSession(t *testing.T) {
	noLeak(t)
	r, open, _ := lastingRig(t, 2)
	r.setSession("other", admin)
	others := []lasting{open(r.pods[0], "other"), open(r.pods[1], "other")}
	for i, tt := range []struct {
		name    string
		command []string // with KEY
	}{
		{"DEL", []string{"DEL", "KEY"}},
		{"UNLINK", []string{"UNLINK", "KEY"}},
		{"RENAME", []string{"RENAME", "KEY", "elsewhere"}},
		{"expiry", []string{"PEXPIRE", "KEY", "150"}},
		{"another user", []string{"SET", "KEY", `{"user_id": 8, "role": "admin"}`}},
		{"another role", []string{"SET", "KEY", `{"user_id": 7, "role": "guest"}`}},
		{"no session", []string{"SET", "KEY", "nonsense"}},
		{"FLUSHDB", []string{"FLUSHDB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := fmt.Sprint("s", i)
			r.setSession(id, admin)
			one, two := open(r.pods[0], id), open(r.pods[1], id)
			for j := range tt.command {
				tt.command[j] = strings.Replace(tt.command[j], "KEY", "session:"+id, 1)
			}
			must(t, r.other.Do(context.Background(), r.other.B().Arbitrary(tt.command...).Build()).Error())
			one.ends(t)
			two.ends(t)
			for _, l := range others {
				if tt.name == "FLUSHDB" {
					l.ends(t)
				} else {
					l.goesOn(t)
				}
			}
		})
	}
	for _, p := range r.pods {
		p.endsAre(t, "session 9")
	}
}

// TestSessionGoesOn: renewal and update end nothing.
func TestSessionGoesOn(t *testing.T) {
	noLeak(t)
	r, open, _ := lastingRig(t, 2)
	r.setSession("s1", admin)
	all := []lasting{open(r.pods[0], "s1"), open(r.pods[1], "s1")}
	for _, command := range [][]string{
		{"EXPIRE", "session:s1", "9999"},
		{"SET", "session:s1", `{"user_id": "7", "role": ["user", "admin"], "cart": [1]}`, "EX", "3600"},
		{"PERSIST", "session:s1"},
	} {
		for _, p := range r.pods {
			// Else the change may come before the read that follows the one before, and
			// be seen by that.
			eventually(t, "the session is in memory", func() bool { return p.conn.Peek([]byte("session:s1"), time.Now()) != nil })
		}
		reads := []uint64{r.pods[0].conn.Stats().Reads, r.pods[1].conn.Stats().Reads}
		must(t, r.other.Do(context.Background(), r.other.B().Arbitrary(command...).Build()).Error())
		for i, p := range r.pods {
			eventually(t, "the pod has looked again", func() bool { return p.conn.Stats().Reads > reads[i] })
			all[i].goesOn(t)
		}
	}
	r.del("session:s1")
	all[0].ends(t)
	all[1].ends(t)
}

// TestLastingRoutes: a stream that is no stream of events is bound to its session once
// it has lasted, on any route that has a session; one that may be stored is too; one
// without a session is not.
func TestLastingRoutes(t *testing.T) {
	noLeak(t)
	r, _, sources := lastingRig(t, 1)
	p := r.pods[0]
	r.setSession("s1", admin)
	bound := map[string]stream{}
	for _, path := range []string{"/lines", "/lines/optional", "/events/optional", "/events/stored"} {
		bound[path] = p.stream(t, path, "s1", sources)
		bound[path].passes(t, "one\n")
	}
	public := p.stream(t, "/events/public", "s1", sources)
	visitor := p.stream(t, "/events/optional", "none", sources)
	brief := p.stream(t, "/lines", "s1", sources)
	brief.passes(t, "one\n")
	brief.app.lines <- ""
	if _, err := io.Copy(io.Discard, brief.br); err != nil {
		t.Errorf("a stream that ends by itself: %v", err)
	}
	r.del("session:s1")
	for path, s := range bound {
		t.Run(path, func(t *testing.T) { s.cut(t) })
	}
	public.passes(t, "still here\n")
	visitor.passes(t, "still here\n")
	close(public.app.lines)
	close(visitor.app.lines)
}

// TestLastingInAnOutage: while Redis is down nothing ends. Then the sessions that are
// gone are found gone.
func TestLastingInAnOutage(t *testing.T) {
	noLeak(t)
	r, open, _ := lastingRig(t, 0)
	r.hasty()
	r.addPod()
	r.setSession("s1", admin)
	l := open(r.pods[0], "s1")
	r.redis.Kill()
	eventually(t, "Redis is down", func() bool { return !r.pods[0].conn.Up() })
	l.goesOn(t)
	must(t, r.redis.Restart()) // it had nothing saved
	l.ends(t)
}
