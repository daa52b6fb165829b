package queueagent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
	"github.com/pillion-proxy/pillion/units"
)

// sources are one of each kind; "fields" is a stream without a field for the payload.
func enqueueConfigs(url string) []Config {
	list := testConfig("list", tasks.List, "l", url+"/list")
	right := testConfig("right", tasks.List, "r", url+"/right")
	right.Pop = PopRight
	delay := testConfig("delay", tasks.Delay, "d", url+"/delay")
	stream := testConfig("stream", tasks.Stream, "s", url+"/stream")
	stream.Field = "payload"
	fields := testConfig("fields", tasks.Stream, "f", url+"/fields")
	return []Config{list, right, delay, stream, fields}
}

func TestEnqueue(t *testing.T) {
	for _, tracking := range []bool{true, false} {
		r := newRig(t, tracking)
		s := newSink(t, nil)
		cfgs := enqueueConfigs(s.url)
		a := r.run(cfgs)
		ctx := context.Background()
		big := strings.Repeat("0123456789", 1<<19) // 5 MiB: more than a claim otherwise replies with
		payloads := []string{"\x00\xff\r\n{", big, "same", "same"}
		for _, cfg := range cfgs {
			for _, p := range payloads {
				if dup, err := a.Enqueue(ctx, cfg.Name, NewTask{Payload: p}); dup || err != nil {
					t.Fatalf("%s: %t, %v", cfg.Name, dup, err)
				}
			}
		}
		want := len(cfgs) * len(payloads)
		eventually(t, "all are delivered", func() bool { return delivered(a) == uint64(want) })
		got := map[string]int{}
		for _, p := range s.seen() {
			got[p.path+p.body]++
		}
		for _, cfg := range cfgs {
			for _, p := range payloads {
				if n, wants := got["/"+cfg.Name+p], strings.Count(strings.Join(payloads, "|"), p); n != wants {
					t.Errorf("%s: %.10q was delivered %d times: want %d", cfg.Name, p, n, wants)
				}
			}
		}
		for i, st := range a.Stats() {
			if st.Enqueued != 4 || st.Duplicates != 0 || st.EnqueueFailed != 0 {
				t.Errorf("%s: %+v", st.Name, st)
			}
			eventually(t, "slots are free", func() bool { return a.Stats()[i].InFlight == 0 })
		}
	}
}

func delivered(a *Agent) (n uint64) {
	for _, st := range a.Stats() {
		n += st.Delivered
	}
	return n
}

// A delay holds for each kind of source, and wakes the claimer without a poll.
func TestEnqueueDelayed(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	a := r.run(enqueueConfigs(s.url))
	due := map[string]time.Time{}
	for i, st := range a.Stats() {
		delay := time.Duration(100+50*i) * time.Millisecond
		due["/"+st.Name] = time.Now().Add(delay)
		if dup, err := a.Enqueue(context.Background(), st.Name, NewTask{Payload: "x", Delay: delay}); dup || err != nil {
			t.Fatalf("%s: %t, %v", st.Name, dup, err)
		}
	}
	eventually(t, "all are delivered", func() bool { return delivered(a) == uint64(len(due)) })
	for _, p := range s.seen() {
		if early := due[p.path].Sub(p.at); early > 0 {
			t.Errorf("%s: the task came %s before it was due", p.path, early)
		}
		if p.header["Pillion-Attempt"] != "1" || p.header["Pillion-Reason"] != "first" {
			t.Errorf("%s: attempt %s, %s", p.path, p.header["Pillion-Attempt"], p.header["Pillion-Reason"])
		}
	}
}

func TestEnqueueOnce(t *testing.T) {
	r := newRig(t, true)
	s := newSink(t, nil)
	a := r.run(enqueueConfigs(s.url))
	add := func(queue string, task NewTask) bool {
		t.Helper()
		dup, err := a.Enqueue(context.Background(), queue, task)
		if err != nil {
			t.Fatalf("%s: %v", queue, err)
		}
		return dup
	}
	for _, st := range a.Stats() {
		for i, want := range []bool{false, true, true} {
			if dup := add(st.Name, NewTask{Payload: "x", Dedup: "order 7"}); dup != want {
				t.Errorf("%s, call %d: duplicate is %t", st.Name, i+1, dup)
			}
		}
		if add(st.Name, NewTask{Payload: "y", Dedup: "order 8", DedupFor: MaxDedupFor}) {
			t.Errorf("%s: another key counts as a duplicate", st.Name)
		}
	}
	eventually(t, "two of each are delivered", func() bool { return delivered(a) == 10 })
	for i, st := range a.Stats() {
		if st.Enqueued != 2 || st.Duplicates != 2 {
			t.Errorf("%+v", st)
		}
		key := a.queues[i].store.Keys.Control
		key = strings.TrimSuffix(key, "control") + "dedup:order 7"
		if ms := r.int("PTTL", key); ms <= 0 || ms > DefaultDedupFor.Milliseconds() {
			t.Errorf("%s: the deduplication key lives for %d ms", st.Name, ms)
		}
	}
	// The delivered task stays a duplicate until its time is over.
	if !add("list", NewTask{Payload: "x", Dedup: "order 7"}) {
		t.Error("a task that was delivered was added again")
	}
	if add("list", NewTask{Payload: "z", Dedup: "short", DedupFor: time.Millisecond}) {
		t.Error("a new key counts as a duplicate")
	}
	eventually(t, "the key ends", func() bool { return !add("list", NewTask{Payload: "z", Dedup: "short", DedupFor: time.Millisecond}) })
}

