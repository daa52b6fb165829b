package target

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func options(url string) Options {
	return Options{URL: url, Method: http.MethodPost, Body: "ping", Header: http.Header{"X-A": {"b"}, "Host": {"shop.test"}}, Rate: 1000, Duration: 200 * time.Millisecond, Connections: 8}
}

func TestRun(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-A") != "b" || string(body) != "ping" || r.Host != "shop.test" {
			t.Errorf("%v %q %q", r.Header, body, r.Host)
		}
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			w.Header().Set("Cache-Status", "cdn; fwd=miss, pillion; hit; ttl=5")
		case 2:
			w.Header().Set("Cache-Status", "pillion; fwd=uri-miss; stored")
		case 3:
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, "pong")
	}))
	defer srv.Close()
	o := options(srv.URL)
	var progress int
	o.Progress = func() { progress++ }
	out, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if out.Sent != 200 || progress != 200 || out.Latency.Count() != 200 || out.Bytes != 150*4 {
		t.Errorf("%d sent, %d progress, %d latencies, %d bytes", out.Sent, progress, out.Latency.Count(), out.Bytes)
	}
	errs := 0
	for _, k := range out.Errors {
		errs += k
	}
	if out.Status[200] != 100 || out.Status[503] != 50 || out.Cache["hit"] != 50 || out.Cache["fwd=uri-miss"] != 50 || errs != 50 {
		t.Errorf("%v %v %v", out.Status, out.Cache, out.Errors)
	}
	var text, page strings.Builder
	if err := out.Print(&text); err != nil {
		t.Fatal(err)
	}
	if err := out.HTML(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"status 503", "cache hit", "p99.9"} {
		if !strings.Contains(text.String(), want) || !strings.Contains(page.String(), want) {
			t.Errorf("%q is missing in the text or in the page:\n%s", want, &text)
		}
	}
	if !strings.Contains(page.String(), "<svg") || strings.Contains(page.String(), "<?xml") {
		t.Error("the page has no chart, or its prologue")
	}
}

// TestLatencyCountsFromTheIntendedTime has one connection, whose first request stalls.
func TestLatencyCountsFromTheIntendedTime(t *testing.T) {
	const stall = 300 * time.Millisecond
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		if n.Add(1) == 1 {
			time.Sleep(stall)
		}
	}))
	defer srv.Close()
	o := options(srv.URL)
	o.Connections, o.Body, o.Method, o.Rate, o.Duration = 1, "", http.MethodGet, 100, 200*time.Millisecond
	out, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// All 20 were due before the stall ended: even the last one is late by 100 ms.
	if got := out.Latency.Min(); got < stall/4 {
		t.Errorf("the least latency is %v: the stall of %v is not in it", got, stall)
	}
}

func TestStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer srv.Close()
	o := options(srv.URL)
	o.Duration = time.Hour
	out, err := Run(ctx, o)
	if err != nil || out.Sent > 1000 {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Options){
		"URL":           func(o *Options) { o.URL = "127.0.0.1:80" },
		"the URL":       func(o *Options) { o.URL = "ftp://x/" },
		"--rate":        func(o *Options) { o.Rate = 0 },
		"--duration":    func(o *Options) { o.Duration = 0 },
		"--connections": func(o *Options) { o.Connections = MostConnections + 1 },
	} {
		o := options("http://127.0.0.1:1/")
		change(&o)
		if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCacheState(t *testing.T) {
	for field, want := range map[string]string{
		"": "", "pillion; hit": "hit", "pillion;hit;ttl=3": "hit", "a; hit, pillion; fwd=stale; fwd-status=304": "fwd=stale", "pillion": "",
	} {
		if got := cacheState(field); got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

func TestCountIsBounded(t *testing.T) {
	m := make(map[string]int)
	for i := range 1000 {
		count(m, string(rune('a'+i)), 1)
	}
	if len(m) > mostNames+1 || m["others"] != 1000-mostNames {
		t.Errorf("%d names, %d others", len(m), m["others"])
	}
}
