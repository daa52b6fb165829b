package queueagent

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

// documentedACL gives the words of the ACL SETUSER command in docs/operations.md.
func documentedACL(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```text\nACL SETUSER ")
	command, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/operations.md has no ACL SETUSER command")
	}
	return append([]string{"ACL", "SETUSER"}, strings.Fields(command)...)
}

// The user that the documentation describes may do all that queues need.
func TestDocumentedACLIsEnough(t *testing.T) {
	words := documentedACL(t)
	for _, tracking := range []bool{true, false} {
		t.Run(fmt.Sprintf("tracking %v", tracking), func(t *testing.T) {
			r := newRig(t, tracking)
			r.do(words...)
			user, err := newFake(r.srv.Addr, tracking, func(o *rueidis.ClientOption) { o.Username, o.Password = "pillion", "PASSWORD" })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(user.client.Close)
			r.redis.client.Close()
			r.redis = user
			s := newSink(t, status(500, 410, 200))
			cfgs := []Config{
				testConfig("list", tasks.List, "app:tasks", s.url),
				testConfig("delay", tasks.Delay, "app:delayed", s.url),
				testConfig("stream", tasks.Stream, "app:events", s.url),
			}
			cfgs[2].Delete, cfgs[2].MinIdle = true, time.Second
			for i := range cfgs {
				cfgs[i].Rate = Rate{Limit: 1000, Per: time.Second}
			}
			a, err := New(cfgs, r.redis, "pillion:", "agent-1", zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- a.Run(context.Background()) }()
			for i := range 10 {
				r.do("RPUSH", "app:tasks", strconv.Itoa(i))
				r.do("ZADD", "app:delayed", "1", strconv.Itoa(i))
				r.do("XADD", "app:events", "*", "n", strconv.Itoa(i))
			}
			eventually(t, "30 tasks are done, one of them dead", func() bool {
				n := uint64(0)
				for _, st := range a.Stats() {
					n += st.Delivered + st.DeadLettered
				}
				return n == 30
			})
			time.Sleep(1600 * time.Millisecond) // a round of each that only looks
			if _, err := a.Depths(context.Background()); err != nil {
				t.Error(err)
			}
			operate(t, a, cfgs, r.redis)
			if err := a.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			log, err := r.do("ACL", "LOG").ToArray()
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range log {
				m, _ := entry.AsStrMap()
				if m["object"] != "client|setinfo" && m["object"] != "config|get" { // without it, a part is not known
					t.Errorf("refused: %v", m)
				}
			}
		})
	}
}

// operate does what an operator does.
func operate(t *testing.T, a *Agent, cfgs []Config, redis Redis) {
	t.Helper()
	ctx := context.Background()
	_, e1 := Fsck(ctx, cfgs, redis, "pillion:", true)
	_, e2 := a.Replay(ctx, "list", nil, tasks.DeadFilter{ID: "none"})
	_, e3 := a.DeleteDead(ctx, "list", []tasks.EntryID{{MS: 1}}, tasks.DeadFilter{})
	_, e4 := a.DeadLetters(ctx, "stream", tasks.DeadQuery{Newest: true})
	for i, err := range []error{e1, e2, e3, e4, a.Pause(ctx, "list"), a.Resume(ctx, "list")} {
		if err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if _, err := a.Resolve(ctx, "list", tasks.Resolution{ID: "none", Action: tasks.ActAck}); err != ErrNoTask {
		t.Error(err)
	}
}
