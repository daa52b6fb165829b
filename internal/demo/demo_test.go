package demo

import (
	"bytes"
	"context"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// buffer collects output. Safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// eachRedis runs a test with a redis-server process and with the built-in Redis. The
// first needs redis-server on PATH, as all of the project's tests do.
func eachRedis(t *testing.T, test func(t *testing.T, opts Options, out *buffer)) {
	for name, embedded := range map[string]bool{"process": false, "embedded": true} {
		t.Run(name, func(t *testing.T) {
			out := &buffer{}
			test(t, Options{Embedded: embedded, Out: out, Err: out, Version: "test"}, out)
			if embedded != strings.Contains(out.String(), "untracked") {
				t.Errorf("which Redis is used is not what was asked for:\n%s", out)
			}
		})
	}
}

// noLeak fails the test when a goroutine of the demo goes on. Two of fasthttp's own
// outlive its server: the one that looks for idle workers sleeps for up to ten seconds
// before it ends, and the one that keeps the date is one for the process.
func noLeak(t *testing.T) {
	t.Helper()
	goleak.VerifyNone(t,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

// ownTemp gives the test a temporary folder of its own, with a path short enough for
// a Unix socket, and checks at the end that nothing was left in it.
func ownTemp(t *testing.T) {
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in the temporary folder: %v %v", left, err)
		}
		_ = os.RemoveAll(dir)
	})
}

// noneListening checks that every address that the demo showed is closed.
func noneListening(t *testing.T, shown string) {
	t.Helper()
	addrs := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(shown, -1)
	if len(addrs) < 4 {
		t.Errorf("want at least four addresses, found %q", addrs)
	}
	for _, addr := range addrs {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			t.Errorf("%s is still open", addr)
		}
	}
}

func TestTour(t *testing.T) {
	eachRedis(t, func(t *testing.T, opts Options, out *buffer) {
		defer noLeak(t)
		ownTemp(t)
		opts.Tour = true
		if err := Run(t.Context(), opts); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		text := out.String()
		if strings.Contains(text, "NOT OK") || !strings.Contains(text, "All 18 steps held") {
			t.Errorf("the output does not say that every step held:\n%s", text)
		}
		if strings.Contains(text, "\x1b") {
			t.Error("terminal codes in what is no terminal")
		}
		noneListening(t, text)
	})
}

func TestInterrupt(t *testing.T) {
	eachRedis(t, func(t *testing.T, opts Options, out *buffer) {
		defer noLeak(t)
		ownTemp(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, opts) }()
		shows(t, out, "Ctrl-C ends everything")
		shows(t, out, "requests 0 | hits 0")
		useAll(t, out)
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("the demo did not end")
		}
		shows(t, out, "Nothing is left behind")
		noneListening(t, out.String())
	})
}

// useAll does what the guide says and waits for the lines that tell of it.
func useAll(t *testing.T, out *buffer) {
	t.Helper()
	address := func(label string) string {
		m := regexp.MustCompile(label + ` +http://(\S+)`).FindStringSubmatch(out.String())
		if m == nil {
			t.Fatalf("no address of %s in:\n%s", label, out)
		}
		return m[1]
	}
	client := newClient()
	defer client.CloseIdleConnections()
	proxy := visitor{http: client, base: "http://" + address("pillion"), app: &app{}}
	direct := visitor{http: client, base: "http://" + address("application"), app: &app{}}
	ctx := t.Context()
	login := proxy.request(ctx, "POST", "/login", "user=ada")
	shows(t, out, "ada logged in")
	proxy.getAs(ctx, "ada", strings.TrimSpace(login.body), "/profile")
	proxy.request(ctx, "POST", "/logout", "", "X-Session-ID", strings.TrimSpace(login.body))
	shows(t, out, "user 1 logged out")
	direct.request(ctx, "POST", "/enqueue?type=flaky", "")
	shows(t, out, "after it was queued, answered 500: it will be tried again")
	shows(t, out, "after it was queued, attempt 2")
	direct.request(ctx, "POST", "/remind?in=0.01", "")
	shows(t, out, "after it was due")
	tour := tour{rig: &rig{admin: address("admin")}, visitor: proxy}
	tour.adminPost(ctx, "/purge", `{"tag":"product:7"}`)
	shows(t, out, "purged tag product:7")
	shows(t, out, "requests 3 |")
}

