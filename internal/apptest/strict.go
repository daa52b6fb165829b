package apptest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrIncomplete says that the bytes so far are the beginning of a message.
var ErrIncomplete = errors.New("the message has not ended")

// Field is one field line, without the white space around its value.
type Field struct{ Name, Value string }

// Message is one request or response that the strict reader has read.
type Message struct {
	Method, Target string // of a request
	Status         int    // of a response
	Version        string
	Fields         []Field
	Chunked        bool
	Length         int64 // Content-Length, -1 without one
	Body           string
	Trailers       []Field
	ToClose        bool // a response that ends with its connection
	Head           int  // length of the head; 0 until all of it was read and accepted
	raw            []byte
}

// Raw gives exactly the bytes of the message.
func (m *Message) Raw() []byte { return m.raw }

// Values gives the values of a field, without regard to case.
func (m *Message) Values(name string) (values []string) {
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// Value gives the first value of a field, or "".
func (m *Message) Value(name string) string {
	if v := m.Values(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// reader reads messages as RFC 9112 writes them and nothing else: CRLF only, no
// folded lines, one way to say where the body ends. It is written for tests: on
// purpose it shares nothing with what it is to judge.
type reader struct {
	b   []byte
	pos int
}

// ReadRequest reads one request from the beginning of b and gives its length. With an
// error it gives what it has read until then.
// Bytes above 0x7e may stand in the target, which many readers let pass.
func ReadRequest(b []byte) (Message, int, error) {
	r := reader{b: b}
	m := Message{Length: -1}
	line, err := r.line()
	if err != nil {
		return m, 0, err
	}
	if err := m.requestLine(line); err != nil {
		return m, 0, err
	}
	if m.Fields, err = r.fields(); err != nil {
		return m, 0, err
	}
	if err := m.framing(); err != nil {
		return m, 0, err
	}
	m.Head = r.pos
	switch {
	case m.Chunked:
		err = r.chunks(&m)
	case m.Length > 0:
		m.Body, err = r.take(m.Length)
	}
	m.raw = b[:r.pos]
	return m, r.pos, err
}

// ReadResponse reads one response to a request with the method. closed says that
// nothing follows b, so that a response without a length is whole.
func ReadResponse(b []byte, method string, closed bool) (Message, int, error) {
	r := reader{b: b}
	m := Message{Length: -1}
	line, err := r.line()
	if err != nil {
		return m, 0, err
	}
	if err := m.statusLine(line); err != nil {
		return m, 0, err
	}
	if m.Fields, err = r.fields(); err != nil {
		return m, 0, err
	}
	if err := m.framing(); err != nil {
		return m, 0, err
	}
	m.Head = r.pos
	err = r.responseBody(&m, method, closed)
	m.raw = b[:r.pos]
	return m, r.pos, err
}

func (r *reader) responseBody(m *Message, method string, closed bool) (err error) {
	switch {
	case m.Status < 200, m.Status == 204, m.Status == 304, method == "HEAD":
	case m.Chunked:
		err = r.chunks(m)
	case m.Length >= 0:
		m.Body, err = r.take(m.Length)
	default:
		m.ToClose = true
		m.Body, _ = r.take(int64(len(r.b) - r.pos))
		if !closed {
			err = ErrIncomplete
		}
	}
	return err
}

// line gives the next line without its CRLF.
func (r *reader) line() (string, error) {
	end := bytes.IndexByte(r.b[r.pos:], '\n')
	part := r.b[r.pos:]
	if end >= 0 {
		part = part[:end+1]
	}
	if cr := bytes.IndexByte(part, '\r'); cr >= 0 && cr < len(part)-1 && (end < 0 || cr != end-1) {
		return "", fmt.Errorf("a CR within %q", part)
	}
	if end < 0 {
		return "", ErrIncomplete
	}
	if !bytes.HasSuffix(part, []byte("\r\n")) {
		return "", fmt.Errorf("LF without CR ends %q", part)
	}
	r.pos += len(part)
	return string(part[:len(part)-2]), nil
}

func (r *reader) take(n int64) (string, error) {
	rest := r.b[r.pos:]
	if int64(len(rest)) < n {
		return string(rest), ErrIncomplete
	}
	r.pos += int(n)
	return string(rest[:n]), nil
}

func (m *Message) requestLine(line string) error {
	part := strings.Split(line, " ")
	if len(part) != 3 || !isToken(part[0]) || part[1] == "" {
		return fmt.Errorf("request line %q", line)
	}
	for i := range len(part[1]) {
		if c := part[1][i]; c <= ' ' || c == 0x7f {
			return fmt.Errorf("byte %#x in the target %q", c, part[1])
		}
	}
	m.Method, m.Target, m.Version = part[0], part[1], part[2]
	return m.version()
}

func (m *Message) statusLine(line string) error {
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' || hasControl(line) {
		return fmt.Errorf("status line %q", line)
	}
	m.Version = line[:8]
	if !digits(line[9:12]) || line[9] == '0' {
		return fmt.Errorf("status line %q", line)
	}
	m.Status, _ = strconv.Atoi(line[9:12])
	return m.version()
}

func (m *Message) version() error {
	if m.Version != "HTTP/1.1" && m.Version != "HTTP/1.0" {
		return fmt.Errorf("version %q", m.Version)
	}
	return nil
}

// fields reads field lines up to the empty line, which it takes too.
func (r *reader) fields() (list []Field, err error) {
	for {
		line, err := r.line()
		if err != nil {
			return list, err
		}
		if line == "" {
			return list, nil
		}
		name, value, found := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !found || !isToken(name) || hasControl(value) {
			return list, fmt.Errorf("field line %q", line)
		}
		list = append(list, Field{name, value})
	}
}

// framing reads the fields that say where the body ends (RFC 9112 §6).
func (m *Message) framing() error {
	lengths, codings := m.Values("Content-Length"), m.Values("Transfer-Encoding")
	if len(lengths)+len(codings) > 1 {
		return fmt.Errorf("Content-Length %q and Transfer-Encoding %q", lengths, codings)
	}
	if len(lengths) == 1 {
		if !digits(lengths[0]) || len(lengths[0]) > 18 {
			return fmt.Errorf("Content-Length %q", lengths[0])
		}
		m.Length, _ = strconv.ParseInt(lengths[0], 10, 64)
	}
	if len(codings) == 1 {
		if !strings.EqualFold(codings[0], "chunked") || m.Version == "HTTP/1.0" {
			return fmt.Errorf("Transfer-Encoding %q in %s", codings[0], m.Version)
		}
		m.Chunked = true
	}
	return nil
}

// chunks reads a chunked body with its trailer section (RFC 9112 §7.1).
func (r *reader) chunks(m *Message) error {
	var body strings.Builder
	defer func() { m.Body = body.String() }()
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		size, err := chunkSize(line)
		if err != nil {
			return err
		}
		if size == 0 {
			m.Trailers, err = r.fields()
			return err
		}
		data, err := r.take(size)
		body.WriteString(data)
		if err != nil {
			return err
		}
		if line, err = r.line(); err != nil {
			return err
		}
		if line != "" {
			return fmt.Errorf("%q after a chunk", line)
		}
	}
}

func chunkSize(line string) (int64, error) {
	size, extension, found := strings.Cut(line, ";")
	if found {
		size = strings.TrimRight(size, " \t")
	}
	if hasControl(extension) {
		return 0, fmt.Errorf("control character in the chunk extension %q", extension)
	}
	for i := range len(size) {
		if !strings.Contains("0123456789abcdefABCDEF", size[i:i+1]) {
			return 0, fmt.Errorf("chunk size %q", size)
		}
	}
	n, err := strconv.ParseInt(size, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("chunk size %q", size)
	}
	return n, nil
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
