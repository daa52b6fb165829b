package webhook

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"
)

// Task says where things are in a payload that is a JSON object. A dotted path, such
// as headers.task, names a field within a field.
type Task struct {
	// Type is the path of the task's type, a string. When empty, it is "type".
	Type string `yaml:"type"`
	// Body is the path of what is POSTed: of a string its text, of any other value
	// its JSON text. When empty, it is the whole payload, as its producer wrote it.
	Body string `yaml:"body"`
	// Encoding is how the string at Body is encoded: base64, or empty for not at all.
	Encoding string `yaml:"encoding"`
	// Due is the path of the time before which the task is not delivered: RFC 3339,
	// or ISO 8601 without a zone for UTC, or a Unix number of seconds, or of
	// milliseconds from 100,000,000,000 on. Without the field, or with null, the
	// task is due at once.
	Due string `yaml:"due"`
	// Expires is the path of the time, written likewise, from which on the task is
	// not delivered any more: it goes to the dead letters.
	Expires string `yaml:"expires"`
	// Traceparent is the path of the W3C trace context that the task was made in. A
	// tracestate is taken from the field of that name beside it.
	Traceparent string `yaml:"traceparent"`
}

const encodingBase64 = "base64"

// Places where the scanner puts what it finds.
const (
	slotType = iota
	slotBody
	slotDue
	slotExpires
	slotTraceparent
	slotTracestate
	slotCount
)

// PathProblem says what is wrong with a dotted path; empty: nothing.
func PathProblem(path string) string {
	if path == "" {
		return ""
	}
	if len(path) > 256 {
		return "has more than 256 bytes"
	}
	for name := range strings.SplitSeq(path, ".") {
		if name == "" {
			return "has an empty name in it"
		}
	}
	return ""
}

// mapping is Task, ready for use.
type mapping struct {
	Task
	root   field
	needed string // the setting that needs the payload to be an object; empty: none
}

func newMapping(t Task) (*mapping, error) {
	if t.Type == "" {
		t.Type = "type"
	}
	m := &mapping{Task: t}
	for _, p := range []struct {
		name, path string
		slot       int
	}{
		{"body", t.Body, slotBody}, {"due", t.Due, slotDue}, {"expires", t.Expires, slotExpires},
		{"type", t.Type, slotType}, {"traceparent", t.Traceparent, slotTraceparent}, {"", tracestatePath(t.Traceparent), slotTracestate},
	} {
		if wrong := PathProblem(p.path); wrong != "" {
			return nil, fmt.Errorf("task.%s %q %s: write names with single dots between them, such as headers.task", p.name, p.path, wrong)
		}
		if p.path == "" {
			continue
		}
		m.root.add(p.path, p.slot)
		if m.needed == "" && p.slot >= slotBody && p.slot <= slotExpires {
			m.needed = "task." + p.name
		}
	}
	switch {
	case t.Encoding != "" && t.Encoding != encodingBase64:
		return nil, fmt.Errorf("task.encoding %q: write base64, or leave it empty", t.Encoding)
	case t.Encoding != "" && t.Body == "":
		return nil, fmt.Errorf("task.encoding %q is set without task.body: name the field that is encoded", t.Encoding)
	}
	return m, nil
}

// tracestatePath is beside that of the traceparent.
func tracestatePath(traceparent string) string {
	if traceparent == "" {
		return ""
	}
	return traceparent[:strings.LastIndexByte(traceparent, '.')+1] + "tracestate"
}

// content is what a payload says of its task.
type content struct {
	typ        string // empty: none, or none that can be sent
	body       []byte
	trace      traceContext
	tracestate string
}

// maxTypeLen bounds a task's type: it becomes part of a request line.
const maxTypeLen = 256

// payloadError says why no request can be made of a payload.
type payloadError struct{ string }

func (e payloadError) Error() string { return e.string }

// notDueError: the task is to be delivered later.
type notDueError struct{ in time.Duration }

func (e notDueError) Error() string {
	return "the task is due in " + e.in.Round(time.Millisecond).String()
}

// errExpired: the task is not to be delivered any more.
var errExpired = errors.New("the time that task.expires names is over")

