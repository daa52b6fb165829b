package demo

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/rs/zerolog"
)

// clearLine returns to the start of a terminal's line and empties it.
const clearLine = "\r\x1b[K"

// screen writes lines, and below them a status that is rewritten in place when the
// output is a terminal. Safe for concurrent use.
type screen struct {
	mu   sync.Mutex
	out  io.Writer
	tty  bool
	last string // the status that is shown
}

func newScreen(out io.Writer) *screen { return &screen{out: out, tty: isTerminal(out)} }

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// line writes one line above the status.
func (s *screen) line(format string, args ...any) {
	s.above(func() { fmt.Fprintf(s.out, format+"\n", args...) })
}

// above runs write with the status out of the way.
func (s *screen) above(write func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := s.tty && s.last != ""
	if shown {
		fmt.Fprint(s.out, clearLine)
	}
	write()
	if shown {
		fmt.Fprint(s.out, s.last)
	}
}

// status shows a text that takes the place of the one before; where the output is
// no terminal, each new one is a line. An empty one ends it.
func (s *screen) status(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text == s.last {
		return
	}
	s.last = text
	switch {
	case s.tty:
		fmt.Fprint(s.out, clearLine+text)
	case text != "":
		fmt.Fprintln(s.out, text)
	}
}

// paint colours a text on a terminal; code is an SGR parameter.
func (s *screen) paint(code, text string) string {
	if !s.tty {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// logger writes pillion's log for a person, above the status.
func (r *rig) logger() zerolog.Logger {
	w := zerolog.ConsoleWriter{Out: aboveStatus{r.screen, r.opts.Err}, TimeFormat: "15:04:05", NoColor: !isTerminal(r.opts.Err)}
	return zerolog.New(zerolog.SyncWriter(w)).With().Timestamp().Logger()
}

// aboveStatus writes to w with the screen's status out of the way.
type aboveStatus struct {
	screen *screen
	w      io.Writer
}

// Write writes one log line.
func (a aboveStatus) Write(p []byte) (n int, err error) {
	a.screen.above(func() { n, err = a.w.Write(p) })
	return n, err
}
