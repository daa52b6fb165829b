package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// gate is an application that stops where a test wants it to: it answers with the
// version that it read when the request came.
type gate struct {
	version          atomic.Int64
	hold             atomic.Bool // stop the next request
	arrived, release chan struct{}
	answer           func(w http.ResponseWriter, q *http.Request, version int64, pass func())
}

func newGate(answer func(w http.ResponseWriter, q *http.Request, version int64, pass func())) *gate {
	return &gate{arrived: make(chan struct{}), release: make(chan struct{}), answer: answer}
}

func (g *gate) handle(w http.ResponseWriter, q *http.Request) {
	v, held := g.version.Load(), g.hold.Swap(false)
	pass := func() {
		if held {
			g.arrived <- struct{}{}
			<-g.release
			held = false
		}
	}
	g.answer(w, q, v, pass)
}

func plain(w http.ResponseWriter, _ *http.Request, version int64, pass func()) {
	pass()
	io.WriteString(w, versionBody(version, 100))
}

func (p *pod) version(t *testing.T, header ...string) int64 {
	t.Helper()
	got := p.do(t, "GET", "/x", append(header, "Host", "h")...)
	v, err := versionOf(got.body)
	if err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	return v
}

func (p *pod) purgeURL(t *testing.T) {
	t.Helper()
	_, err := p.handler.PurgeURL(context.Background(), "h", "/x")
	must(t, err)
}

// A HEAD that was under way during a purge must not bring back the entry that it
// updates (RFC 9111 §4.3.5).
func TestHeadDoesNotBringBackWhatWasPurged(t *testing.T) {
	g := newGate(func(w http.ResponseWriter, q *http.Request, version int64, pass func()) {
		pass()
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, version))
		body := versionBody(version, 100)
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		io.WriteString(w, body)
	})
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, g.handle, 1)
	p := r.pods[0]
	p.version(t)
	g.hold.Store(true)
	done := make(chan reply)
	go func() { done <- p.do(t, "HEAD", "/x", "Host", "h", "Cache-Control", "no-cache") }()
	<-g.arrived
	g.version.Store(1)
	p.purgeURL(t)
	close(g.release)
	<-done
	if v := p.version(t); v != 1 {
		t.Errorf("version %d came back", v)
	}
}

// A fill for one variant finds that the response does not vary any more, or by other
// fields: it writes the primary key, whose lease it did not have during the purge.
func TestFillThatReplacesAnIndexDoesNotSurviveAPurge(t *testing.T) {
	for _, vary := range []string{"", "X-Other"} {
		t.Run("vary "+vary, func(t *testing.T) {
			g := newGate(func(w http.ResponseWriter, q *http.Request, version int64, pass func()) {
				w.Header().Set("Vary", "Accept-Language")
				if q.Header.Get("Accept-Language") == "fr" {
					w.Header().Set("Vary", vary)
				}
				plain(w, q, version, pass)
			})
			r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, g.handle, 1)
			p := r.pods[0]
			p.version(t, "Accept-Language", "de")
			g.hold.Store(true)
			done := make(chan int64)
			go func() { done <- p.version(t, "Accept-Language", "fr") }()
			<-g.arrived
			g.version.Store(1)
			p.purgeURL(t)
			close(g.release)
			<-done
			if v := p.version(t, "Accept-Language", "fr"); v != 1 {
				t.Errorf("version %d came back", v)
			}
		})
	}
}