// shows waits until the demo has written the text.
func shows(t *testing.T, out *buffer, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if poll(ctx, func() bool { return strings.Contains(out.String(), text) }) != nil {
		t.Fatalf("%q does not appear in:\n%s", text, out)
	}
}

// TestInterruptedTour: a tour that did not come to its end is not a success.
func TestInterruptedTour(t *testing.T) {
	defer noLeak(t)
	ownTemp(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &buffer{}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Options{Embedded: true, Tour: true, Out: out, Err: out}) }()
	shows(t, out, "  1. ")
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v, want an error that says that the tour was interrupted", err)
	}
	noneListening(t, out.String())
}

// TestStepsCanFail takes the steps to the application itself, without pillion in
// front: none of what they check holds there.
func TestStepsCanFail(t *testing.T) {
	defer noLeak(t)
	redis, err := startEmbedded("for a test")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.stop()
	a, err := startApp(redis.addr(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer a.stop()
	client := newClient()
	defer client.CloseIdleConnections()
	r := &rig{redis: redis, app: a, proxy: a.addr, admin: a.addr, screen: newScreen(&buffer{})}
	tour := &tour{rig: r, visitor: visitor{http: client, base: a.url(), app: a}}
	steps := tour.steps()
	for _, s := range steps[:len(steps)-3] { // the last three stop what does not run here
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		rep := &report{}
		s.run(ctx, rep)
		cancel()
		if len(rep.broken) == 0 {
			t.Errorf("%q holds without pillion", s.title)
		}
	}
}

func TestFailedStep(t *testing.T) {
	out := &buffer{}
	err := runSteps(t.Context(), newScreen(out), []step{
		{"good", func(_ context.Context, r *report) { r.want(true, "fine") }},
		{"bad", func(_ context.Context, r *report) { r.want(false, "the sky must be %s", "blue") }},
	})
	if err == nil || !strings.Contains(err.Error(), "1 of 2 steps") {
		t.Errorf("got %v, want an error that counts one of two steps", err)
	}
	for _, want := range []string{"    ok   1. good", "NOT OK   2. bad", "!! the sky must be blue"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
}

// TestEmbeddedExpires: lifetimes pass by the clock, with nobody to move them on.
func TestEmbeddedExpires(t *testing.T) {
	redis, err := startEmbedded("for a test")
	if err != nil {
		t.Fatal(err)
	}
	defer redis.stop()
	a, err := startApp(redis.addr(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer a.stop()
	const life = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := a.do(ctx, a.redis.B().Set().Key("k").Value("v").Px(life).Build()); err != nil {
		t.Fatal(err)
	}
	err = poll(ctx, func() bool {
		n, err := a.redis.Do(ctx, a.redis.B().Exists().Key("k").Build()).AsInt64()
		return err == nil && n == 0
	})
	if err != nil {
		t.Fatal("the key does not expire")
	}
	if lived := time.Since(began); lived < life {
		t.Errorf("the key lived for %s, want at least %s", lived, life)
	}
}

func TestScreen(t *testing.T) {
	for _, tc := range []struct {
		name string
		tty  bool
		want string
	}{
		{"a terminal rewrites", true, "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[Knews\ntwo\r\x1b[Kthree\r\x1b[K"},
		{"a file gets lines", false, "one\ntwo\nnews\nthree\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := &buffer{}
			s := &screen{out: out, tty: tc.tty}
			s.status("one")
			s.status("two")
			s.status("two") // no change, nothing written
			s.line("news")
			s.status("three")
			s.status("")
			if got := out.String(); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain é":                "plain é",
		"\x1b[2Jgone\r\n":        "?[2Jgone??",
		strings.Repeat("é", 150): strings.Repeat("é", 100) + "…",
		"\xff":                   "\uFFFD",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
