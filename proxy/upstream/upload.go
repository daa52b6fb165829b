package upstream

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	uploadPiece = 32 << 10
	// chunkHead is the room for the size line of a piece: "8000\r\n".
	chunkHead = 6
	// lastWriteGrace is how long a complete response waits for the last write of
	// its request to be reported done: the bytes are out, the goroutine is not.
	lastWriteGrace = 50 * time.Millisecond
	// maxEmptyReads bounds a Reader that returns neither bytes nor an error.
	maxEmptyReads = 100
)

// upload sends a large request body in a goroutine of its own, so that a response
// is seen while the body is still being sent. The exchange owns it: every path
// through exchange and Body goes through end, which waits for it.
type upload struct {
	c             *Client
	nc            net.Conn
	r             *Request
	headerTimeout time.Duration
	last          atomic.Bool   // the last write has begun
	done          chan struct{} // closed at the end; err is then final
	err           error

	mu         sync.Mutex
	head       bool // the response head has arrived: read deadlines are not ours any more
	stopped    bool // broken off by end: err then says what end did, not what went wrong
	bodyFailed bool // the request body failed by itself
}

func startUpload(c *Client, nc net.Conn, r *Request, headerTimeout time.Duration) *upload {
	u := &upload{c: c, nc: nc, r: r, headerTimeout: headerTimeout, done: make(chan struct{})}
	go u.run()
	return u
}

func (u *upload) run() {
	defer close(u.done)
	u.err = u.copy()
	u.report()
}

// answered tells the upload that the response head has arrived.
func (u *upload) answered() {
	u.mu.Lock()
	u.head = true
	u.mu.Unlock()
}

// report sets the deadline of the goroutine that waits for the response head.
// Under the mutex: once it has the head, it sets its own deadlines, and a late
// one from here would cut a healthy body.
func (u *upload) report() {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, body := u.err.(*bodyError)
	switch {
	case u.stopped:
	case body:
		// The application must not take what it got for the whole, and no answer
		// to a part is wanted.
		u.bodyFailed = true
		_ = u.nc.Close()
	case u.head:
	case u.err == nil:
		_ = u.nc.SetReadDeadline(time.Now().Add(u.headerTimeout))
	default: // the application does not take the rest: it may have said why
		_ = u.nc.SetReadDeadline(time.Now().Add(answerGrace))
	}
}

// end returns once nothing reads the request body any more, and reports whether
// all of it was sent. With grace, an upload that has nothing left to do but to
// return from its last write is given the time for it; any other is broken off.
func (u *upload) end(grace bool) bool {
	if grace && u.last.Load() {
		timer := time.NewTimer(lastWriteGrace)
		defer timer.Stop()
		select {
		case <-u.done:
		case <-timer.C:
		}
	}
	select {
	case <-u.done:
		return u.err == nil
	default:
	}
	u.mu.Lock()
	u.stopped = true
	u.mu.Unlock()
	_ = u.nc.Close()
	if u.r.StopBody != nil {
		u.r.StopBody()
	}
	<-u.done
	return false
}

// bodyError marks a failure of the request body, as against one of the connection.
type bodyError struct{ cause error }

func (e *bodyError) Error() string { return e.cause.Error() }
func (e *bodyError) Unwrap() error { return e.cause }

// copy sends the body. A panic of the caller's Reader is turned into an error:
// in this goroutine nobody else could recover it.
func (u *upload) copy() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &bodyError{fmt.Errorf("the body's Read panicked: %v", p)}
		}
	}()
	buf := u.c.bufs.Get().(*buffer)
	defer u.c.bufs.Put(buf)
	if need := chunkHead + uploadPiece + len("\r\n0\r\n\r\n"); cap(buf.b) < need {
		buf.b = make([]byte, need)
	}
	buf.b = buf.b[:cap(buf.b)]
	if u.r.BodySize >= 0 {
		return u.copySized(buf.b[:uploadPiece])
	}
	return u.copyChunked(buf.b)
}

// copySized does not ask the Reader for more than BodySize bytes, not even for
// its EOF: a Reader on a connection might wait for it.
func (u *upload) copySized(b []byte) error {
	empty := 0
	for left := u.r.BodySize; left > 0; {
		n, err := u.r.Body.Read(b[:min(int64(len(b)), left)])
		left -= int64(n)
		if n > 0 {
			empty = 0
			if left == 0 {
				u.last.Store(true)
			}
			if err := u.write(b[:n]); err != nil {
				return err
			}
		}
		if left == 0 {
			break
		}
		if err == nil && n == 0 {
			if empty++; empty >= maxEmptyReads {
				err = io.ErrNoProgress
			}
		}
		if err != nil {
			return &bodyError{truncated(err)}
		}
	}
	return nil
}

// copyChunked frames each piece in place, with one write per read. The last chunk
// is written only after a clean end of the body: a request that was cut short
// must not look complete.
func (u *upload) copyChunked(b []byte) error {
	for empty := 0; ; {
		n, err := u.r.Body.Read(b[chunkHead : chunkHead+uploadPiece])
		if n == 0 && err == nil {
			if empty++; empty >= maxEmptyReads {
				err = io.ErrNoProgress
			}
		} else {
			empty = 0
		}
		piece := u.frame(b, n)
		if err == io.EOF {
			return u.finish(piece)
		}
		if werr := u.write(piece); werr != nil {
			return werr
		}
		if err != nil {
			return &bodyError{err}
		}
	}
}

// frame wraps the n bytes at b[chunkHead:] into a chunk.
func (u *upload) frame(b []byte, n int) []byte {
	start, end := chunkHead, chunkHead
	if n > 0 {
		var size [16]byte
		line := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
		start = chunkHead - len(line)
		copy(b[start:], line)
		end += n
		end += copy(b[end:], "\r\n")
	}
	return b[start:end]
}

// finish writes the last piece with the last chunk and the trailer section.
func (u *upload) finish(piece []byte) error {
	piece = append(piece, "0\r\n"...)
	if u.r.Trailers != nil {
		lines := u.r.Trailers()
		if err := checkTrailers(lines); err != nil {
			return &bodyError{err}
		}
		piece = append(piece, lines...)
	}
	u.last.Store(true)
	return u.write(append(piece, "\r\n"...))
}

func (u *upload) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := u.nc.SetWriteDeadline(time.Now().Add(u.c.cfg.Timeouts.Idle)); err != nil {
		return err
	}
	_, err := u.nc.Write(b)
	return err
}
