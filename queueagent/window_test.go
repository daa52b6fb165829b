package queueagent

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// window is a queue whose agent is a process that can be killed, behind a proxy that
// stops it, or its words to Redis, at one point.
type window struct {
	*rig
	t     *testing.T
	kind  tasks.Kind
	proxy *redistest.Proxy
	sink  *sink
	cfg   Config
	keys  tasks.Keys
}

// forKinds runs a test on a list, a sorted set and a stream.
func forKinds(t *testing.T, answer func(*fasthttp.RequestCtx), test func(w *window)) {
	t.Helper()
	for _, kind := range []tasks.Kind{tasks.List, tasks.Delay, tasks.Stream} {
		t.Run(string(kind), func(t *testing.T) { test(newWindow(t, kind, answer)) })
	}
}

func newWindow(t *testing.T, kind tasks.Kind, answer func(*fasthttp.RequestCtx)) *window {
	t.Helper()
	r := newRig(t, true)
	w := &window{rig: r, t: t, kind: kind, proxy: redistest.StartProxy(t, r.srv.Addr), sink: newSink(t, answer)}
	w.cfg = testConfig("q", kind, "src", w.sink.url)
	w.cfg.Field, w.cfg.Delete = "task", kind == tasks.Stream
	w.keys = tasks.NewKeys("t:", "q", "src", "x")
	return w
}

func (w *window) push(payloads ...string) {
	w.t.Helper()
	for _, p := range payloads {
		switch w.kind {
		case tasks.List:
			w.do("RPUSH", "src", p)
		case tasks.Delay:
			w.do("ZADD", "src", "0", p)
		case tasks.Stream:
			w.do("XADD", "src", "*", "task", p)
		}
	}
}

func (w *window) sourceLen() int64 {
	w.t.Helper()
	return w.int(map[tasks.Kind]string{tasks.List: "LLEN", tasks.Delay: "ZCARD", tasks.Stream: "XLEN"}[w.kind], "src")
}

// start runs an agent's process behind the proxy.
func (w *window) start() (kill func()) {
	w.t.Helper()
	return child(w.t, childConfig{Addr: w.proxy.Addr, Tracking: true, Queues: []Config{w.cfg}})
}

// succeed runs the next process of the same agent, with nothing between it and Redis.
func (w *window) succeed() {
	w.t.Helper()
	w.cfg.Webhook.URL = w.sink.url
	child(w.t, childConfig{Addr: w.srv.Addr, Tracking: true, Queues: []Config{w.cfg}})
}

// trap harms the next call of a script, which Redis knows already: a reply that is lost
// must not be the one that asks for the script's text.
func (w *window) trap(script string, f redistest.Fault) *redistest.Trap {
	w.t.Helper()
	match := w.calls(script)
	if script == "ack" { // or along with the next claim, behind its 6 keys and 15 arguments
		acks, claims := match, w.calls("claim")
		match = func(words [][]byte) bool {
			return acks(words) || claims(words) && len(words) > 3+6+15
		}
	}
	return w.proxy.Trap(match, f)
}

// calls matches the calls of a script, and makes it known to Redis.
func (w *window) calls(script string) redistest.Match {
	w.t.Helper()
	texts := scriptTexts(w.t, script)
	for _, text := range texts {
		w.do("SCRIPT", "LOAD", text)
	}
	return redistest.ScriptCall(texts...)
}

