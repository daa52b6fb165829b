package wire

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func post(path, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nContent-Length: %d\r\nHost: a\r\n\r\n%s", path, len(body), body)
}

// bodies are requests with a body by what comes of them.
func bodies() map[string]string {
	fitting := strings.Repeat("x", bufferSize-len(post("/body", ""))-len("1000"))
	return map[string]string{
		post("/body", "hello"):            "directhello",
		post("/body", "G"):                "directG",
		post("/body", fitting):            "direct" + fitting,
		post("/unread", "GET / HTTP/1.1"): "direct",
		post("/passed", "hello"):          "passedhello",
		post("/half", "hello!"):           "passedlo!",
		post("/body", fitting+"xxxx"):     "passed" + fitting + "xxxx",
		post("/direct", ""):               "direct",
		"POST /body HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\na":                            "passeda",
		"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n": "passeda",
	}
}

func TestDirectGetsSmallBodies(t *testing.T) {
	d := startDirect(t, limits(), nil)
	c := d.dial(t)
	var all strings.Builder
	var want []string
	for request, answer := range bodies() {
		c.send(request)
		c.want(answer)
		all.WriteString(request + getDirect + getPassed)
		want = append(want, answer, "direct", "passed")
	}
	go func() { _, _ = io.WriteString(c, all.String()) }() // pipelined
	for _, answer := range want {
		c.want(answer)
	}
	n := int64(0)
	for _, answer := range bodies() {
		if strings.HasPrefix(answer, "direct") {
			n++
		}
	}
	if got := d.answered.Load() - int64(len(bodies())); got != 2*n {
		t.Errorf("%d answers of Direct, want %d", got, 2*n)
	}
}

// Every place at which the bytes of a request with a body may be parted, in the bytes of
// the next too.
func TestDirectBodyInPieces(t *testing.T) {
	d := startDirect(t, limits(), nil)
	c := d.dial(t)
	request := post("/body", "hello") + post("/half", "hello!") + post("/unread", "x") + getDirect
	for at := 1; at < len(request); at++ {
		c.send(getDirect + request[:at]) // the answer to the first says that both were read
		c.want("direct")
		c.send(request[at:])
		for _, answer := range []string{"directhello", "passedlo!", "direct", "direct"} {
			c.want(answer)
		}
	}
}

// A body of which the rest does not come at once is the server's to wait for, and to
// judge when it does not come at all.
func TestDirectDoesNotWaitForBodiesForLong(t *testing.T) {
	for _, l := range []Limits{limits(), {Header: patience, Body: time.Millisecond, MaxHeader: 16 << 10, MaxConnections: 100}, {MaxHeader: 16 << 10, MaxConnections: 100}} {
		d := startDirect(t, l, nil)
		c := d.dial(t)
		c.send(getDirect + post("/body", "hello")[:len(post("/body", "hello"))-2])
		c.want("direct")
		if head := <-d.begun; !strings.HasPrefix(head, "POST /body") {
			t.Fatalf("%q", head)
		}
		if l.Body == time.Millisecond {
			if got := <-d.ended; !strings.HasPrefix(got, "hel The request did not arrive in time.") {
				t.Error(got)
			}
			c.wantEnd()
			continue
		}
		c.send("lo" + post("/body", "again"))
		c.want("passedhello")
		if got := <-d.ended; got != "hello <nil>" {
			t.Error(got)
		}
		c.want("directagain")
	}
}

func TestDirectBodyThatEndsEarly(t *testing.T) {
	d := startDirect(t, limits(), nil)
	for _, before := range []string{"", getDirect, getDirect + getDirect} {
		c := d.dial(t)
		c.send(before + post("/body", "hello")[:len(post("/body", "hello"))-2])
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		<-d.begun
		if got := <-d.ended; got != "hel unexpected EOF" {
			t.Error(got)
		}
	}
	if d.answered.Load() != 3 {
		t.Errorf("%d answers of Direct", d.answered.Load())
	}
}

// waiter is a connection with a request whose body is waited for.
func waiter(t *testing.T, l Limits) (*direct, *client, *Conn) {
	t.Helper()
	conns := make(chan *Conn, 2)
	d := startDirect(t, l, func(c *Conn) { conns <- c })
	c := d.dial(t)
	c.send(getDirect + post("/body", "hello")[:len(post("/body", "hello"))-2])
	c.want("direct")
	conn := <-conns
	for conn.state.Load() != answering { // the head behind the first request was read
		time.Sleep(time.Millisecond)
	}
	return d, c, conn
}

func TestCloseWhileABodyIsWaitedFor(t *testing.T) {
	d, c, conn := waiter(t, limits())
	_ = conn.Close()
	c.wantEnd()
	if d.answered.Load() != 1 || d.passed.Load() != 0 {
		t.Errorf("%d answered, %d passed", d.answered.Load(), d.passed.Load())
	}
}

func TestCutWhileABodyIsWaitedFor(t *testing.T) {
	d, c, _ := waiter(t, limits())
	d.Cut()
	c.wantEnd()
}

func TestDrainLeavesABodyThatIsWaitedFor(t *testing.T) {
	d, c, _ := waiter(t, limits())
	d.Drain()
	c.send("lo")
	c.want("passedhello")
}

// A request counts once, however often its body is looked for.
func TestBodiesAndExpired(t *testing.T) {
	l := limits()
	l.MaxRequests = 3
	expired := make(chan bool, 3)
	d := startDirect(t, l, func(c *Conn) { expired <- c.Expired(time.Now()) })
	c := d.dial(t)
	for want := range 3 {
		c.send(post("/body", "hello")[:len(post("/body", "hello"))-2])
		c.send("lo")
		c.want("directhello")
		if got := <-expired; got != (want == 2) {
			t.Errorf("request %d: expired: %v", want, got)
		}
	}
}
