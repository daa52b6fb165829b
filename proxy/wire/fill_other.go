//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package wire

// filler reads into the connection's buffer.
type filler struct{ read func(c *Conn) error }

func (f *filler) init(*Conn) { f.read = (*Conn).fillPlain }
