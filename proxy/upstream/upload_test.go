package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pillion-proxy/pillion/internal/apptest"
)

func post(size int64, body io.Reader) *Request {
	framing := fmt.Sprintf("Content-Length: %d", size)
	if size < 0 {
		framing = "Transfer-Encoding: chunked"
	}
	return &Request{Head: reqHead("POST", "/up", framing), Body: body, BodySize: size}
}

// TestUploads sends bodies of all sizes and framings; the application records
// exactly one request with exactly that body, and the connection lives on.
func TestUploads(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Echo()))
	c := newClient(t, testConfig(raw.URL()))
	var want []string
	for _, size := range []int{0, 1, 100, smallBody - 1, smallBody, smallBody + 1, 3*uploadPiece - 1, 1 << 20} {
		text := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		for name, r := range map[string]*Request{
			"sized":                  post(int64(size), strings.NewReader(text+"more")),
			"sized, dribbled":        post(int64(size), iotest.OneByteReader(strings.NewReader(text))),
			"sized, data with EOF":   post(int64(size), iotest.DataErrReader(strings.NewReader(text))),
			"chunked":                post(-1, strings.NewReader(text)),
			"chunked, halves":        post(-1, iotest.HalfReader(strings.NewReader(text))),
			"chunked, data with EOF": post(-1, iotest.DataErrReader(strings.NewReader(text))),
		} {
			if size == 1<<20 && strings.Contains(name, "dribbled") {
				continue
			}
			if a := do(c, r); a.err != nil || a.body != "/up" {
				t.Fatalf("%s %d: %+v", name, size, a)
			}
			want = append(want, text)
		}
	}
	if raw.Conns() != 1 {
		t.Errorf("%d connections", raw.Conns())
	}
	br := bufio.NewReader(bytes.NewReader(raw.Received(0)))
	for i, text := range want {
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(req.Body); string(b) != text || err != nil {
			t.Fatalf("request %d: %d bytes, want %d; %v", i, len(b), len(text), err)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Error("bytes after the last request")
	}
}

// stall is a body of which some bytes come and then nothing, until it is stopped.
type stall struct {
	first io.Reader
	over  bool // the blocked read has returned
	quit  chan struct{}
	reads chan struct{} // closed at the first blocked read
}

func newStall(first string) *stall {
	return &stall{first: strings.NewReader(first), quit: make(chan struct{}), reads: make(chan struct{})}
}

func (s *stall) Read(p []byte) (int, error) {
	if n, _ := s.first.Read(p); n > 0 {
		return n, nil
	}
	close(s.reads)
	<-s.quit
	time.Sleep(2 * time.Millisecond) // lets a client that does not wait run ahead
	s.over = true
	return 0, errors.New("stopped")
}

func (s *stall) stop() { close(s.quit) }

func (s *stall) blocked() bool {
	select {
	case <-s.reads:
		return true
	default:
		return false
	}
}

// TestEarlyResponse: the application answers although the body is still being
// sent. The answer is delivered, the connection is not used again.
func TestEarlyResponse(t *testing.T) {
	early := "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
	for _, size := range []int64{1 << 20, -1} {
		for name, end := range map[string]apptest.Step{"stays open": apptest.Drain(), "closes": apptest.Close(), "half-closes": apptest.CloseWrite()} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				raw := apptest.Start(t, apptest.InTurn(
					[]apptest.Step{apptest.ExpectHead(), apptest.Send(early), end, apptest.Drain()}, []apptest.Step{apptest.Echo()}))
				c := newClient(t, testConfig(raw.URL()))
				s := newStall("some")
				r := post(size, s)
				r.StopBody = s.stop
				a := do(c, r)
				if a.err != nil || a.status != 413 || a.body != "big" || !a.complete {
					t.Fatalf("%+v", a)
				}
				if s.blocked() && !s.over {
					t.Error("the body is still being read after Close")
				}
				wantOwn(t, c, "/next")
				if raw.Conns() != 2 {
					t.Errorf("%d connections", raw.Conns())
				}
			})
		}
	}
}

