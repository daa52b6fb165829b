package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-proxy/pillion/admin"
)

type purger struct{ last admin.Purge }

func (p *purger) Purge(_ context.Context, what admin.Purge) (int, error) {
	if what.Tag == "down" {
		return 0, errors.New("redis is down")
	}
	p.last = what
	return 3, nil
}

func serve(t *testing.T, token string, ready bool) (string, *purger) {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pillion_test"}, func() float64 { return 7 }))
	p := &purger{}
	s := admin.New(admin.Config{Token: token}, admin.Deps{
		Ready:   func() (bool, map[string]any) { return ready, map[string]any{"ready": ready} },
		Metrics: reg, Purger: p,
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Shutdown(context.Background())
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ln.Addr().String(), p
}

func call(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestEndpoints(t *testing.T) {
	base, p := serve(t, "", true)
	notReady, _ := serve(t, "", false)
	withToken, tp := serve(t, "s3cret", true)
	for _, tc := range []struct {
		name, method, url, body string
		header                  []string
		status                  int
		want                    string
	}{
		{"health", "GET", base + "/healthz", "", nil, 200, `"ok"`},
		{"ready", "GET", base + "/readyz", "", nil, 200, `true`},
		{"not ready", "GET", notReady + "/readyz", "", nil, 503, `false`},
		{"metrics", "GET", base + "/metrics", "", nil, 200, "pillion_test 7"},
		{"purge tag", "POST", base + "/purge", `{"tag":"a:1"}`, nil, 200, `"done":true`},
		{"purge nothing", "POST", base + "/purge", `{}`, nil, 400, "exactly one"},
		{"purge both", "POST", base + "/purge", `{"tag":"a","url":"http://h/"}`, nil, 400, "exactly one"},
		{"purge misspelt", "POST", base + "/purge", `{"tags":"a"}`, nil, 400, "tags"},
		{"purge relative", "POST", base + "/purge", `{"url":"/x"}`, nil, 400, "absolute"},
		{"purge while redis is down", "POST", base + "/purge", `{"tag":"down"}`, nil, 503, "redis is down"},
		{"purge by a page in a browser", "POST", base + "/purge", `{"tag":"a"}`, []string{"Origin", "http://evil.example"}, 401, "bearer"},
		{"purge by GET", "GET", base + "/purge", "", nil, 405, ""},
		{"no token", "POST", withToken + "/purge", `{"tag":"a"}`, nil, 401, "bearer"},
		{"wrong token", "POST", withToken + "/purge", `{"tag":"a"}`, []string{"Authorization", "Bearer s3cre"}, 401, "bearer"},
		{"metrics need no token", "GET", withToken + "/metrics", "", nil, 200, "pillion_test"},
		{"token", "POST", withToken + "/purge", `{"tag":"b"}`, []string{"Authorization", "Bearer s3cret"}, 200, `"done":true`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, body := call(t, tc.method, tc.url, tc.body, tc.header...)
			if status != tc.status || !strings.Contains(body, tc.want) {
				t.Errorf("got %d %s, want %d with %q", status, body, tc.status, tc.want)
			}
		})
	}
	if p.last.Tag != "a:1" || tp.last.Tag != "b" {
		t.Errorf("purged %+v and %+v", p.last, tp.last)
	}
}

func TestPurgeRequests(t *testing.T) {
	base, p := serve(t, "", true)
	for body, want := range map[string]admin.Purge{
		`{"url":"http://h:1/x%2Fy?q=1"}`:                 {Host: "h:1", Target: "/x%2Fy?q=1"},
		`{"url":"https://h"}`:                            {Host: "h", Target: "/"},
		`{"url":"http://h?q","soft":true}`:               {Host: "h", Target: "/?q", Soft: true},
		`{"prefix":"/a/"}`:                               {Prefix: "/a/"},
		`{"prefix":"http://shop.example/a","soft":true}`: {Prefix: "shop.example/a", Soft: true},
		`{"glob":"/a/*.css"}`:                            {Glob: "/a/*.css"},
		`{"all":true}`:                                   {All: true},
		`{"tag":"x","soft":true}`:                        {Tag: "x", Soft: true},
	} {
		status, answer := call(t, "POST", base+"/purge", body)
		if status != 200 || p.last != want {
			t.Errorf("%s: %d %s, purged %+v, want %+v", body, status, answer, p.last, want)
		}
		if counted := strings.Contains(answer, `"purged":3`); counted != (want.Tag == "") {
			t.Errorf("%s: %s", body, answer)
		}
	}
}
