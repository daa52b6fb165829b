//go:build linux && !race

package scale

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
)

const (
	// shortTimeout stands for every timeout that a stream must outlive.
	shortTimeout = 300 * time.Millisecond
	events       = 300
	// maxDelay bounds the median delay of an event; it is for what waits in a buffer,
	// not for a slow machine.
	maxDelay = time.Second
)

const streamConfig = `
server: { read_timeout: 300ms, write_timeout: 300ms, idle_timeout: 300ms }
upstream: { timeouts: { response_header: 300ms, idle: 60s } }
cache: { memory: 16MiB }
rules:
  - { name: all, match: { path: "/**" }, session: none }
`

// streamApp sends what the test tells it to.
type streamApp struct{ pieces chan []byte }

// ServeHTTP implements http.Handler. Each piece is flushed; a nil one ends the body.
func (a *streamApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	w.Header().Set("Content-Type", q.Get("type"))
	w.Header().Set("Cache-Control", q.Get("control"))
	if q.Has("length") {
		w.Header().Set("Content-Length", q.Get("length"))
	}
	out := http.NewResponseController(w)
	if out.Flush() != nil {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case piece := <-a.pieces:
			if piece == nil {
				return
			}
			if _, err := w.Write(piece); err != nil || out.Flush() != nil {
				return
			}
		}
	}
}

// send gives the application a piece.
func (a *streamApp) send(t *testing.T, piece []byte) {
	t.Helper()
	select {
	case a.pieces <- piece:
	case <-time.After(patience):
		t.Fatal("the application does not send: its request has ended")
	}
}

// get asks with a bound on the whole exchange.
func get(t *testing.T, url string) *http.Response {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 4 * patience}
	resp, err := client.Get(url)
	must(t, err)
	t.Cleanup(func() {
		_ = resp.Body.Close()
		client.CloseIdleConnections()
	})
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return resp
}

// eventStream is a stream of server-sent events and the application that feeds it.
type eventStream struct {
	app *streamApp
	in  *bufio.Reader
}

func openEvents(t *testing.T, base string, app *streamApp) *eventStream {
	t.Helper()
	resp := get(t, base+"/events?type=text/event-stream&control=no-cache")
	return &eventStream{app: app, in: bufio.NewReader(resp.Body)}
}

// event passes one and gives the time from the application to the client.
func (s *eventStream) event(t *testing.T, n int) time.Duration {
	t.Helper()
	began := time.Now()
	want := fmt.Sprintf("id: %d\ndata: tick\n\n", n)
	s.app.send(t, []byte(want))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(s.in, got); err != nil || string(got) != want {
		t.Fatalf("event %d came as %q, %v", n, got, err)
	}
	return time.Since(began)
}

// TestEvents compares the delay of server-sent events with that of a direct
// connection, and lets the stream outlive every timeout.
func TestEvents(t *testing.T) {
	through, direct := &streamApp{make(chan []byte)}, &streamApp{make(chan []byte)}
	app := http.NewServeMux()
	app.Handle("/events", through)
	app.Handle("/direct/events", direct)
	p, base := start(t, streamConfig, app)
	streams := []*eventStream{openEvents(t, p.URL(), through), openEvents(t, base+"/direct", direct)}

	delays := make([][]time.Duration, len(streams))
	for n := range events {
		for i, s := range streams {
			delays[i] = append(delays[i], s.event(t, n))
		}
	}
	report := func(i int) string {
		return fmt.Sprintf("p50 %v p99 %v", quantile(delays[i], 0.5), quantile(delays[i], 0.99))
	}
	t.Logf("%d events: through pillion %s, direct %s, ratio of the medians %.1f", events, report(0), report(1),
		float64(median(delays[0]))/float64(median(delays[1])))
	if m := median(delays[0]); m > maxDelay {
		t.Errorf("an event takes %v (median)", m)
	}

	opened := time.Now()
	for n := range 3 { // silent for more than three timeouts each time
		<-time.After(4 * shortTimeout)
		streams[0].event(t, events+n)
	}
	t.Logf("the stream delivers after %v, with timeouts of %v", time.Since(opened).Round(time.Millisecond), shortTimeout)
	through.send(t, nil)
	if rest, err := io.ReadAll(streams[0].in); err != nil || len(rest) > 0 {
		t.Errorf("the end of the stream: %q, %v", rest, err)
	}
	direct.send(t, nil)
	p.Stop()
}

// TestPiecesPass sends a body piece by piece, each only when the client has got the
// one before: none may wait for more.
func TestPiecesPass(t *testing.T) {
	app := &streamApp{make(chan []byte)}
	p, _ := start(t, streamConfig, app)
	for _, c := range []struct{ size, piece int }{{1 << 20, 64 << 10}, {100_000, 1000}, {3000, 100}} {
		for _, framing := range []string{"length", "chunked"} {
			for _, control := range []string{"no-store", "max-age=60"} {
				name := fmt.Sprintf("%d of %d bytes, %s, %s", c.piece, c.size, framing, control)
				t.Run(name, func(t *testing.T) { passPieces(t, p, app, c.size, c.piece, framing, control) })
			}
		}
	}
	p.Stop()
}

// pieceWithin is when a piece that did not come is taken to be held back.
const pieceWithin = patience

func passPieces(t *testing.T, p *programtest.Process, app *streamApp, size, piece int, framing, control string) {
	query := fmt.Sprintf("?type=text/plain&control=%s&of=%d", control, piece)
	if framing == "length" {
		query += "&length=" + strconv.Itoa(size-size%piece)
	}
	pieces := make(chan []byte) // as the client gets them; closed at the end or an error
	client := &http.Client{Transport: &http.Transport{}, Timeout: 4 * patience}
	defer client.CloseIdleConnections()
	go readPieces(client, p.URL()+"/pieces"+query, piece, pieces)

	for n := range size / piece {
		want := bytes.Repeat([]byte{byte('0' + n%10)}, piece)
		app.send(t, want)
		select {
		case got, ok := <-pieces:
			if !ok || !bytes.Equal(got, want) {
				t.Fatalf("piece %d of %d is %.20q, want %.20q", n+1, size/piece, got, want)
			}
		case <-time.After(pieceWithin):
			t.Errorf("piece %d of %d is held back while the application waits", n+1, size/piece)
			app.send(t, nil)
			for range pieces {
			}
			return
		}
	}
	app.send(t, nil)
	if rest, ok := <-pieces; ok {
		t.Errorf("after the last piece came %d bytes more", len(rest))
	}
}

// readPieces passes on what comes in pieces of a size, the last of which may be
// shorter.
func readPieces(client *http.Client, url string, size int, pieces chan<- []byte) {
	defer close(pieces)
	resp, err := client.Get(url)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	for {
		piece := make([]byte, size)
		n, err := io.ReadFull(resp.Body, piece)
		if n > 0 {
			pieces <- piece[:n]
		}
		if err != nil {
			return
		}
	}
}