// TestEarlyResponseWhileWriting: the application reads nothing, so that the
// upload blocks in a write; its answer must still arrive.
func TestEarlyResponseWhileWriting(t *testing.T) {
	early := "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
	raw := apptest.Start(t, apptest.InTurn(
		[]apptest.Step{apptest.ExpectHead(), apptest.Send(early), apptest.Wait(nil)}, []apptest.Step{apptest.Echo()}))
	c := newClient(t, testConfig(raw.URL()))
	a := do(c, post(-1, endless{}))
	if a.err != nil || a.status != 413 || a.body != "big" || !a.complete {
		t.Fatalf("%+v", a)
	}
	wantOwn(t, c, "/next")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestUploadRefused: the application closes without an answer.
func TestUploadRefused(t *testing.T) {
	for name, end := range map[string]apptest.Step{"close": apptest.Close(), "reset": apptest.Reset()} {
		t.Run(name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.InTurn([]apptest.Step{apptest.ExpectHead(), end}, []apptest.Step{apptest.Echo()}))
			c := newClient(t, testConfig(raw.URL()))
			if a := do(c, post(-1, endless{})); !errors.Is(a.err, ErrReset) {
				t.Fatalf("%+v", a)
			}
			s := newStall("some") // the application is gone, the client silent
			r := post(-1, s)
			r.StopBody = s.stop
			wantOwn(t, c, "/next")
		})
	}
}

// TestStalledUploadLosesItsApplication: StopBody frees a body that waits for a
// client, and the failure is not blamed on the client.
func TestStalledUploadLosesItsApplication(t *testing.T) {
	s := newStall("some")
	raw := apptest.Start(t, apptest.Each(apptest.ExpectHead(), apptest.Wait(s.reads), apptest.Close()))
	c := newClient(t, testConfig(raw.URL()))
	r := post(-1, s)
	r.StopBody = s.stop
	if a := do(c, r); !errors.Is(a.err, ErrReset) || errors.Is(a.err, ErrRequestBody) {
		t.Errorf("%+v", a)
	}
}

// TestBodyFails: the client's body ends early. The application must not see a
// complete request, and the cause must be found in the error.
func TestBodyFails(t *testing.T) {
	cause := errors.New("client gone")
	broken := func(n int) io.Reader {
		return io.MultiReader(strings.NewReader(strings.Repeat("b", n)), iotest.ErrReader(cause))
	}
	tests := []struct {
		name string
		r    *Request
		want error
		sent bool // the application sees the head
	}{
		{"small", post(100, broken(50)), cause, false},
		{"small, short", post(100, strings.NewReader("b")), io.ErrUnexpectedEOF, false},
		{"large", post(1<<20, broken(50000)), cause, true},
		{"large, short", post(1<<20, strings.NewReader("b")), io.ErrUnexpectedEOF, true},
		{"chunked", post(-1, broken(50000)), cause, true},
		{"chunked, at once", post(-1, broken(0)), cause, true},
		{"no progress", post(-1, idler{}), io.ErrNoProgress, true},
		{"sized, no progress", post(1<<20, idler{}), io.ErrNoProgress, true},
		{"panic", post(-1, panicker{}), ErrRequestBody, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := apptest.Start(t, apptest.Each(apptest.Echo()))
			c := newClient(t, testConfig(raw.URL()))
			if a := do(c, tt.r); !errors.Is(a.err, ErrRequestBody) || !errors.Is(a.err, tt.want) {
				t.Fatalf("%+v, want %v", a, tt.want)
			}
			wantOwn(t, c, "/next")
			if !tt.sent {
				return
			}
			raw.Await(t, 0)
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw.Received(0))))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, req.Body); err == nil {
				t.Error("the application saw a complete request")
			}
		})
	}
}

type idler struct{}

func (idler) Read([]byte) (int, error) { return 0, nil }

type panicker struct{}

func (panicker) Read([]byte) (int, error) { panic("reader") }

// TestDuplex: pieces go up and down in turn within one exchange, which ends when
// the upload does.
func TestDuplex(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(
		apptest.ExpectHead(), apptest.Send(chunkedResponse("")),
		apptest.ExpectBytes(int64(len("1\r\na\r\n"))), apptest.Send("1\r\nA\r\n"),
		apptest.ExpectBytes(int64(len("1\r\nb\r\n0\r\n\r\n"))), apptest.Send("1\r\nB\r\n0\r\n\r\n"), apptest.Echo()))
	c := newClient(t, testConfig(raw.URL()))
	pr, pw := io.Pipe()
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), post(-1, pr), &h)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	_, _ = pw.Write([]byte("a"))
	if n, err := body.Read(p); string(p[:n]) != "A" || err != nil {
		t.Fatalf("%q, %v", p[:n], err)
	}
	// The last byte and the end must come in one read, as ExpectBytes wants them.
	go func() { _, _ = pw.Write([]byte("b")); _ = pw.Close() }()
	if b, err := io.ReadAll(body); string(b) != "B" || err != nil || !body.Complete() {
		t.Fatalf("%q, %v", b, err)
	}
	_ = body.Close()
	wantOwn(t, c, "/next")
	if raw.Conns() != 1 {
		t.Errorf("%d connections", raw.Conns())
	}
}

