//go:build linux && !race

package scale

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/programtest"
)

const (
	// maxGrowth bounds the resident memory over that of the process when it is warm.
	maxGrowth   = 32 << 20
	warmUpBody  = 32 << 20
	slowReaders = 4
	slowBody    = 256 << 20
)

const transferConfig = `
server: { max_body: 8GiB }
cache: { memory: 16MiB }
rules:
  - { name: all, match: { path: "/**" }, session: none }
`

// transferApp takes and gives patterns.
type transferApp struct {
	slow   sync.Map     // client's name: *pattern
	aborts atomic.Int64 // downloads that ended early
}

// ServeHTTP implements http.Handler. POST /up answers 200 when the body is the
// pattern of the size in X-Size; GET /down?size=N sends it.
func (a *transferApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(r.Header.Get("X-Size"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodPost {
		a.take(w, r, size)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", r.URL.Query().Get("control"))
	if r.URL.Query().Has("length") {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	body := &pattern{size: size}
	if name := r.Header.Get("X-Client"); name != "" {
		a.slow.Store(name, body)
	}
	// The conversions hide ReadFrom and WriteTo: pieces of 64 KiB, as applications send.
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, make([]byte, 64<<10)); err != nil {
		a.aborts.Add(1)
	}
}

func (a *transferApp) take(w http.ResponseWriter, r *http.Request, size int64) {
	v := new(verifier)
	_, err := io.CopyBuffer(struct{ io.Writer }{v}, struct{ io.Reader }{r.Body}, make([]byte, 64<<10))
	if err == nil {
		err = v.end(size)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	fmt.Fprintf(w, "length %d, %v", r.ContentLength, r.TransferEncoding)
}

// upload sends a pattern, with its length or chunked.
func upload(base string, size int64, withLength bool) error {
	req, err := http.NewRequest(http.MethodPost, base+"/up", struct{ io.Reader }{&pattern{size: size}})
	if err != nil {
		return err
	}
	want := "length -1, [chunked]"
	if withLength {
		req.ContentLength = size
		want = fmt.Sprintf("length %d, []", size)
	}
	req.Header.Set("X-Size", strconv.FormatInt(size, 10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && (resp.StatusCode != http.StatusOK || string(answer) != want) {
		err = fmt.Errorf("the application answered %d %q, want 200 %q", resp.StatusCode, answer, want)
	}
	return err
}

// open asks for a pattern and leaves its body unread.
func open(base, query, client string, size int64) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, base+"/down?"+query, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Size", strconv.FormatInt(size, 10))
	req.Header.Set("X-Client", client)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp, nil
}

func download(base, query string, size int64) error {
	resp, err := open(base, query, "", size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	v := new(verifier)
	if _, err := io.CopyBuffer(struct{ io.Writer }{v}, resp.Body, make([]byte, 64<<10)); err != nil {
		return fmt.Errorf("after %d bytes: %w", v.got, err)
	}
	return v.end(size)
}

// transfers are the ways in which a body passes.
func transfers() map[string]func(base string, size int64) error {
	down := func(query string) func(string, int64) error {
		return func(base string, size int64) error {
			return download(base, fmt.Sprintf("size=%d&%s", size, query), size)
		}
	}
	return map[string]func(string, int64) error{
		"up with Content-Length": func(base string, size int64) error { return upload(base, size, true) },
		"up chunked":             func(base string, size int64) error { return upload(base, size, false) },
		// What may be stored is fetched for all who wait, and dropped when it proves too large.
		"down with Content-Length, storable": down("length&control=max-age=60"),
		"down with Content-Length, no-store": down("length&control=no-store"),
		"down chunked, storable":             down("control=max-age=60"),
		"down chunked, no-store":             down("control=no-store"),
	}
}

// TestTransfers passes bodies of -size through the program in each way: every byte
// arrives, and none of them stays in memory.
func TestTransfers(t *testing.T) {
	p, _ := start(t, transferConfig, new(transferApp))
	size := *bodyMiB << 20
	for _, transfer := range transfers() {
		must(t, transfer(p.URL(), warmUpBody))
	}
	warm := p.Memory("VmRSS")
	t.Logf("warm: VmRSS %s", mib(warm))
	for name, transfer := range transfers() {
		t.Run(name, func(t *testing.T) {
			p.ResetPeak()
			began := time.Now()
			must(t, transfer(p.URL(), size))
			took := time.Since(began)
			peak := p.Memory("VmHWM")
			t.Logf("%s in %v, %.0f MiB/s; VmRSS at most %s, %s over the warm process",
				mib(size), took.Round(time.Millisecond), float64(*bodyMiB)/took.Seconds(), mib(peak), mib(peak-warm))
			if peak-warm > maxGrowth {
				t.Errorf("memory grew from %s to %s, by more than %s", mib(warm), mib(peak), mib(maxGrowth))
			}
		})
	}
	p.Stop()
}

// framings are responses with a length and without, stored and not.
func framings() []string {
	return []string{"length&control=max-age=60", "length&control=no-store", "control=max-age=60", "control=no-store"}
}

// TestSlowReaders has clients that take the first MiB and then nothing until the
// application can send no more. What they have not taken waits in the application,
// not in the program.
func TestSlowReaders(t *testing.T) {
	for _, query := range framings() {
		t.Run(query, func(t *testing.T) { testSlowReaders(t, query) })
	}
}

// TestStopBesideSlowReaders: a client that takes nothing holds a stop up for
// server.shutdown_timeout, and no longer.
func TestStopBesideSlowReaders(t *testing.T) {
	for _, query := range framings() {
		t.Run(query, func(t *testing.T) {
			app := new(transferApp)
			p, _ := start(t, strings.Replace(transferConfig, "server: {", "server: { shutdown_timeout: 1s, write_timeout: 10m,", 1), app)
			resp, err := open(p.URL(), query, "stuck", slowBody)
			must(t, err)
			defer resp.Body.Close()
			app.blocked(t)
			if err := p.Terminate(patience); err == nil || !strings.Contains(err.Error(), "exit status 1") {
				t.Errorf("%v, want exit status 1: a request was cut off", err)
			}
		})
	}
}

func testSlowReaders(t *testing.T, query string) {
	app := new(transferApp)
	p, _ := start(t, transferConfig, app)
	for range slowReaders {
		must(t, download(p.URL(), query, warmUpBody))
	}
	warm := p.Memory("VmRSS")
	p.ResetPeak()
	readers := make([]io.ReadCloser, slowReaders)
	checks := make([]*verifier, slowReaders)
	for i := range readers {
		// Of one URL each: what others ask for too is kept once for all of them.
		resp, err := open(p.URL(), fmt.Sprintf("%s&n=%d", query, i), strconv.Itoa(i), slowBody)
		must(t, err)
		defer resp.Body.Close()
		readers[i], checks[i] = resp.Body, new(verifier)
		_, err = io.CopyN(checks[i], resp.Body, 1<<20)
		must(t, err)
	}
	sent := app.blocked(t)
	peak := p.Memory("VmHWM")
	t.Logf("%d readers took 1MiB each, the application could send %s; VmRSS %s warm, at most %s", slowReaders, mib(sent), mib(warm), mib(peak))
	if peak-warm > maxGrowth {
		t.Errorf("memory grew from %s to %s, by more than %s", mib(warm), mib(peak), mib(maxGrowth))
	}
	if limit := int64(slowReaders) * slowBody / 4; sent > limit {
		t.Errorf("the application could send %s to readers that took %dMiB: where is that?", mib(sent), slowReaders)
	}
	// One goes on, and has lost nothing; the others give up.
	_, err := io.Copy(checks[0], readers[0])
	must(t, err)
	must(t, checks[0].end(slowBody))
	for _, r := range readers {
		must(t, r.Close())
	}
	p.Stop()
}

// blocked waits until the slow clients' bodies stand still, for a hundred looks in a
// row, and gives what was sent of them.
func (a *transferApp) blocked(t *testing.T) (sent int64) {
	t.Helper()
	still := 0
	programtest.Eventually(t, patience, "the application can send no more", func() bool {
		var now int64
		a.slow.Range(func(_, body any) bool {
			now += body.(*pattern).done.Load()
			return true
		})
		if still++; now != sent {
			sent, still = now, 0
		}
		return still >= 100
	})
	return sent
}
