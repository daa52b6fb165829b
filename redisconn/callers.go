package redisconn

import (
	"context"
	"sync"
	"time"
)

// callers are goroutines that make calls, one at a time each. They stay for a while: a
// new one has a small stack, and its growth costs more than all else that a call costs
// here. There are about
// as many as calls are under way at once, which admit bounds.
type callers struct {
	next chan func() // has no room: who takes a call waits for one
	all  sync.WaitGroup
}

// callerStays is how long one without a call stays, at least; at most twice that.
const callerStays = time.Second

func newCallers() *callers { return &callers{next: make(chan func())} }

// do runs a call, and does not wait for it. Those that have none end with ctx.
func (p *callers) do(ctx context.Context, call func()) {
	select {
	case p.next <- call:
	default:
		p.all.Go(func() { p.loop(ctx, call) })
	}
}

func (p *callers) loop(ctx context.Context, call func()) {
	look := time.NewTicker(callerStays)
	defer look.Stop()
	for used := true; ; {
		if call != nil {
			call()
			call, used = nil, true
		}
		select {
		case call = <-p.next:
		case <-look.C:
			if !used {
				return
			}
			used = false
		case <-ctx.Done():
			return
		}
	}
}

// wait returns when all have ended: after ctx, and when no call can come any more.
func (p *callers) wait() { p.all.Wait() }
