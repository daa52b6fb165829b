//go:build linux

package ledger

import (
	"context"
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

var backlog = flag.Int("backlog", 200_000, "tasks of TestBacklog")

func mib(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// commandCount sums what commandstats counts, inner calls of scripts included.
func commandCount(t *testing.T, c rueidis.Client) (n int64) {
	t.Helper()
	info, err := redistest.Do(t, c, "INFO", "commandstats").ToString()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range strings.Split(info, "\r\n") {
		if _, calls, ok := strings.Cut(row, "calls="); ok {
			calls, _, _ = strings.Cut(calls, ",")
			one, _ := strconv.ParseInt(calls, 10, 64)
			n += one
		}
	}
	return n
}

// idleRate measures how many commands per second Redis executes when everything rests.
func idleRate(t *testing.T, c rueidis.Client) float64 {
	t.Helper()
	const watched = 5
	// Workers end, and the look after the last leases is over, some seconds later; and a
	// rate takes time to measure.
	awaitEnd(nil, 2*watched*time.Second)
	began := time.Now()
	before := commandCount(t, c)
	awaitEnd(nil, watched*time.Second)
	return float64(commandCount(t, c)-before) / time.Since(began).Seconds()
}

// TestThousandQueues: as many queues, of every kind, in one process. Each delivers, and
// idle they cost little.
func TestThousandQueues(t *testing.T) {
	const count = 1000
	var delivered atomic.Int64
	got := make([]atomic.Int64, count)
	addr := serve(t, func(ctx *fasthttp.RequestCtx) {
		n, _ := strconv.Atoi(string(ctx.Request.Body()))
		got[n].Add(1)
		delivered.Add(1)
	})
	srv := redistest.Start(t)
	c := redistest.Client(t, srv)
	var config strings.Builder
	config.WriteString("log: { level: error }\nqueues:\n")
	for i := range count {
		kind, extra := string(sources[i%len(sources)]), ""
		if kind == "stream" {
			extra = ", field: task, delete: true"
		}
		fmt.Fprintf(&config, "  - { name: q%d, %s: \"limit:%d\"%s, webhook: { url: \"http://%s/\" } }\n", i, kind, i, extra, addr)
	}
	a := newAgent(t, programtest.Build(t), "agent-1", config.String(), srv.Addr)
	a.start()
	for round := range int64(2) { // what is there at the start, and what comes to a queue that waits
		for i := range count {
			add(t, c, string(sources[i%len(sources)]), "limit:"+strconv.Itoa(i), 0, strconv.Itoa(i))
		}
		programtest.Eventually(t, patience, "each queue delivers", func() bool { return delivered.Load() == (round+1)*count })
	}
	for i := range got {
		if n := got[i].Load(); n != 2 {
			t.Errorf("queue %d delivered %d tasks: want 2", i, n)
		}
	}
	perQueue := idleRate(t, c) / count
	memory := a.memory()
	t.Logf("%d queues: %.2f commands/s to a queue while idle, resident %s (%.0f KiB to a queue)", count, perQueue, mib(memory), float64(memory)/1024/count)
	if perQueue >= 5 {
		t.Errorf("%.2f commands/s to a queue: want under 5", perQueue)
	}
	n := a.countGoroutines()
	t.Logf("%d goroutines (%.1f to a queue)", n, float64(n)/count)
	if n < count || n > 10*count {
		t.Errorf("%d goroutines: want 1 to 10 to a queue", n)
	}
}

// TestBigPayloads: payloads of 10 MB of any bytes, 16 at once of each kind.
func TestBigPayloads(t *testing.T) {
	const size, count = 10_000_000, 20 // of each kind
	hash := maphash.MakeSeed()
	body := make([]byte, size)
	chacha := rand.NewChaCha8([32]byte{1})
	_, _ = chacha.Read(body)
	task := func(i int) []byte { copy(body, fmt.Sprintf("%06d", i)); return body }
	sums := make([]uint64, 3*count)
	for i := range sums {
		sums[i] = maphash.Bytes(hash, task(i))
	}
	var wrong, delivered atomic.Int64
	got := make([]atomic.Int64, len(sums))
	addr := serve(t, func(ctx *fasthttp.RequestCtx) {
		b := ctx.Request.Body()
		n, err := strconv.Atoi(string(b[:min(6, len(b))]))
		if err != nil || n >= len(sums) || maphash.Bytes(hash, b) != sums[n] {
			wrong.Add(1)
			return
		}
		got[n].Add(1)
		delivered.Add(1)
	})
	srv := redistest.Start(t)
	c := redistest.Client(t, srv)
	config := "log: { level: error }\nqueues:\n"
	for _, kind := range sources {
		extra := ""
		if kind == "stream" {
			extra = ", field: task, delete: true"
		}
		config += fmt.Sprintf("  - { name: %[1]s, %[1]s: \"big:%[1]s\"%[2]s, concurrency: 16, webhook: { url: \"http://%[3]s/\", timeout: 60s } }\n", kind, extra, addr)
	}
	for i := range sums {
		kind := string(sources[i%len(sources)])
		add(t, c, kind, "big:"+kind, i, string(task(i)))
	}
	a := newAgent(t, programtest.Build(t), "agent-1", config, srv.Addr)
	a.start()
	var peak int64
	programtest.Eventually(t, patience, "all is delivered and settled", func() bool {
		peak = max(peak, a.memory())
		return delivered.Load() >= int64(len(sums)) && idle(t, c, "big:list", "list") && idle(t, c, "big:delay", "delay") && idle(t, c, "big:stream", "stream")
	})
	for i := range got {
		if n := got[i].Load(); n != 1 {
			t.Errorf("task %d was delivered %d times", i, n)
		}
	}
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d deliveries with wrong bytes", n)
	}
	held := int64(size * 16 * len(sources))
	t.Logf("%d payloads of %d bytes, %s in flight at most: resident %s at the most", len(sums), size, mib(held), mib(peak))
	if peak > 4*held {
		t.Errorf("resident %s: more than four times what may be in flight, %s", mib(peak), mib(held))
	}
}

// TestBacklog: many tasks wait when the agent starts. Its memory does not depend on how
// many.
func TestBacklog(t *testing.T) {
	total := *backlog
	b := newBook(3 * total) // of which those of the kind "list" are used
	addr := serve(t, func(ctx *fasthttp.RequestCtx) {
		n, ok := number(ctx.Request.Body(), 3*total)
		if !ok {
			b.corrupt.Add(1)
			return
		}
		b.note(n, ctx.Request.Header.Peek("webhook-id"), ctx.Request.Header.Peek("Pillion-Reason"))
	})
	srv := redistest.Start(t)
	c := redistest.Client(t, srv)
	began := time.Now()
	pushAll(t, c, total)
	t.Logf("%d tasks pushed in %s", total, time.Since(began).Round(time.Millisecond))
	a := newAgent(t, programtest.Build(t), "agent-1", fmt.Sprintf("log: { level: error }\nqueues:\n  - { name: list, list: \"backlog:list\", concurrency: 256, webhook: { url: \"http://%s/\" } }\n", addr), srv.Addr)
	began = time.Now()
	a.start()
	const steps = 10
	var first, last int64
	for i := range steps {
		mark := int64(total / steps * (i + 1))
		progress, at := int64(0), time.Now()
		for b.distinct.Load() < mark {
			if n := b.distinct.Load(); n != progress {
				progress, at = n, time.Now()
			} else if time.Since(at) > patience {
				t.Fatalf("stuck at %d of %d tasks", n, total)
			}
			awaitEnd(nil, askEvery)
		}
		last = a.memory()
		if i == 0 {
			first = last
		}
		t.Logf("%d delivered: resident %s", mark, mib(last))
	}
	programtest.Eventually(t, patience, "all is settled", func() bool {
		return length(t, c, "list", "backlog:list") == 0 && idle(t, c, "backlog:list", "list")
	})
	took := time.Since(began)
	if n := b.distinct.Load(); n != int64(total) || b.corrupt.Load() > 0 {
		t.Errorf("%d of %d tasks were delivered, %d with wrong bytes", n, total, b.corrupt.Load())
	}
	t.Logf("%s, %.0f tasks/s", took.Round(time.Millisecond), float64(total)/took.Seconds())
	if last > first+first/2+(32<<20) {
		t.Errorf("resident memory grows from %s to %s", mib(first), mib(last))
	}
}

// pushAll fills a list by a pipeline.
func pushAll(t *testing.T, c rueidis.Client, total int) {
	t.Helper()
	const batch, pipeline = 500, 20
	var buf []byte
	for n := 0; n < total; {
		var cmds rueidis.Commands
		for range pipeline {
			args := make([]string, 0, batch)
			for len(args) < batch && n < total {
				buf = payload(buf[:0], 3*n)
				args = append(args, string(buf))
				n++
			}
			if len(args) > 0 {
				cmds = append(cmds, c.B().Rpush().Key("backlog:list").Element(args...).Build())
			}
		}
		for _, r := range c.DoMulti(context.Background(), cmds...) {
			if err := r.Error(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