// scriptTexts gives what a script can be made of.
func scriptTexts(t *testing.T, name string) []string {
	t.Helper()
	read := func(file string) string {
		text, err := os.ReadFile("tasks/scripts/" + file + ".lua")
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	own, common := read(name), read("common")
	return []string{own, common + own, common + read("stream") + own}
}

// sprung waits until the trap has caught the command.
func (w *window) sprung(trap *redistest.Trap) {
	w.t.Helper()
	select {
	case <-trap.Sprung():
	case <-time.After(20 * time.Second):
		w.t.Fatal("the command did not come within 20s")
	}
}

// settled waits until nothing is left of the queue but dead letters.
func (w *window) settled() {
	w.t.Helper()
	eventually(w.t, "the queue is empty", func() bool {
		return w.sourceLen() == 0 && w.int("EXISTS", w.keys.Records, w.keys.Leases, w.keys.Retry) == 0
	})
}

// flushed settles one more task: what would have come twice has come before it.
func (w *window) flushed() {
	w.t.Helper()
	w.push("last")
	eventually(w.t, "one more task is delivered", func() bool {
		return slices.ContainsFunc(w.sink.seen(), func(p post) bool { return p.body == "last" })
	})
	w.settled()
}

// want compares what the application got of a payload: "<reason> <attempt>" in order,
// all under one webhook-id, which it gives.
func (w *window) want(payload string, deliveries ...string) (id string) {
	w.t.Helper()
	var got []string
	for _, p := range w.sink.seen() {
		if p.body != payload {
			continue
		}
		got = append(got, p.header["Pillion-Reason"]+" "+p.header["Pillion-Attempt"])
		if id == "" {
			id = p.header["webhook-id"]
		}
		if p.header["webhook-id"] != id {
			w.t.Errorf("%q came as %s and as %s", payload, id, p.header["webhook-id"])
		}
	}
	if !slices.Equal(got, deliveries) {
		w.t.Errorf("%q was delivered %q: want %q", payload, got, deliveries)
	}
	return id
}

func (w *window) wantDeadLetters(n int64) {
	w.t.Helper()
	if got := w.int("XLEN", w.keys.Dead); got != n {
		w.t.Errorf("%d dead letters: want %d", got, n)
	}
}

// The claim's request or its reply is lost, and the agent asks again.
func TestWindowClaimLost(t *testing.T) {
	for name, fault := range map[string]redistest.Fault{"request": redistest.DropRequest, "reply": redistest.DropReply} {
		t.Run(name, func(t *testing.T) {
			forKinds(t, nil, func(w *window) {
				w.push("a", "b", "c")
				trap := w.trap("claim", fault)
				w.start()
				w.sprung(trap)
				w.settled()
				w.flushed()
				for _, p := range []string{"a", "b", "c"} {
					w.want(p, "first 1")
				}
			})
		})
	}
}

// The claim's reply is lost, and the agent is killed before it can ask again.
func TestWindowClaimReplyLostAndKilled(t *testing.T) {
	forKinds(t, nil, func(w *window) {
		w.push("a", "b", "c")
		lost, again := w.trap("claim", redistest.DropReply), w.trap("claim", redistest.Hold)
		kill := w.start()
		w.sprung(lost)
		w.sprung(again)
		kill()
		if n := w.int("ZCARD", w.keys.Leases); n != 3 {
			t.Errorf("%d leases: want 3", n)
		}
		w.succeed()
		w.settled()
		w.flushed()
		for _, p := range []string{"a", "b", "c"} {
			w.want(p, "crash 1")
		}
	})
}

// An acknowledgement is executed, or not, and its reply is lost; the agent lives and
// tells again, or is killed.
func TestWindowAckLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault redistest.Fault
		kill  bool
		want  []string
	}{
		{"request lost", redistest.DropRequest, false, []string{"first 1"}},
		{"reply lost", redistest.DropReply, false, []string{"first 1"}},
		{"request lost and killed", redistest.DropRequest, true, []string{"first 1", "crash 1"}},
		{"reply lost and killed", redistest.DropReply, true, []string{"first 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			forKinds(t, nil, func(w *window) { w.lose("ack", c.fault, c.kill); w.want("a", c.want...) })
		})
	}
}

// lose delivers the task "a" and loses the first call of a script; when the agent is
// to be killed, it is before it can call again.
func (w *window) lose(script string, fault redistest.Fault, killed bool) {
	w.t.Helper()
	w.cfg.Concurrency = 1 // so nothing is claimed until the call has succeeded
	w.push("a")
	trap := w.trap(script, fault)
	var again *redistest.Trap
	if killed {
		again = w.trap(script, redistest.Hold)
	}
	kill := w.start()
	w.sprung(trap)
	if killed {
		w.sprung(again)
		kill()
		again.Cut()
		w.succeed()
	}
	w.settled()
	w.flushed()
}

// The application has answered with 2xx, and the agent is killed before Redis knows:
// the one case in which a task must come twice, under the same id.
func TestWindowKilledBeforeAck(t *testing.T) {
	forKinds(t, nil, func(w *window) {
		w.push("a")
		held := w.trap("ack", redistest.Hold)
		kill := w.start()
		w.sprung(held)
		w.want("a", "first 1")
		kill()
		held.Cut()
		w.succeed()
		w.settled()
		w.flushed()
		w.want("a", "first 1", "crash 1")
	})
}

