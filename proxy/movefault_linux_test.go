package proxy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
)

// A body that the application cuts short is seen to be cut, wherever that is.
func TestCutMovedBody(t *testing.T) {
	const size = 6 << 20
	body := noise(3, size)
	for way, handleOnly := range ways() {
		var app bodies
		var m moves
		_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) { r.handleOnly = handleOnly })
		for _, cut := range []int{0, 1, 4 << 10, 64<<10 + 1, proxy.MoveFrom, 1<<20 - 1, 1 << 20, 3<<20 + 17, size - 1} {
			for _, how := range []string{"fin", "rst"} {
				t.Run(fmt.Sprintf("%s, %d, %s", way, cut, how), func(t *testing.T) {
					c := dialClient(t, p)
					c.ask(t, fmt.Sprintf("/3/%d?cut=%d&how=%s", size, cut, how))
					resp, err := http.ReadResponse(c.br, nil)
					if err == nil && resp.StatusCode == http.StatusOK {
						var b []byte
						b, err = io.ReadAll(resp.Body)
						if len(b) > cut || !bytes.HasPrefix(body, b) {
							t.Errorf("%d bytes, of which some were not sent", len(b))
						}
					}
					if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) && (err != nil || resp.StatusCode != http.StatusBadGateway) {
						t.Errorf("the client sees %v", err)
					}
				})
			}
		}
		// Nothing of them is in the next answers.
		c := dialClient(t, p)
		for i := range 4 {
			c.ask(t, fmt.Sprintf("/%d/%d", i, 2<<20))
			c.whole(t, noise(uint64(i), 2<<20))
		}
		if m.bytes.Load() == 0 {
			t.Error("nothing was moved")
		}
		// The last goes back after its answer.
		eventually(t, "all pipes are back", func() bool { return p.handler.PipesLeft() == proxy.MaxPipes })
	}
}

// Where the end of the connection is that of the body, one that was reset is reset.
func TestCutMovedBodyWithoutLength(t *testing.T) {
	var app bodies
	var m moves
	_, p := moveRig(t, app.ServeHTTP, &m, nil)
	c := dialClient(t, p)
	fmt.Fprintf(c, "GET /3/%d?cut=%d&how=rst&until_close=1 HTTP/1.0\r\n\r\n", 4<<20, 2<<20)
	_, err := io.Copy(io.Discard, c.br)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
}

// When either side stalls or goes, the other one's connection ends, and no pipe is lost.
func TestMovedBodyEndsWithEitherSide(t *testing.T) {
	const size = 64 << 20 // more than sockets hold
	tests := map[string]struct {
		idle, write time.Duration
		act         func(t *testing.T, c *client, body io.Reader)
		stalls      bool // the application
	}{
		"the client resets": {act: func(t *testing.T, c *client, _ io.Reader) { must(t, c.Conn.(*net.TCPConn).SetLinger(0)); c.Close() }},
		"the client closes": {act: func(t *testing.T, c *client, _ io.Reader) { c.Close() }},
		"the client stalls": {write: 500 * time.Millisecond, act: func(*testing.T, *client, io.Reader) {}},
		"the application stalls": {idle: 500 * time.Millisecond, stalls: true, act: func(t *testing.T, _ *client, body io.Reader) {
			if _, err := io.Copy(io.Discard, body); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the client sees %v", err)
			}
		}},
	}
	for name, tt := range tests {
		for way, handleOnly := range ways() {
			t.Run(name+", "+way, func(t *testing.T) {
				ended := make(chan struct{})
				app := func(w http.ResponseWriter, q *http.Request) {
					w.Header().Set("Content-Length", strconv.Itoa(size))
					_, err := w.Write(make([]byte, 2<<20))
					for err == nil && !tt.stalls {
						_, err = w.Write(make([]byte, 1<<20))
					}
					if tt.stalls {
						_ = http.NewResponseController(w).Flush()
						<-q.Context().Done() // the connection has ended
					}
					close(ended)
				}
				var m moves
				_, p := moveRig(t, app, &m, func(r *rig) {
					r.handleOnly = handleOnly
					if tt.idle > 0 {
						r.up.Timeouts.Idle = tt.idle
					}
					if tt.write > 0 {
						r.cfg.WriteTimeout = tt.write
					}
				})
				c := dialClient(t, p)
				c.ask(t, "/")
				body := c.head(t).Body
				if _, err := io.ReadFull(body, make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
				tt.act(t, c, body)
				select {
				case <-ended:
				case <-time.After(time.Minute):
					t.Fatal("the application is not told")
				}
				eventually(t, "all pipes are back", func() bool { return p.handler.PipesLeft() == proxy.MaxPipes })
				eventually(t, "the connections are given up", func() bool { return p.up.Stats().Open == 0 })
				if m.bytes.Load() == 0 {
					t.Error("nothing was moved")
				}
			})
		}
	}
}

// Where the kernel refuses, be it at once, on the way out or later, bodies are copied, and
// it is not asked again.
func TestRefusedMove(t *testing.T) {
	const size = 5<<20 + 3
	tests := []struct {
		errno syscall.Errno
		from  int64 // the first call that is refused: into the pipe, or out of it
	}{
		{syscall.EINVAL, 1}, {syscall.EINVAL, 2}, {syscall.EINVAL, 5}, {syscall.EINVAL, 8}, {syscall.ENOSYS, 1}, {syscall.EPERM, 2},
	}
	for _, tt := range tests {
		for way, handleOnly := range ways() {
			t.Run(fmt.Sprintf("%v, call %d, %s", tt.errno, tt.from, way), func(t *testing.T) {
				var app bodies
				var asked atomic.Int64
				m := moves{refuse: func(call int64) error {
					if call < tt.from {
						return nil
					}
					asked.Add(1)
					return tt.errno
				}}
				_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) { r.handleOnly = handleOnly })
				c := dialClient(t, p)
				for i := range 3 {
					c.ask(t, fmt.Sprintf("/%d/%d", i, size))
					c.whole(t, noise(uint64(i), size))
				}
				if n := asked.Load(); n != 1 || app.asked() != 1 {
					t.Errorf("refused %d times; %d connections", n, app.asked())
				}
			})
		}
	}
}

// A shutdown lets a transfer end, and cuts it when its time is over.
func TestShutdownDuringMove(t *testing.T) {
	const size = 24 << 20
	for name, patient := range map[string]bool{"in time": true, "too late": false} {
		for way, handleOnly := range ways() {
			t.Run(name+", "+way, func(t *testing.T) {
				var app bodies
				var m moves
				_, p := moveRig(t, app.ServeHTTP, &m, func(r *rig) { r.handleOnly = handleOnly })
				c := dialClient(t, p)
				c.ask(t, fmt.Sprintf("/7/%d", size))
				body := c.head(t).Body
				eventually(t, "it moves", func() bool { return m.bytes.Load() > 0 })
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if !patient {
					cancel()
				}
				done := make(chan error, 1)
				go func() { done <- p.server.Shutdown(ctx) }()
				if !patient {
					if err := <-done; !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
				b, err := io.ReadAll(body)
				switch {
				case patient && (err != nil || !bytes.Equal(b, noise(7, size)) || <-done != nil):
					t.Errorf("%d bytes, %v", len(b), err)
				case !patient && err == nil:
					t.Error("it was not cut")
				}
				eventually(t, "all pipes are back", func() bool { return p.handler.PipesLeft() == proxy.MaxPipes })
			})
		}
	}
}
