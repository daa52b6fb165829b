//go:build !linux

package splice

import (
	"io"
	"syscall"
)

const (
	supported = false
	// Size is of no meaning here.
	Size = 1 << 20
)

// Pipe is of no use here.
type Pipe struct{ held int }

// System refuses.
func System(_, _, _ int) (int, error) { return 0, ErrRefused }

func open(*Pipes) *Pipe { return nil }

func (*Pipe) close() {}

// Held is 0.
func (p *Pipe) Held() int { return p.held }

// Fill does nothing.
func (*Pipe) Fill(syscall.RawConn, int64) (int, error) { return 0, ErrRefused }

// Drain does nothing.
func (*Pipe) Drain(syscall.RawConn) (int, error) { return 0, ErrRefused }

// Read gives nothing.
func (*Pipe) Read([]byte) (int, error) { return 0, io.EOF }