// TestHeaderTimeoutAfterUpload: the wait for the answer begins when the upload
// has ended, however long that took.
func TestHeaderTimeoutAfterUpload(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Expect(), apptest.Drain()))
	cfg := testConfig(raw.URL())
	cfg.Timeouts.ResponseHeader = 30 * time.Millisecond
	c := newClient(t, cfg)
	pr, pw := io.Pipe()
	go func() {
		for range 4 {
			time.Sleep(15 * time.Millisecond) // the client's pace, not synchronisation
			_, _ = pw.Write([]byte("x"))
		}
		_ = pw.Close()
	}()
	if a := do(c, post(-1, pr)); !errors.Is(a.err, ErrTimeout) {
		t.Errorf("%+v", a)
	}
	raw.Await(t, 0)
	if !bytes.HasSuffix(raw.Received(0), []byte("0\r\n\r\n")) {
		t.Error("the upload was cut by the deadline of the response")
	}
}

// TestBlockedWrite: an application that neither reads nor answers.
func TestBlockedWrite(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.Wait(nil)))
	cfg := testConfig(raw.URL())
	cfg.Timeouts.Idle = 50 * time.Millisecond
	c := newClient(t, cfg)
	if a := do(c, post(-1, endless{})); !errors.Is(a.err, ErrTimeout) {
		t.Errorf("%+v", a)
	}
}

// TestBodyFailsAfterAnswer: the answer has begun when the client vanishes.
func TestBodyFailsAfterAnswer(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.ExpectHead(), apptest.Send(chunkedResponse("1\r\na\r\n")), apptest.Drain()))
	c := newClient(t, testConfig(raw.URL()))
	pr, pw := io.Pipe()
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), post(-1, pr), &h)
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("client gone")
	_ = pw.CloseWithError(cause)
	if b, err := io.ReadAll(body); string(b) != "a" || !errors.Is(err, cause) || !errors.Is(err, ErrRequestBody) || body.Complete() {
		t.Errorf("%q, %v", b, err)
	}
	raw.Await(t, 0)
	if s := c.Stats(); s.Open != 0 {
		t.Errorf("%+v", s)
	}
}

// TestUploadEndsAfterHead: the head came first, so the end of the upload starts no
// wait for it.
func TestUploadEndsAfterHead(t *testing.T) {
	raw := apptest.Start(t, apptest.Each(apptest.ExpectHead(), apptest.Send(chunkedResponse("1\r\na\r\n")),
		apptest.ExpectBytes(int64(len("0\r\n\r\n"))), pause(60*time.Millisecond), apptest.Send("0\r\n\r\n"), apptest.Drain()))
	cfg := testConfig(raw.URL())
	c := newClient(t, cfg)
	pr, pw := io.Pipe()
	r := post(-1, pr)
	r.HeaderTimeout = 20 * time.Millisecond
	var h fasthttp.ResponseHeader
	body, err := c.Do(context.Background(), r, &h)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := body.Read(make([]byte, 8)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	go func() { time.Sleep(10 * time.Millisecond); _ = pw.Close() }() // while the read below waits
	if _, err := body.Read(make([]byte, 8)); err != io.EOF || !body.Complete() {
		t.Errorf("%v", err)
	}
}

// pause is the application's pace.
func pause(d time.Duration) apptest.Step {
	return func(*apptest.Conn) error { time.Sleep(d); return nil }
}

// TestFailedUploadSpoilsTheConnection: an upload that has ended, but not well.
func TestFailedUploadSpoilsTheConnection(t *testing.T) {
	u := &upload{done: make(chan struct{}), err: io.ErrClosedPipe}
	close(u.done)
	if u.end(true) {
		t.Error("a request that was cut counts as sent in full")
	}
}
