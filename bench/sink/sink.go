// Package sink is the application that tasks are delivered to: it answers 200, counts
// what came, and knows which tasks came at least once.
package sink

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/bench/latency"
)

// MostTasks bounds the ids that a sink can tell apart.
const MostTasks = 1 << 24

// Payload makes a task of about 200 bytes. The time, in microseconds since 1970, is
// when it was sent or is due; 0 takes it out of the latencies.
func Payload(id int, at int64) []byte {
	return fmt.Appendf(nil, `{"type":"t","data":{"id":%d,"at":%d,"text":"%s"}}`, id, at, filler)
}

const filler = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore magna aliqua. Ut enim ad minim"

// Sink is the application. It is safe for concurrent use.
type Sink struct {
	tasks    int // ids from 0
	seen     []atomic.Uint64
	received atomic.Int64
	distinct atomic.Int64
	bad      atomic.Int64
	marks    []mark

	mu      sync.Mutex
	latency *latency.Histogram
}

// mark is a number of distinct tasks at which the clock is read.
type mark struct {
	count   int64
	at      time.Time // once reached is closed
	reached chan struct{}
}

// New makes a sink for tasks with the ids 0 to tasks-1, which reads the clock when so
// many different tasks have come as each mark says.
func New(tasks int, marks ...int) *Sink {
	s := &Sink{tasks: tasks, seen: make([]atomic.Uint64, tasks/64+1), latency: latency.New()}
	for _, n := range marks {
		s.marks = append(s.marks, mark{count: int64(n), reached: make(chan struct{})})
	}
	return s
}

// Handle answers one request: a task by POST, or a question by GET.
func (s *Sink) Handle(ctx *fasthttp.RequestCtx) {
	now := time.Now()
	if !ctx.IsPost() {
		s.answer(ctx)
		return
	}
	body := ctx.PostBody()
	id, ok := number(body, `"id":`)
	if !ok || id < 0 || id >= int64(s.tasks) {
		s.bad.Add(1)
		ctx.Error("this is no task of this run", fasthttp.StatusBadRequest)
		return
	}
	s.count(int(id), now)
	if at, ok := number(body, `"at":`); ok && at > 0 {
		s.mu.Lock()
		s.latency.Record(now.Sub(time.UnixMicro(at)))
		s.mu.Unlock()
	}
}

func (s *Sink) count(id int, now time.Time) {
	s.received.Add(1)
	bit := uint64(1) << (id % 64)
	if s.seen[id/64].Or(bit)&bit != 0 {
		return
	}
	n := s.distinct.Add(1)
	for i := range s.marks {
		if s.marks[i].count == n {
			s.marks[i].at = now
			close(s.marks[i].reached)
		}
	}
}

// number finds the digits after a name.
func number(body []byte, name string) (int64, bool) {
	i := bytes.Index(body, []byte(name))
	if i < 0 {
		return 0, false
	}
	rest := body[i+len(name):]
	n := 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(string(rest[:n]), 10, 64)
	return v, err == nil
}

// State is what a sink has got.
type State struct {
	Received int64     `json:"received"`
	Distinct int64     `json:"distinct"`
	Bad      int64     `json:"bad"`
	Seen     time.Time `json:"seen"` // when it was so
	At       time.Time `json:"at"`   // when the mark that was asked for was reached
}

// State gives the counts.
func (s *Sink) State() State {
	return State{Received: s.received.Load(), Distinct: s.distinct.Load(), Bad: s.bad.Load(), Seen: time.Now()}
}

// Reached is closed when a mark has been reached.
func (s *Sink) Reached(i int) <-chan struct{} { return s.marks[i].reached }

// Latencies gives the times from what tasks say of themselves until they came, and
// begins anew.
func (s *Sink) Latencies() *latency.Histogram {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.latency
	s.latency = latency.New()
	return h
}

// answer gives the state: at once for /state, and for /wait?mark=n once that mark has
// been reached, or after the time that it names.
func (s *Sink) answer(ctx *fasthttp.RequestCtx) {
	var at time.Time
	if string(ctx.Path()) == "/wait" {
		i := ctx.QueryArgs().GetUintOrZero("mark")
		if i >= len(s.marks) {
			ctx.Error("there is no such mark", fasthttp.StatusBadRequest)
			return
		}
		patience := time.NewTimer(time.Duration(ctx.QueryArgs().GetUintOrZero("seconds")) * time.Second)
		defer patience.Stop()
		select {
		case <-s.marks[i].reached:
			at = s.marks[i].at
		case <-patience.C:
			ctx.SetStatusCode(fasthttp.StatusGatewayTimeout)
		}
	}
	st := s.State()
	st.At = at
	b, _ := json.Marshal(st) // of plain values: never fails
	ctx.SetContentType("application/json")
	ctx.SetBody(b)
}
