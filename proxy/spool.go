package proxy

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// errSpoolCut ends a body that a reader was too slow for. It cannot happen to the
// reader that the producer waits for.
var errSpoolCut = errors.New("the body went past the reader")

// spool is a response body on its way from the application, kept as it comes so that
// several requests can be answered with it while it does. One goroutine writes; each
// reader has its own pace. What is kept is bounded: a body that grows past the bound
// is passed on to the one reader that pins the spool, at that reader's pace.
type spool struct {
	max  int
	mu   sync.Mutex
	more sync.Cond
	buf  []byte
	base int // offset of buf[0] in the body; > 0 once the bound was passed
	err  error
	done bool
	// pinned is the offset up to which the pinning reader has read; -1 without one.
	pinned int
}

func newSpool(max int, hint int64) *spool {
	s := &spool{max: max, pinned: 0}
	s.more.L = &s.mu
	if hint > 0 && hint <= int64(max) {
		s.buf = make([]byte, 0, hint)
	}
	return s
}

// fill copies src into the spool until its end. overflow is called once, when the bound
// is passed; complete gets the body when all of it is kept, before readers see the end.
func (s *spool) fill(src io.Reader, overflow func(), complete func(body []byte)) {
	chunk := make([]byte, 32<<10)
	for {
		n, err := src.Read(chunk)
		if n > 0 && !s.append(chunk[:n], overflow) {
			s.end(errSpoolCut)
			return
		}
		if err != nil {
			if err == io.EOF && s.base == 0 {
				complete(s.buf)
			}
			s.end(err)
			return
		}
	}
}

// append adds bytes. Past the bound it waits for the pinning reader to take what is
// there; it is false when that reader has gone.
func (s *spool) append(p []byte, overflow func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == 0 && len(s.buf)+len(p) > s.max {
		overflow()
	}
	for len(s.buf)+len(p) > s.max && len(s.buf) > 0 {
		if s.pinned < 0 {
			return false
		}
		if taken := s.pinned - s.base; taken > 0 {
			s.buf = append(s.buf[:0], s.buf[taken:]...)
			s.base += taken
			continue
		}
		s.more.Wait()
	}
	s.buf = append(s.buf, p...)
	s.more.Broadcast()
	return true
}

func (s *spool) end(err error) {
	s.mu.Lock()
	s.done, s.err = true, err
	s.more.Broadcast()
	s.mu.Unlock()
}

// spoolReader reads a spool from its beginning.
type spoolReader struct {
	s      *spool
	off    int
	pins   bool
	ctx    *fasthttp.RequestCtx
	extend time.Duration
}

// Read waits for bytes that the reader has not had. Each wait is bounded by the
// application's own idle timeout, which ends the spool.
func (r *spoolReader) Read(p []byte) (int, error) {
	n, err := r.take(p)
	if n > 0 && r.extend > 0 {
		_ = r.ctx.SetWriteDeadline(time.Now().Add(r.extend))
	}
	return n, err
}

func (r *spoolReader) take(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for r.off == s.base+len(s.buf) && !s.done {
		s.more.Wait()
	}
	if r.off < s.base {
		return 0, errSpoolCut
	}
	n := copy(p, s.buf[r.off-s.base:])
	r.off += n
	err := s.err
	if r.off < s.base+len(s.buf) || !s.done {
		err = nil
	}
	if r.pins {
		s.pinned = r.off
		s.more.Broadcast()
	}
	return n, err
}

// Close lets a producer that waits for this reader know that it has gone.
func (r *spoolReader) Close() error {
	if r.pins {
		r.s.mu.Lock()
		r.s.pinned = -1
		r.s.more.Broadcast()
		r.s.mu.Unlock()
	}
	return nil
}
