package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are on sockets that never block, so they go past Go's scheduler.

func read(fd int, p []byte) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return int(n), e
}

func write(fd int, p []byte) (int, unix.Errno) {
	n, _, e := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return int(n), e
}

// skip takes bytes out of a socket without copying them.
func skip(fd int, n int64) (int, unix.Errno) {
	got, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, uintptr(n), unix.MSG_TRUNC, 0, 0)
	return int(got), e
}

// send begins the next request of a connection; its latency counts from began.
func (c *client) send(k *conn, began time.Time) error {
	k.req, k.sent, k.began = k.group.request(), 0, began
	k.inBody, k.pos, k.head = false, 0, k.head[:0]
	return c.flush(k)
}

// flush writes what is left of a request, as far as the socket takes it.
func (c *client) flush(k *conn) error {
	for k.sent < len(k.req.Raw) {
		n, e := write(k.fd, k.req.Raw[k.sent:])
		if e == unix.EAGAIN {
			return c.want(k, true)
		}
		if e != 0 {
			return fmt.Errorf("write: %w", e)
		}
		k.sent += n
	}
	return c.want(k, false)
}

// want registers for what the connection waits for.
func (c *client) want(k *conn, writing bool) error {
	if k.writing == writing {
		return nil
	}
	k.writing = writing
	events := uint32(unix.EPOLLIN)
	if writing {
		events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_MOD, k.fd, &unix.EpollEvent{Events: events, Fd: int32(k.fd)})
}

// handle serves one event. It reads once: what is left makes the next event.
func (c *client) handle(k *conn, events uint32, now time.Time) error {
	if events&unix.EPOLLOUT != 0 {
		if err := c.flush(k); err != nil {
			return err
		}
	}
	if events&^unix.EPOLLOUT == 0 {
		return nil
	}
	if k.req == nil {
		return errors.New("bytes, or the end of the connection, came without a request")
	}
	// The middle of a large body need not be looked at.
	if rest := k.req.Length - int64(len(k.req.Tail)) - k.pos; k.inBody && rest >= readSize && k.pos >= int64(len(k.req.Marker)) {
		n, e := skip(k.fd, rest)
		if err := readError(n, e); err != nil || e == unix.EAGAIN {
			return err
		}
		k.pos += int64(n)
		c.bytes(k, n)
		return nil
	}
	n, e := read(k.fd, c.buf)
	if err := readError(n, e); err != nil || e == unix.EAGAIN {
		return err
	}
	return c.take(k, c.buf[:n], now)
}

func readError(n int, e unix.Errno) error {
	switch {
	case e == unix.EAGAIN:
		return nil
	case e != 0:
		return fmt.Errorf("read: %w", e)
	case n == 0:
		return errors.New("the server has closed a connection")
	}
	return nil
}

// take handles bytes of an answer.
func (c *client) take(k *conn, p []byte, now time.Time) error {
	if !k.inBody {
		rest, err := k.takeHead(p)
		if err != nil || !k.inBody {
			return err
		}
		p = rest
	}
	if err := k.req.checkBody(p, k.pos); err != nil {
		return err
	}
	k.pos += int64(len(p))
	c.bytes(k, len(p))
	if k.pos < k.req.Length {
		return nil
	}
	return c.answered(k, now)
}

// bytes counts those of bodies as they come.
func (c *client) bytes(k *conn, n int) {
	if c.counted && !k.group.Background {
		c.out.Bytes += int64(n)
	}
}

// takeHead reads the head of an answer, once it is complete, and gives what follows.
func (k *conn) takeHead(p []byte) (rest []byte, err error) {
	all := p
	if len(k.head) > 0 {
		k.head = append(k.head, p...)
		all = k.head
	}
	end := bytes.Index(all, []byte("\r\n\r\n"))
	if end < 0 {
		if len(k.head) == 0 {
			k.head = append(k.head, p...)
		}
		if len(k.head) > maxHead {
			return nil, fmt.Errorf("the head of an answer is longer than %d bytes", maxHead)
		}
		return nil, nil
	}
	if err := k.req.checkHead(all[:end+2]); err != nil {
		return nil, err
	}
	k.inBody = true
	return all[end+4:], nil
}

