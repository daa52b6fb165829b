package wire

import (
	"net"
	"time"

	"github.com/pillion-proxy/pillion/internal/splice"
)

// Movable says whether Move works on this connection.
func (c *Conn) Movable() bool { return c.socket != nil && !c.raw }

// Local says whether the client is on this machine.
func (c *Conn) Local() bool {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// Move sends what a pipe holds, as a part of the final response. The wait for the client to
// take more is bounded each time that it has taken something. When it gives
// splice.ErrRefused, what is in the pipe yet was not sent.
func (c *Conn) Move(pipe *splice.Pipe, patience time.Duration) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.answered = true
	for pipe.Held() > 0 {
		if err := c.ExtendWrite(patience); err != nil {
			return err
		}
		if _, err := pipe.Drain(c.socket); err != nil {
			return err
		}
	}
	return nil
}

// ExtendWrite gives the client some time, and up to a sixteenth more, to take what is written
// next; 0 is for ever. A deadline that is about right stays, since setting one costs more
// than to look at the clock.
func (c *Conn) ExtendWrite(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	now := time.Now()
	if at := now.Sub(c.born); c.writeBy >= at+d && c.writeBy <= at+d+d/16 {
		return nil
	}
	return c.SetWriteDeadline(now.Add(d + d/16))
}
