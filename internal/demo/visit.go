package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// answer is what a request of the tour saw.
type answer struct {
	request string // "GET /profile"
	status  int
	header  http.Header
	body    string
	took    time.Duration
	calls   int // how often the application was called meanwhile
	err     error
}

// visitor is a plain HTTP client in front of the proxy.
type visitor struct {
	http *http.Client
	base string
	app  *app
}

// request sends one request. fields are name, value, name, value.
func (v *visitor) request(ctx context.Context, method, path, body string, fields ...string) answer {
	a := answer{request: method + " " + path, header: make(http.Header)}
	req, err := http.NewRequestWithContext(ctx, method, v.base+path, strings.NewReader(body))
	if err != nil {
		a.err = err
		return a
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header[fields[i]] = []string{fields[i+1]} // the name as it is written
	}
	before, began := v.app.pages(), time.Now()
	a.do(v.http, req)
	a.took, a.calls = time.Since(began), v.app.pages()-before
	return a
}

func (a *answer) do(client *http.Client, req *http.Request) {
	resp, err := client.Do(req)
	if err != nil {
		a.err = err
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	a.status, a.header, a.body, a.err = resp.StatusCode, resp.Header, string(b), err
}

func (v *visitor) get(ctx context.Context, path string, fields ...string) answer {
	return v.request(ctx, http.MethodGet, path, "", fields...)
}

// getAs sends a request with a session's id; who names its user on the screen.
func (v *visitor) getAs(ctx context.Context, who, id, path string, fields ...string) answer {
	a := v.get(ctx, path, append([]string{"X-Session-ID", id}, fields...)...)
	a.request += " as " + who
	return a
}

// hit says whether pillion answered with a stored response (RFC 9211).
func (a *answer) hit() bool {
	return strings.HasPrefix(a.header.Get("Cache-Status"), "pillion; hit")
}

// fresh says whether this request had the application make the answer.
func (a *answer) fresh() bool {
	return strings.Contains(a.header.Get("Cache-Status"), "; fwd=") && !a.collapsed()
}

// collapsed says whether another request at the same time had it made.
func (a *answer) collapsed() bool {
	return strings.Contains(a.header.Get("Cache-Status"), "; collapsed")
}

// seen is the answer in one line.
func (a *answer) seen() string {
	if a.err != nil {
		return "no answer: " + a.err.Error()
	}
	cache := strings.TrimPrefix(a.header.Get("Cache-Status"), "pillion; ")
	cache = strings.Replace(cache, fmt.Sprintf("; fwd-status=%d", a.status), "", 1) // it stands before
	if after := a.header.Get("Retry-After"); after != "" {
		cache = "Retry-After: " + after
	}
	calls := "application not called"
	if a.calls > 0 {
		calls = fmt.Sprintf("application called %d×", a.calls)
	}
	return fmt.Sprintf("%d  %-33s %s", a.status, cache, calls)
}

// field is a member of a JSON body, as text.
func (a *answer) field(name string) string {
	var m map[string]any
	if json.Unmarshal([]byte(a.body), &m) != nil || m[name] == nil {
		return ""
	}
	return fmt.Sprint(m[name])
}

// readiness is what the admin listener says.
type readiness struct {
	Ready, Draining bool
	Redis           struct{ Up, Tracking bool }
	status          int
}

// readReady asks the admin listener; the zero value when it does not answer.
func readReady(ctx context.Context, client *http.Client, admin string) (r readiness) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return r
	}
	var a answer
	if a.do(client, req); a.err != nil || json.Unmarshal([]byte(a.body), &r) != nil {
		return readiness{}
	}
	r.status = a.status
	return r
}