// A request after a purge must not join a fill from before it whose body is still
// coming; not even when another pod holds a lease of the same name by then.
func TestPurgeEndsTheSharingOfABodyThatIsComing(t *testing.T) {
	for purger := range 2 {
		t.Run(fmt.Sprint("purged on pod ", purger), func(t *testing.T) {
			g := newGate(func(w http.ResponseWriter, q *http.Request, version int64, pass func()) {
				body := versionBody(version, 200_000)
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				if version == 0 {
					io.WriteString(w, body[:len(body)/2])
					w.(http.Flusher).Flush()
				}
				pass()
				if version == 0 {
					body = body[len(body)/2:]
				}
				io.WriteString(w, body)
			})
			r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, g.handle, 2)
			a, b := r.pods[0], r.pods[1]
			tr := keepAlive(t)
			old, filler := make(chan reply, 1), make(chan reply, 1)
			ask := func(p *pod, to chan reply) { got, _ := p.ask(tr, "GET", "/x"); to <- got }
			g.hold.Store(true)
			go ask(a, old)
			<-g.arrived // half of version 0 is on its way through A
			eventually(t, "A has the head", func() bool { return joins(t, a) })
			g.version.Store(1)
			r.pods[purger].purgeURL(t)
			g.hold.Store(true)
			go ask(b, filler)
			<-g.arrived // B holds the lease
			after := make(chan reply, 1)
			go ask(a, after)
			select {
			case got := <-after: // version 0 cannot be whole yet, version 1 may
				if v, err := versionOf(got.body); v != 1 || err != nil {
					t.Errorf("version %d, %v", v, err)
				}
				after <- got
			case <-time.After(200 * time.Millisecond): // it waits, as it should
			}
			close(g.release)
			if v, err := versionOf((<-after).body); v != 1 || err != nil {
				t.Errorf("a request after the purge got version %d, %v", v, err)
			}
			<-old
			<-filler
		})
	}
}

// joins says whether a request is answered with the head of the fill that is under way.
func joins(t *testing.T, p *pod) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+p.addr+"/x", nil)
	must(t, err)
	req.Host = "h"
	resp, err := transport().RoundTrip(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return strings.Contains(resp.Header.Get("Cache-Status"), "collapsed")
}

// A fill that began while Redis was down has no lease to lose. Redis is back, a purge
// is answered: who comes then must not share that fill.
func TestFillFromAnOutageIsNotSharedAfterAPurge(t *testing.T) {
	g := newGate(plain)
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, g.handle, 0)
	r.hasty()
	p := r.addPod()
	r.redis.Kill()
	eventually(t, "down", func() bool { return !p.conn.Up() })
	g.hold.Store(true)
	old := make(chan int64, 1)
	go func() { old <- p.version(t) }()
	<-g.arrived
	must(t, r.redis.Restart())
	eventually(t, "up", p.conn.Up)
	g.version.Store(1)
	p.purgeURL(t)
	after := make(chan int64, 1)
	go func() { after <- p.version(t) }()
	select {
	case v := <-after:
		after <- v
	case <-time.After(500 * time.Millisecond): // it waits for the old fill
	}
	close(g.release)
	if v := <-after; v != 1 {
		t.Errorf("a request after the purge got version %d", v)
	}
	<-old
}

// A request has looked up an entry that is to be validated, and waits for the lease,
// when the entry is purged: a 304 must not bring it back.
func TestValidationDoesNotBringBackWhatWasPurged(t *testing.T) {
	g := newGate(func(w http.ResponseWriter, q *http.Request, version int64, pass func()) {
		w.Header().Set("ETag", `"same"`)
		if q.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		plain(w, q, version, pass)
	})
	r := newRig(t, []proxy.Rule{rule("all", "/**", ttl(time.Minute))}, g.handle, 1)
	p := r.pods[0]
	p.version(t)
	key, _ := cache.AppendKey(nil, &cache.KeyParts{Scope: cache.ScopePublic, Host: []byte("h"), Path: []byte("/x")})
	lease := cache.LeaseName("pillion:", cache.HashKey(key))
	must(t, r.other.Do(context.Background(), r.other.B().Set().Key(lease).Value("another pod's").PxMilliseconds(60_000).Build()).Error())
	sets := commandCalls(t, r)["set"]
	done := make(chan int64)
	go func() { done <- p.version(t, "Cache-Control", "no-cache") }()
	eventually(t, "it asks for the lease", func() bool { return commandCalls(t, r)["set"] > sets })
	g.version.Store(1)
	p.purgeURL(t)
	<-done
	if v := p.version(t); v != 1 {
		t.Errorf("version %d came back", v)
	}
}
