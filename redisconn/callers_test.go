package redisconn

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// goroutineID is what a goroutine's stack trace begins with.
func goroutineID() string {
	buf := make([]byte, 64)
	return strings.Fields(string(buf[:runtime.Stack(buf, false)]))[1]
}

// Each call is made once, whatever the callers do meanwhile; one that waits takes the next
// call; and all end with the context.
func TestCallers(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := newCallers()
	var mu sync.Mutex
	made, by := make(map[int]int), make(map[string]bool)
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Add(1)
		p.do(ctx, func() {
			defer calls.Done()
			mu.Lock()
			defer mu.Unlock()
			made[i]++
			by[goroutineID()] = true
		})
		if i >= 100 { // one after the other
			calls.Wait()
		}
	}
	calls.Wait()
	for i := range 200 {
		if made[i] != 1 {
			t.Errorf("call %d was made %d times", i, made[i])
		}
	}
	if len(by) == 200 {
		t.Error("each call had a goroutine of its own")
	}
	cancel()
	p.wait()
}

// A caller that has had no call for a while leaves.
func TestCallersLeave(t *testing.T) {
	p := newCallers()
	p.do(context.Background(), func() {})
	p.wait()
}

// A call that hangs holds up no other.
func TestCallersDoNotWait(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	p := newCallers()
	hangs, done := make(chan struct{}), make(chan struct{})
	p.do(ctx, func() { <-hangs })
	p.do(ctx, func() { close(done) })
	<-done
	close(hangs)
	cancel()
	p.wait()
}