// checkHead compares a head, which ends with the newline of its last line.
func (r *Request) checkHead(head []byte) error {
	status, length, err := parseHead(head)
	if err != nil {
		return err
	}
	if status != r.Status {
		return fmt.Errorf("status %d, want %d, for\n%s\n%s", status, r.Status, firstLine(r.Raw), head)
	}
	bodiless := status == 304 || status == 204
	if !bodiless && length != r.Length {
		return fmt.Errorf("Content-Length %d (-1: none), want %d, for\n%s\n%s", length, r.Length, firstLine(r.Raw), head)
	}
	return nil
}

func firstLine(p []byte) []byte {
	line, _, _ := bytes.Cut(p, []byte("\r\n"))
	return line
}

// parseHead finds the status and the length of the body, -1 when none is given.
func parseHead(head []byte) (status int, length int64, err error) {
	const prefix = "HTTP/1.1 200"
	if len(head) < len(prefix)+2 || string(head[:7]) != prefix[:7] {
		return 0, 0, fmt.Errorf("an answer begins with %q", head[:min(len(head), 64)])
	}
	for _, d := range head[9:12] {
		if d < '0' || d > '9' {
			return 0, 0, fmt.Errorf("an answer has the status %q", head[9:12])
		}
		status = 10*status + int(d-'0')
	}
	length = -1
	for rest := head; ; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			return status, length, nil
		}
		line := rest[:end]
		rest = rest[end+1:]
		const name = "content-length:"
		// The colon is where it must be in few other fields: a cheap look comes first.
		if len(line) > len(name) && line[len(name)-1] == ':' && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = parseLength(bytes.TrimSpace(line[len(name):])); err != nil {
				return 0, 0, err
			}
		}
	}
}

func parseLength(p []byte) (n int64, err error) {
	if len(p) == 0 || len(p) > 18 {
		return 0, fmt.Errorf("Content-Length %q is no length", p)
	}
	for _, d := range p {
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("Content-Length %q is no length", p)
		}
		n = 10*n + int64(d-'0')
	}
	return n, nil
}

// checkBody compares the part of a body that begins at pos.
func (r *Request) checkBody(p []byte, pos int64) error {
	if pos+int64(len(p)) > r.Length {
		return fmt.Errorf("%d bytes came after the body, for %s", pos+int64(len(p))-r.Length, firstLine(r.Raw))
	}
	if !overlaps(p, pos, r.Marker, 0) {
		return fmt.Errorf("a body begins with %q, want %q, for %s", p[:min(len(p), 64)], r.Marker, firstLine(r.Raw))
	}
	if !overlaps(p, pos, r.Tail, r.Length-int64(len(r.Tail))) {
		return fmt.Errorf("a body ends with %q, want %q, for %s", p[max(0, len(p)-64):], r.Tail, firstLine(r.Raw))
	}
	return nil
}

// overlaps says whether p, which begins at pos, has what it must have where want,
// which begins at at, overlaps it.
func overlaps(p []byte, pos int64, want []byte, at int64) bool {
	from, to := max(pos, at), min(pos+int64(len(p)), at+int64(len(want)))
	return from >= to || bytes.Equal(p[from-pos:to-pos], want[from-at:to-at])
}

// answered counts an answer and goes on.
func (c *client) answered(k *conn, now time.Time) error {
	g := k.group
	if c.counted && !g.Background {
		c.out.Requests++
		c.out.Latency.Record(now.Sub(k.began))
	}
	k.req = nil
	if c.filling > 0 && !g.Background {
		c.filling--
		if c.begun >= int64(len(c.plan.Fill)) {
			return nil
		}
		c.begun++
		return c.send(k, now)
	}
	if c.plan.Rate > 0 && !g.Background {
		c.idle = append(c.idle, k)
		return nil
	}
	return c.send(k, now)
}
