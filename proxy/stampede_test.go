package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/proxy"
)

// stampede is how many clients ask for one hot key, through two pods.
const stampede = 200

// An expiring hot key: the application is called once per expiry in all, not once per
// pod or per client. EXPIRIES sets how often it expires.
func TestHotKeyIsFetchedOncePerExpiry(t *testing.T) {
	for _, name := range []string{"fetched anew", "validated"} {
		t.Run(name, func(t *testing.T) { hotKey(t, name == "validated") })
	}
}

func hotKey(t *testing.T, validators bool) {
	const life = 1200 * time.Millisecond
	expiries := envSize(t, "EXPIRIES", 3)
	var mu sync.Mutex
	var called []time.Time
	enough := make(chan struct{})
	r := newRig(t, []proxy.Rule{rule("hot", "/hot", ttl(life))}, func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		called = append(called, time.Now())
		n := len(called)
		if n == expiries+1 {
			close(enough)
		}
		mu.Unlock()
		time.Sleep(150 * time.Millisecond) // all clients come meanwhile
		w.Header()["Date"] = nil           // whole seconds: one that has just passed would count as an age
		if validators {
			w.Header().Set("ETag", `"same"`)
			if q.Header.Get("If-None-Match") == `"same"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		io.WriteString(w, versionBody(int64(n), 1000))
	}, 2)
	tr := keepAlive(t)
	var requests, collapsed atomic.Int64
	var wg sync.WaitGroup
	for i := range stampede {
		wg.Go(func() {
			for {
				got, err := r.pods[i%2].ask(tr, "GET", "/hot")
				if err != nil || got.status != 200 {
					t.Errorf("%v %+v", err, got)
					return
				}
				requests.Add(1)
				if strings.Contains(got.cacheStatus(), "collapsed") {
					collapsed.Add(1)
				}
				select {
				case <-enough:
					return
				case <-time.After(time.Duration(20+i%40) * time.Millisecond): // think time
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(called) != expiries+1 {
		t.Errorf("%d calls of the application for %d expiries, want one more", len(called), expiries)
	}
	// What was fetched is fresh for a lifetime from when the pod asked, so calls are that far
	// apart, less what the first took to arrive: one that follows much sooner is the second
	// for the same expiry.
	for i := 1; i < len(called); i++ {
		if gap := called[i].Sub(called[i-1]); gap < life/3 {
			t.Errorf("call %d came %s after the one before: the entry had not expired", i, gap)
		}
	}
	t.Logf("%d requests, %d of them answered with another's fill; %d calls of the application for the first fill and %d expiries", requests.Load(), collapsed.Load(), len(called), expiries)
}

// crowd sends one request of each client at once and gives the answers and the longest
// wait.
func crowd(t *testing.T, r *rig, path string) (answers []reply, longest time.Duration) {
	t.Helper()
	tr := keepAlive(t)
	answers = make([]reply, stampede)
	waits := make([]time.Duration, stampede)
	var wg sync.WaitGroup
	for i := range stampede {
		wg.Go(func() {
			began := time.Now()
			got, err := r.pods[i%2].ask(tr, "GET", path)
			if err != nil {
				t.Error(err)
			}
			answers[i], waits[i] = got, time.Since(began)
		})
	}
	wg.Wait()
	for _, w := range waits {
		longest = max(longest, w)
	}
	return answers, longest
}

// failure is an application that is slow or fails, and what its clients get.
type failure struct {
	name   string
	status int
	app    func(wait time.Duration) http.HandlerFunc
}

// failures are applications that are slow or fail, by what 200 clients get for a key
// that is not stored.
var failures = []failure{
	{"slow", 200, func(wait time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) { time.Sleep(wait); io.WriteString(w, "slow") }
	}},
	{"slow and not storable", 200, func(wait time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			time.Sleep(wait)
			io.WriteString(w, "slow")
		}
	}},
	{"slower than the timeout", 504, func(wait time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) {
			select {
			case <-time.After(15 * wait):
			case <-q.Context().Done():
			}
		}
	}},
	{"hangs", 504, func(time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) { <-q.Context().Done() }
	}},
	{"500", 500, func(time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) { http.Error(w, "failed", 500) }
	}},
	{"slow 500", 500, func(wait time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, q *http.Request) { time.Sleep(wait); http.Error(w, "failed", 500) }
	}},
	{"refuses", 502, nil},
}

// An application that is slow or fails: no request waits longer than its own timeout,
// upstream.timeouts.response_header, from its own beginning; nobody is queued behind
// others. SLOW_MS is how long the application takes; the timeout is ten times that.
//
// A machine may be too busy for all clients to be served within such times. It has others,
// three times as long: a request that waits for others does so for longer then too.
func TestNobodyWaitsLongerThanTheTimeout(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			slow := time.Duration(envSize(t, "SLOW_MS", 300)) * time.Millisecond
			for try := 1; ; try++ {
				err := failingCrowd(t, f, slow)
				if err == nil {
					return
				}
				if try == 3 {
					t.Fatal(err)
				}
				t.Log(err)
				slow *= 3
			}
		})
	}
}

// failingCrowd is one try, with an application that takes so long.
func failingCrowd(t *testing.T, f failure, slow time.Duration) error {
	timeout := 10 * slow // what nobody may store is asked for by up to four, one after another, before all others ask at once
	slack := timeout / 2 // for a slow machine; a second wait would be another timeout
	r := newRig(t, []proxy.Rule{rule("hot", "/hot", ttl(time.Hour))}, func(w http.ResponseWriter, q *http.Request) { f.app(slow)(w, q) }, 0)
	r.up.Timeouts.ResponseHeader, r.fillTimeout = timeout, timeout
	if f.app == nil {
		r.up.URL = "http://" + apptest.FreeAddr(t)
	}
	r.addPod()
	r.addPod()
	answers, longest := crowd(t, r, "/hot")
	for _, a := range answers {
		if a.status != f.status {
			return fmt.Errorf("%+v, want %d", a, f.status)
		}
	}
	if longest > timeout+slack {
		return fmt.Errorf("a request waited for %s, its timeout is %s", longest, timeout)
	}
	if n := r.calls.Load(); f.name == "slow" && n != 1 {
		t.Errorf("%d calls of the application, want one", n)
	}
	t.Logf("longest wait %s, timeout %s, %d calls of the application", longest.Round(time.Millisecond), timeout, r.calls.Load())
	return nil
}

// With stale_while_revalidate nobody waits at all, whatever the application does, and
// with stale_if_error nobody sees it fail.
func TestNobodyWaitsWhereStaleUseIsAllowed(t *testing.T) {
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) { staleCrowd(t, f.app) })
	}
}

func staleCrowd(t *testing.T, failing func(time.Duration) http.HandlerFunc) {
	const life = 300 * time.Millisecond
	var broken atomic.Bool
	release := make(chan struct{})
	r := newRig(t, []proxy.Rule{rule("hot", "/hot", ttl(life), func(r *proxy.Rule) {
		r.Cache.StaleWhileRevalidate, r.Cache.StaleIfError = time.Hour, time.Hour
	})}, func(w http.ResponseWriter, q *http.Request) {
		if !broken.Load() {
			io.WriteString(w, "good")
			return
		}
		// Whatever it will do, it does not before all clients have their answers: one
		// that waited for it would never have its own.
		<-release
		if failing != nil {
			failing(time.Millisecond)(w, q)
		}
	}, 0)
	r.up.Timeouts.ResponseHeader = 5 * time.Second // what a refresh that hangs takes at the end
	r.addPod()
	r.addPod()
	t.Cleanup(r.app.CloseClientConnections)
	for _, p := range r.pods {
		eventually(t, "stored", func() bool { return strings.Contains(p.do(t, "GET", "/hot", "Host", "h").cacheStatus(), "; hit") })
	}
	calls := r.calls.Load()
	broken.Store(true)
	time.Sleep(life + 50*time.Millisecond) // it expires; fresh ones would not do harm
	if failing == nil {
		r.app.Listener.Close()
	}
	answers, longest := crowd(t, r, "/hot")
	for _, a := range answers {
		if a.status != 200 || a.body != "good" || !strings.Contains(a.cacheStatus(), "; hit") {
			close(release)
			t.Fatalf("%+v", a)
		}
	}
	eventually(t, "the refresh", func() bool { return failing == nil || r.calls.Load() > calls })
	if n := r.calls.Load() - calls; n > 1 {
		t.Errorf("%d refreshes at once, want one in all", n)
	}
	close(release)
	t.Logf("longest wait %s", longest.Round(time.Millisecond))
}
