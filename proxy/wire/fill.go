package wire

// fillPlain is for connections that cannot be asked through their descriptor, such as
// TLS: an idle one waits for a single byte, and takes a buffer when that is there.
func (c *Conn) fillPlain() error {
	if c.buf == nil {
		n, err := c.Conn.Read(c.one[:])
		if n == 0 {
			return err
		}
		c.buf = c.ln.take()
		c.w = copy(c.buf, c.one[:])
		return nil
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	if c.w += n; n > 0 {
		return nil
	}
	return err
}
