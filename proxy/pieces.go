package proxy

import (
	"sync"
	"sync/atomic"
)

type (
	piece [chunkRoom + largePiece + len("\r\n")]byte
	huge  [chunkRoom + hugePiece + len("\r\n")]byte
)

// pieces lends the buffers that bodies are copied through.
type pieces struct {
	large, huge sync.Pool
	lent        atomic.Int32 // huge ones
}

func (p *pieces) takeLarge() *piece {
	if b, ok := p.large.Get().(*piece); ok {
		return b
	}
	return new(piece)
}

// takeHuge gives nil when as many are in use as may be.
func (p *pieces) takeHuge() *huge {
	if p.lent.Add(1) > maxHuge {
		p.lent.Add(-1)
		return nil
	}
	if b, ok := p.huge.Get().(*huge); ok {
		return b
	}
	return new(huge)
}

// room is the buffer of one copy: as large as what the application gives at once needs.
type room struct {
	pieces *pieces
	large  *piece
	huge   *huge
	buf    []byte
}

// data is where a part is read to, between its chunk framing.
func (r *room) data() []byte { return r.buf[chunkRoom : len(r.buf)-len("\r\n")] }

// enlarge takes the next larger buffer, where there is one to be had.
func (r *room) enlarge() {
	switch {
	case r.huge != nil:
	case r.large == nil:
		r.large = r.pieces.takeLarge()
		r.buf = r.large[:]
	default:
		if b := r.pieces.takeHuge(); b != nil {
			r.release()
			r.huge, r.buf = b, b[:]
		}
	}
}

// release gives back what was taken.
func (r *room) release() {
	if r.large != nil {
		r.pieces.large.Put(r.large)
	}
	if r.huge != nil {
		r.pieces.huge.Put(r.huge)
		r.pieces.lent.Add(-1)
	}
	r.large, r.huge = nil, nil
}
