// Package splice moves bytes from one socket to another through a pipe, by splice(2): they
// stay in the kernel, which hands its pages on and copies nothing. Only Linux has that; on
// other systems there are no pipes to be had, and the caller copies.
package splice

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// ErrRefused says that the kernel does not move bytes between these two, and has moved
// none. From then on there are no pipes to be had.
var ErrRefused = errors.New("splice is refused")

// Call is splice(2) that does not wait.
type Call func(from, to, most int) (int, error)

// maxIdle is how many pipes are kept for the next transfer. The kernel counts the room of
// each against what its user may have.
const maxIdle = 8

// Pipes lends pipes. It is safe for concurrent use. Its owner closes it.
type Pipes struct {
	call    Call
	free    atomic.Int32 // how many more may be lent
	refused atomic.Bool

	mu     sync.Mutex // taken once for a transfer, which is a large one
	idle   []*Pipe
	closed bool
}

// New makes a set of at most max pipes. A slow client leaves up to Size bytes of kernel
// memory in one, so their number bounds that. call is System, or what a test has instead.
func New(max int, call Call) *Pipes {
	p := &Pipes{call: call}
	p.free.Store(int32(max))
	return p
}

// Free says whether Take is likely to give a pipe.
func (p *Pipes) Free() bool { return supported && p.free.Load() > 0 && !p.refused.Load() }

// Left is how many more pipes may be lent.
func (p *Pipes) Left() int { return int(p.free.Load()) }

// Take gives an empty pipe, or nil when none is to be had.
func (p *Pipes) Take() *Pipe {
	if !p.Free() {
		return nil
	}
	if p.free.Add(-1) < 0 {
		p.free.Add(1)
		return nil
	}
	if pipe := p.pop(); pipe != nil {
		return pipe
	}
	pipe := open(p)
	if pipe == nil {
		p.free.Add(1)
	}
	return pipe
}

func (p *Pipes) pop() *Pipe {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	pipe := p.idle[last]
	p.idle[last], p.idle = nil, p.idle[:last]
	return pipe
}

// Give takes a pipe back. One that holds bytes yet is closed: they would become part of
// somebody else's answer.
func (p *Pipes) Give(pipe *Pipe) {
	if pipe.held > 0 || !p.keep(pipe) {
		pipe.close()
	}
	p.free.Add(1)
}

func (p *Pipes) keep(pipe *Pipe) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, pipe)
	return true
}

// Close closes the pipes: those that are lent when they are given back.
func (p *Pipes) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, pipe := range idle {
		pipe.close()
	}
}

// Socket gives the socket of a connection that bytes can be moved from and to: one of TCP
// or a Unix socket, and no other type around it, which may do something with the bytes.
func Socket(nc net.Conn) syscall.RawConn {
	var raw syscall.RawConn
	var err error
	switch c := nc.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	}
	if err != nil {
		return nil
	}
	return raw
}
