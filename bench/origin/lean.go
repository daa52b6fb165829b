package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// LeanMost is the largest body that Lean has.
	LeanMost = 64 << 10

	leanRequest = 16 << 10 // the largest request, with its body
	leanBacklog = 1024
	leanEvents  = 512
)

// Lean is one thread with epoll and answers that are made before. It is the application
// of the scenarios in which each request reaches that: it shares a core with the client,
// and both together must cost less than the servers that are measured. And it shows what
// of a hit is the kernel's. It answers what Handler does.
type Lean struct {
	answers map[string]*answer // by path
	asked   int64
	epoll   int
	listen  int
	conns   []*leanConn // by file descriptor
	buf     []byte
	now     time.Time // read once for a batch of events
}

// answer is a whole response, in which only the date is written anew.
type answer struct {
	bytes  []byte
	date   int // where it is in there
	second int64
}

// leanConn is a connection; part is of a request that has not come whole.
type leanConn struct{ part []byte }

// NewLean makes the objects with ids below keys, of one size.
func NewLean(keys, size int) (*Lean, error) {
	if size < MarkerLength+TailLength || size > LeanMost {
		return nil, fmt.Errorf("size %d: want %d to %d", size, MarkerLength+TailLength, LeanMost)
	}
	l := &Lean{answers: make(map[string]*answer), buf: make([]byte, leanRequest), now: time.Now()}
	for id := range keys {
		b := body(size, id)
		never, stored := newAnswer("Cache-Control: no-store\r\n", b), newAnswer("Cache-Control: public, max-age=3600\r\nETag: "+ETag+"\r\n", b)
		l.answers[Path(Secure, size, id)], l.answers[Path(Uncached, size, id)] = never, never
		l.answers[Path(Public, size, id)] = stored
	}
	return l, nil
}

func newAnswer(fields string, body []byte) *answer {
	head := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n%sDate: ", len(body), fields)
	a := &answer{date: len(head)}
	a.bytes = append(head, time.Time{}.UTC().Format(httpDate)+"\r\n\r\n"...)
	a.bytes = append(a.bytes, body...)
	return a
}

const httpDate = "Mon, 02 Jan 2006 15:04:05 GMT"

// Serve answers at addr, an IPv4 host:port, until the context ends.
func (l *Lean) Serve(ctx context.Context, addr string) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	defer l.close()
	if err := l.bind(addr); err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	end, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(end)
	if err := l.watch(end); err != nil {
		return err
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(end, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	err = l.loop(end)
	if !stop() {
		<-woken // before end is closed
	}
	return err
}

func (l *Lean) bind(addr string) (err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil || !to.Addr().Is4() {
		return errors.New("want an IPv4 host:port")
	}
	if l.listen, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	return errors.Join(
		unix.SetsockoptInt(l.listen, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(l.listen, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.Listen(l.listen, leanBacklog),
		l.watch(l.listen),
	)
}

func (l *Lean) watch(fd int) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (l *Lean) loop(end int) error {
	events := make([]unix.EpollEvent, leanEvents)
	for {
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		l.now = time.Now()
		for _, e := range events[:max(n, 0)] {
			switch fd := int(e.Fd); fd {
			case end:
				return nil
			case l.listen:
				l.accept()
			default:
				if !l.serve(fd) {
					l.conns[fd] = nil
					_ = unix.Close(fd)
				}
			}
		}
	}
}

func (l *Lean) accept() {
	for {
		fd, _, err := unix.Accept4(l.listen, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return // none is left, or it has gone
		}
		for fd >= len(l.conns) {
			l.conns = append(l.conns, make([]*leanConn, fd+1024)...)
		}
		l.conns[fd] = new(leanConn)
		if unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 1) != nil || l.watch(fd) != nil {
			l.conns[fd] = nil
			_ = unix.Close(fd)
		}
	}
}

// serve reads once, and answers what came whole. false ends the connection.
func (l *Lean) serve(fd int) bool {
	k := l.conns[fd]
	n := copy(l.buf, k.part)
	got, err := unix.Read(fd, l.buf[n:])
	if err != nil {
		return err == unix.EAGAIN || err == unix.EINTR
	}
	if got == 0 {
		return false
	}
	rest := l.buf[:n+got]
	for len(rest) > 0 {
		size, out := l.answer(rest)
		if size == 0 {
			break // not all of it is here
		}
		if out == nil || !send(fd, out) {
			return false
		}
		rest = rest[size:]
	}
	k.part = append(k.part[:0], rest...)
	return len(rest) < leanRequest
}

// answer gives the length of the first request in b, and what it gets. The length is 0
// while there is not all of it. A request that cannot be read gets nothing.
func (l *Lean) answer(b []byte) (size int, out []byte) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	size = end + 4
	method, rest, _ := bytes.Cut(b[:end], []byte{' '})
	path, fields, _ := bytes.Cut(rest, []byte{' '})
	if string(method) != "GET" {
		n, ok := bodyLength(fields)
		if !ok {
			return len(b), nil
		}
		if size += n; size > len(b) {
			return 0, nil
		}
	}
	a := l.answers[string(path)]
	if a == nil {
		return size, l.other(path)
	}
	l.asked++
	if second := l.now.Unix(); second != a.second {
		a.second = second
		copy(a.bytes[a.date:], l.now.UTC().Format(httpDate))
	}
	return size, a.bytes
}

// bodyLength is the Content-Length, which must be there.
func bodyLength(fields []byte) (int, bool) {
	for line := range bytes.Lines(fields) {
		name, value, _ := bytes.Cut(line, []byte{':'})
		if bytes.EqualFold(name, []byte("content-length")) {
			n, err := strconv.Atoi(string(bytes.TrimSpace(value)))
			return n, err == nil && n >= 0 && n < leanRequest
		}
	}
	return 0, false
}

// other answers what is no object.
func (l *Lean) other(path []byte) []byte {
	if string(path) == "/count" {
		n := strconv.FormatInt(l.asked, 10)
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(n), n)
	}
	return []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
}

// send writes all of b, which nearly always goes at once.
func send(fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EAGAIN {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 1000)
			continue
		}
		if err != nil && err != unix.EINTR {
			return false
		}
		b = b[max(n, 0):]
	}
	return true
}

func (l *Lean) close() {
	for fd, k := range l.conns {
		if k != nil {
			_ = unix.Close(fd)
		}
	}
	if l.listen > 0 {
		_ = unix.Close(l.listen)
	}
	_ = unix.Close(l.epoll)
}