// failFirst answers the first delivery of each payload but "last" so, then 200.
func failFirst(code int) func(*fasthttp.RequestCtx) {
	first := make(chan struct{}, 1)
	first <- struct{}{}
	return func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Request.Body()) == "last" {
			return
		}
		select {
		case <-first:
			ctx.SetStatusCode(code)
		default:
		}
	}
}

// A failed attempt counts once, whatever is lost.
func TestWindowNackLost(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault redistest.Fault
		kill  bool
		want  []string
	}{
		{"request lost", redistest.DropRequest, false, []string{"first 1", "retry 2"}},
		{"reply lost", redistest.DropReply, false, []string{"first 1", "retry 2"}},
		{"request lost and killed", redistest.DropRequest, true, []string{"first 1", "crash 1"}},
		{"reply lost and killed", redistest.DropReply, true, []string{"first 1", "retry 2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, kind := range []tasks.Kind{tasks.List, tasks.Delay, tasks.Stream} {
				t.Run(string(kind), func(t *testing.T) {
					w := newWindow(t, kind, failFirst(500))
					w.lose("nack", c.fault, c.kill)
					w.want("a", c.want...)
					w.wantDeadLetters(0)
				})
			}
		})
	}
}

// A task becomes one dead letter, whatever is lost.
func TestWindowDeadLetterLost(t *testing.T) {
	gone := func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Request.Body()) != "last" {
			ctx.SetStatusCode(fasthttp.StatusGone)
		}
	}
	for _, c := range []struct {
		name  string
		fault redistest.Fault
		kill  bool
		want  []string
	}{
		{"request lost", redistest.DropRequest, false, []string{"first 1"}},
		{"reply lost", redistest.DropReply, false, []string{"first 1"}},
		{"request lost and killed", redistest.DropRequest, true, []string{"first 1", "crash 1"}},
		{"reply lost and killed", redistest.DropReply, true, []string{"first 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			forKinds(t, gone, func(w *window) {
				w.lose("bury", c.fault, c.kill)
				w.want("a", c.want...)
				w.wantDeadLetters(1)
			})
		})
	}
}

// A lost renewal, request or reply, is made again before the lease ends.
func TestWindowRenewLost(t *testing.T) {
	for name, fault := range map[string]redistest.Fault{"request": redistest.DropRequest, "reply": redistest.DropReply} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			w := newWindow(t, tasks.List, func(ctx *fasthttp.RequestCtx) {
				if string(ctx.Request.Body()) == "a" {
					<-release
				}
			})
			w.cfg.Lease = 3 * time.Second
			w.push("a")
			lost, next := w.trap("renew", fault), w.trap("renew", redistest.DropReply)
			w.start()
			w.sprung(lost)
			w.sprung(next)
			close(release)
			w.settled()
			w.flushed()
			w.want("a", "first 1")
		})
	}
}

// The call that takes leases away is lost: each lease is taken once, and counted once.
func TestWindowReapLost(t *testing.T) {
	for name, fault := range map[string]redistest.Fault{"request": redistest.DropRequest, "reply": redistest.DropReply} {
		t.Run(name, func(t *testing.T) {
			w := newWindow(t, tasks.List, nil)
			w.push("a", "b")
			mustClaim(t, w.store("the-agent", tasks.List, "src", time.Minute), 1, 2)
			trap := w.trap("reap", fault)
			w.start()
			w.sprung(trap)
			w.settled()
			w.flushed()
			w.want("a", "crash 1")
			w.want("b", "crash 1")
		})
	}
}

// Redis has forgotten the scripts, as after a failover to a replica.
func TestWindowScriptsForgotten(t *testing.T) {
	w := newWindow(t, tasks.List, failFirst(500))
	w.start()
	for i := range 5 {
		w.do("SCRIPT", "FLUSH")
		w.push("t" + strconv.Itoa(i))
		w.settled()
	}
	if n := len(w.sink.seen()); n != 6 {
		t.Errorf("%d deliveries: want 5 and a retry", n)
	}
}