// read takes a payload apart. The body shares memory with the payload, or with buf,
// which is given back.
func (m *mapping) read(payload string, now time.Time, buf []byte) (content, []byte, error) {
	var s scanner
	c := content{}
	if !s.scan(payload, &m.root) && m.needed != "" {
		return c, buf, payloadError{"the payload is not a JSON object, which " + m.needed + " needs"}
	}
	if err := m.times(&s, now); err != nil {
		return c, buf, err
	}
	if raw := s.found[slotType]; isString(raw) && len(raw) <= 6*maxTypeLen+2 {
		if typ := unquote(raw); len(typ) <= maxTypeLen {
			c.typ = typ
		}
	}
	if raw := s.found[slotTraceparent]; isString(raw) && plain(raw) {
		c.trace = parseTraceparent(raw[1 : len(raw)-1])
	}
	if raw := s.found[slotTracestate]; c.trace.ok && isString(raw) && plain(raw) {
		c.tracestate = checkedTracestate(raw[1 : len(raw)-1])
	}
	var err error
	c.body, buf, err = m.body(payload, s.found[slotBody], buf)
	return c, buf, err
}

// body gives what is POSTed.
func (m *mapping) body(payload, raw string, buf []byte) ([]byte, []byte, error) {
	switch {
	case m.Body == "":
		return bytesOf(payload), buf, nil
	case raw == "":
		return nil, buf, payloadError{fmt.Sprintf("the payload has no field %q, which task.body names", m.Body)}
	case m.Encoding != "" && !isString(raw):
		return nil, buf, payloadError{fmt.Sprintf("the payload's field %q, which task.body names, is not a string, so it cannot be base64", m.Body)}
	case !isString(raw):
		return bytesOf(raw), buf, nil
	}
	buf = buf[:0]
	text := bytesOf(raw[1 : len(raw)-1])
	if !plain(raw) {
		buf = appendUnquoted(buf, raw)
		text = buf
	}
	if m.Encoding == "" {
		return text, buf, nil
	}
	// Behind text, if that is in buf.
	room := base64.StdEncoding.DecodedLen(len(text))
	buf = slices.Grow(buf, room)
	out := buf[len(buf) : len(buf)+room]
	n, err := base64.StdEncoding.Decode(out, text)
	if err != nil {
		return nil, buf, payloadError{fmt.Sprintf("the payload's field %q, which task.body names, is not base64", m.Body)}
	}
	return out[:n], buf, nil
}

// bytesOf gives a string's bytes, which must only be read.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// times fails when the task is not to be delivered now.
func (m *mapping) times(s *scanner, now time.Time) error {
	at, err := taskTime("expires", m.Expires, s.found[slotExpires])
	if err != nil {
		return err
	}
	if !at.IsZero() && !now.Before(at) {
		return errExpired
	}
	if at, err = taskTime("due", m.Due, s.found[slotDue]); err != nil {
		return err
	}
	if wait := at.Sub(now); !at.IsZero() && wait > 0 {
		return notDueError{wait}
	}
	return nil
}

// taskTime reads a time of a payload; zero when there is none.
func taskTime(setting, path, raw string) (time.Time, error) {
	if raw == "" || raw == "null" || raw == `""` {
		return time.Time{}, nil
	}
	text := raw
	if isString(raw) {
		text = unquote(raw)
	}
	at, ok := parseTime(text)
	if !ok {
		return time.Time{}, payloadError{fmt.Sprintf("the payload's field %q, which task.%s names, is not a time: want RFC 3339, or a Unix number of seconds or milliseconds", path, setting)}
	}
	return at, nil
}

// milliFrom is the number from which on a Unix time counts milliseconds: seconds
// would be in the year 5138, milliseconds are in 1973.
const milliFrom = 1e11

// parseTime reads a time between the years 1 and 9999.
func parseTime(text string) (time.Time, bool) {
	if len(text) > 64 {
		return time.Time{}, false
	}
	if strings.Trim(text, "0123456789.eE+-") == "" {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			return unixTime(n)
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05Z0700"} {
		if at, err := time.Parse(layout, text); err == nil && at.Year() >= 1 {
			return at, true
		}
	}
	return time.Time{}, false
}

func unixTime(n float64) (time.Time, bool) {
	if n < milliFrom && n > -milliFrom {
		n *= 1000
	}
	const from, to = -62135596800000, 253402300799999 // years 1 and 9999
	if !(n >= from && n <= to) {
		return time.Time{}, false
	}
	at := time.UnixMilli(int64(n))
	return at, !at.IsZero()
}