func TestEnqueueRefused(t *testing.T) {
	r := newRig(t, true)
	fifo := testConfig("fifo", tasks.List, "o", "http://127.0.0.1:1/")
	fifo.FIFO = true
	fields := testConfig("fields", tasks.Stream, "f", "http://127.0.0.1:1/")
	fields.FIFO = true
	small := testConfig("small", tasks.List, "l", "http://127.0.0.1:1/")
	small.MaxPayload = 4 * units.KiB
	a, err := New([]Config{fifo, fields, small}, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		queue string
		task  NewTask
		want  string
	}{
		{"none", NewTask{Payload: "x"}, `no queue "none"`},
		{"fifo", NewTask{Payload: "x", Delay: time.Millisecond}, "cannot be delayed"},
		{"fields", NewTask{Payload: "x"}, "overtake"},
		{"small", NewTask{}, "empty"},
		{"small", NewTask{Payload: strings.Repeat("x", 4097)}, "4097 bytes, and max_payload is 4KiB"},
		{"small", NewTask{Payload: "x", Delay: -1}, "delay"},
		{"small", NewTask{Payload: "x", Delay: MaxDelay + 1}, "delay"},
		{"small", NewTask{Payload: "x", Dedup: strings.Repeat("k", 257)}, "257 bytes"},
		{"small", NewTask{Payload: "x", DedupFor: time.Hour}, "without a key"},
		{"small", NewTask{Payload: "x", Dedup: "k", DedupFor: MaxDedupFor + 1}, "out of range"},
		{"small", NewTask{Payload: "x", Dedup: "k", DedupFor: -1}, "out of range"},
	} {
		_, err := a.Enqueue(context.Background(), c.queue, c.task)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %+v: %v: want %q", c.queue, c.task.Delay, err, c.want)
			continue
		}
		var wrong *TaskError
		var unknown *UnknownQueueError
		if !errors.As(err, &wrong) && !errors.As(err, &unknown) {
			t.Errorf("%s: %T", c.queue, err)
		}
		if wrong != nil && wrong.TooLarge != strings.Contains(c.want, "max_payload") {
			t.Errorf("%s: too large is %t", c.want, wrong.TooLarge)
		}
	}
	if n := r.int("DBSIZE"); n != 0 {
		t.Errorf("%d keys were written", n)
	}
	if _, err := a.Enqueue(context.Background(), "fifo", NewTask{Payload: "x"}); err != nil {
		t.Errorf("a task for a list in order: %v", err)
	}
}

// What Redis refuses is not added; what it does not answer may be.
func TestEnqueueWithoutRedis(t *testing.T) {
	r := newRig(t, true)
	a, err := New([]Config{testConfig("q", tasks.List, "l", "http://127.0.0.1:1/")}, r.redis, "t:", "agent-1", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	fails := func(unknown bool) {
		t.Helper()
		var down *UnavailableError
		if _, err := a.Enqueue(context.Background(), "q", NewTask{Payload: "x"}); !errors.As(err, &down) || down.Unknown != unknown {
			t.Errorf("%v: want unknown %t", err, unknown)
		}
	}
	r.do("SET", "l", "no list")
	fails(false)
	r.do("DEL", "l")
	r.do("CONFIG", "SET", "maxmemory", "1")
	fails(false)
	r.do("CONFIG", "SET", "maxmemory", "0")
	r.redis.isDown.Store(true)
	fails(false)
	if n := r.int("LLEN", "l"); n != 0 {
		t.Errorf("%d tasks were added", n)
	}
	r.redis.isDown.Store(false) // before that is noticed
	r.srv.Kill()
	fails(true)
	if st := a.Stats()[0]; st.EnqueueFailed != 4 || st.Enqueued != 0 {
		t.Errorf("%+v", st)
	}
}
