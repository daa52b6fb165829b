package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/internal/redistest"
	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

// What a session check must withstand (OWASP ASVS 5.0), line by line.

func withstandRules() []proxy.Rule {
	return []proxy.Rule{
		rule("public", "/public/**"),
		rule("admin", "/admin/**", func(r *proxy.Rule) {
			r.Session = sessioncheck.Policy{Require: map[string][]string{"role": {"admin"}}}
		}),
		rule("mine", "/mine/**", required, ttl(time.Hour), func(r *proxy.Rule) { r.CSRF.Mode = "on" }),
	}
}

// lookups is how often Redis was asked for a key.
func (r *rig) lookups() int {
	r.t.Helper()
	text, err := r.other.Do(context.Background(), r.other.B().Info().Section("commandstats").Build()).ToString()
	must(r.t, err)
	n := 0
	for _, command := range []string{"get", "exists", "eval", "evalsha"} {
		_, rest, _ := strings.Cut(text, "cmdstat_"+command+":calls=")
		digits, _, _ := strings.Cut(rest, ",")
		calls, _ := strconv.Atoi(digits)
		n += calls
	}
	return n
}

func (r *rig) command(args ...string) {
	r.t.Helper()
	must(r.t, r.other.Do(context.Background(), r.other.B().Arbitrary(args...).Build()).Error())
}

// Identity headers: the application sees the sidecar's value alone.
func TestWithstandForgedIdentity(t *testing.T) {
	r, p := resultRig(t, withstandRules(), nil, nil)
	r.setSession("nobody", `{"role":"guest"}`)
	for _, forged := range []string{
		"X-User-Id: 666", "x_user_id: 666", "X-USER_ID: 666", "x-UsEr-iD: 666", "X.User.Id: 666", "X-User-Id: 666\r\nX-User-Id: 667",
		"X-User-Id: 666\r\nConnection: X-User-Id", "Connection: X-User-Id", "X-User-Id:\t666",
	} {
		for _, tc := range []struct{ path, session, want string }{
			{"/public/a", "s1", ""}, {"/mine/a", "s1", "7"}, {"/mine/b", "nobody", ""},
		} {
			got := p.raw(t, "GET "+tc.path+strconv.Itoa(int(r.calls.Load()))+" HTTP/1.1\r\nHost: h\r\nX-Session-ID: "+tc.session+"\r\n"+forged+"\r\n\r\n")
			var values []string
			for line := range strings.Lines(got.body) {
				name, value, _ := strings.Cut(line, ":")
				if strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name)) == "x-user-id" {
					values = append(values, strings.TrimSpace(value))
				}
			}
			if got.status != 200 || strings.Join(values, ",") != tc.want {
				t.Errorf("%q on %s: %d, the application got %q, want %q", forged, tc.path, got.status, values, tc.want)
			}
		}
	}
}

// Two cookies of one name: a bounded number is tried, and two users are refused.
func TestWithstandDuplicateCookies(t *testing.T) {
	r, p := resultRig(t, withstandRules(), nil, nil)
	r.setSession("s2", `{"user_id": 8}`)
	var stale []string
	for i := range 20 {
		stale = append(stale, fmt.Sprint("session_id=x", i))
	}
	for _, tc := range []struct {
		cookie string
		want   int
		most   int // lookups
	}{
		{"session_id=stale; session_id=s1", 200, 3},
		{"session_id=s1; session_id=stale", 200, 3},
		{"session_id=s1; session_id=s2", 401, 4},
		{strings.Join(stale, "; "), 401, 4},
	} {
		before := r.lookups()
		got := p.do(t, "GET", "/mine/a", "Cookie", tc.cookie, "Cache-Control", "no-store")
		if n := r.lookups() - before; got.status != tc.want || n > tc.most {
			t.Errorf("%s: %d after %d lookups, want %d after at most %d", tc.cookie, got.status, n, tc.want, tc.most)
		}
	}
}

// Path tricks: no spelling and no other header leads past a rule.
func TestWithstandPathTricks(t *testing.T) {
	r, p := resultRig(t, withstandRules(), nil, nil)
	for _, path := range []string{
		"/admin/x", "/public/../admin/x", "/public/%2e%2e/admin/x", "/public/%2E%2e%2fadmin/x", "/public%2f..%2fadmin/x", "/public/..;/admin/x",
		"//admin/x", "/public//../admin/x", "/public/#/../admin/x", "/admin/x#/public/", "/%61dmin/x", "/admin%2fx", "/public/..%5cadmin/x",
		"/public/%23/../admin", "/public/..%00/admin/x", "http://h/admin/x", "/public\\..\\admin/x",
	} {
		got := p.raw(t, "GET "+path+" HTTP/1.1\r\nHost: h\r\nUser-Agent: Googlebot\r\nX-Forwarded-Uri: /public/\r\nX-Original-URL: /public/\r\n"+
			"X-Rewrite-URL: /public/\r\nX-HTTP-Method-Override: OPTIONS\r\nX-Forwarded-Prefix: /public\r\n\r\n")
		if got.status != 400 && got.status != 401 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if n := r.calls.Load(); n != 0 {
		t.Errorf("the application was called %d times", n)
	}
}

// Ids of no valid form: 401 without a Redis command.
func TestWithstandBadIDs(t *testing.T) {
	r, p := resultRig(t, withstandRules(), nil, nil)
	before := r.lookups()
	for _, id := range []string{"", "*", "s*", "s?", "[s1]", "{s1}", "s1%00", "s1%0d%0a", "s 1", strings.Repeat("s", 257), strings.Repeat("s", 8192), "s1\xff", "s1,s1", "s1'"} {
		for _, field := range []string{"X-Session-ID: ", "Cookie: session_id="} {
			if got := p.raw(t, "GET /mine/a HTTP/1.1\r\nHost: h\r\n"+field+id+"\r\n\r\n"); got.status != 401 {
				t.Errorf("%.40q: %d", field+id, got.status)
			}
		}
	}
	for _, id := range []string{"s1\x00", "s1\rX: y", "s1\n X: y"} { // no header at all
		if got := p.raw(t, "GET /mine/a HTTP/1.1\r\nHost: h\r\nX-Session-ID: "+id+"\r\n\r\n"); got.status != 400 {
			t.Errorf("%q: %d", id, got.status)
		}
	}
	if n := r.lookups() - before; n != 0 || r.calls.Load() != 0 {
		t.Errorf("%d Redis commands and %d calls of the application", n, r.calls.Load())
	}
}

// The end of a session, whatever ends it, holds on every pod, and no stored page is
// served after it.
func TestWithstandEndOfSession(t *testing.T) {
	r := newRig(t, withstandRules(), echo, 2)
	for i, tc := range []struct {
		name    string
		command [][]string // with KEY
	}{
		{"DEL", [][]string{{"DEL", "KEY"}}},
		{"UNLINK", [][]string{{"UNLINK", "KEY"}}},
		{"RENAME", [][]string{{"RENAME", "KEY", "elsewhere"}}},
		{"expiry", [][]string{{"PEXPIRE", "KEY", "50"}}},
		{"eviction", [][]string{{"CONFIG", "SET", "maxmemory-policy", "allkeys-random"}, {"CONFIG", "SET", "maxmemory", "1"}}},
		{"FLUSHDB", [][]string{{"FLUSHDB"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id := fmt.Sprint("end", i)
			r.setSession(id, `{"user_id": `+strconv.Itoa(i+1)+`}`)
			get := func(p *pod) reply { return p.do(t, "GET", "/mine/page", "Host", "h", "X-Session-ID", id) }
			for _, p := range r.pods {
				eventually(t, "stored", func() bool { return strings.Contains(get(p).cacheStatus(), "; hit") })
			}
			for _, args := range tc.command {
				for j := range args {
					args[j] = strings.Replace(args[j], "KEY", "session:"+id, 1)
				}
				r.command(args...)
			}
			if tc.name == "eviction" {
				eventually(t, "evicted", func() bool {
					n, err := r.other.Do(context.Background(), r.other.B().Exists().Key("session:"+id).Build()).AsInt64()
					return err == nil && n == 0
				})
				r.command("CONFIG", "SET", "maxmemory", "0")
			}
			for _, p := range r.pods {
				eventually(t, "401", func() bool { return get(p).status == 401 })
				for range 20 {
					if got := get(p); got.status != 401 || strings.Contains(got.body, "user=") {
						t.Fatalf("after the end of the session: %d %s", got.status, got.body)
					}
				}
			}
		})
	}
}

// The absolute timeout holds though the session slides, and a stored page with it.
func TestWithstandAbsoluteTimeout(t *testing.T) {
	r, p := resultRig(t, withstandRules(), func(c *sessioncheck.Config) {
		c.AbsoluteTimeout, c.CreatedField = time.Hour, "created"
	}, nil)
	made := func(d time.Duration) string {
		return fmt.Sprintf(`{"user_id":7,"created":%d}`, time.Now().Add(d).UnixMilli())
	}
	r.setSession("old", made(-time.Hour))
	if got := p.do(t, "GET", "/mine/a", "X-Session-ID", "old"); got.status != 401 {
		t.Errorf("of an old session: %d", got.status)
	}
	r.setSession("soon", made(-time.Hour+300*time.Millisecond))
	eventually(t, "its end", func() bool { return p.do(t, "GET", "/mine/a", "X-Session-ID", "soon").status == 401 })
	if n := p.session.Stats().Absent["too_old"]; n < 2 {
		t.Errorf("%d were too old", n)
	}
}

// Outages: 503 with Retry-After where a session is needed, never 401, 403 or a cookie;
// what needs none goes on.
func TestWithstandOutages(t *testing.T) {
	for _, tc := range []struct {
		name       string
		begin, end func(t *testing.T, r *rig, g *redisGate)
		key        bool // only this session is not known
	}{
		{name: "kill", begin: func(_ *testing.T, r *rig, _ *redisGate) { r.redis.Kill() }, end: func(t *testing.T, r *rig, _ *redisGate) {
			must(t, r.redis.Restart())
			r.other = redistest.Client(t, r.redis)
			r.setSession("s1", admin)
		}},
		{name: "SIGSTOP", begin: func(t *testing.T, r *rig, _ *redisGate) { must(t, r.redis.Pause()) }, end: func(t *testing.T, r *rig, _ *redisGate) { must(t, r.redis.Resume()) }},
		{name: "partition", begin: func(_ *testing.T, _ *rig, g *redisGate) { g.partition(true) }, end: func(_ *testing.T, _ *rig, g *redisGate) { g.partition(false); g.set(func() {}) }},
		{name: "NOAUTH", begin: func(_ *testing.T, r *rig, _ *redisGate) {
			r.command("CONFIG", "SET", "requirepass", "x")
			r.command("CLIENT", "KILL", "TYPE", "normal")
		}, end: func(_ *testing.T, r *rig, _ *redisGate) { r.command("CONFIG", "SET", "requirepass", "") }},
		{name: "LOADING", begin: func(_ *testing.T, _ *rig, g *redisGate) {
			g.set(func() { g.reply = "-LOADING Redis is loading the dataset in memory\r\n" })
		}, end: func(_ *testing.T, _ *rig, g *redisGate) { g.set(func() { g.reply = "" }) }},
		{name: "WRONGTYPE", key: true, begin: func(_ *testing.T, r *rig, _ *redisGate) {
			r.del("session:s1")
			r.command("RPUSH", "session:s1", "x")
		}, end: func(_ *testing.T, r *rig, _ *redisGate) { r.setSession("s1", admin) }},
		{name: "failover", begin: func(t *testing.T, r *rig, g *redisGate) {
			g.set(func() { g.to = "127.0.0.1:1" })
		}, end: func(t *testing.T, r *rig, g *redisGate) {
			second := redistest.Start(t)
			r.other = redistest.Client(t, second)
			r.setSession("s1", admin)
			g.set(func() { g.to = second.Addr })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, withstandRules(), told, 0)
			r.hasty()
			var g *redisGate
			r.via = func(addr string) string { g = newRedisGate(t, addr); return g.ln.Addr().String() }
			p := r.addPod()
			eventually(t, "up", p.conn.Up)
			r.setSession("s1", admin)
			get := func() reply { return p.do(t, "GET", "/admin/a", "X-Session-ID", "s1") }
			if got := get(); got.status != 200 {
				t.Fatalf("before: %d", got.status)
			}
			tc.begin(t, r, g)
			eventually(t, "the outage is known", func() bool { return check(t, get()) == 503 })
			if got := get(); got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Errorf("%d, Retry-After %q", got.status, got.header.Get("Retry-After"))
			}
			if got := p.do(t, "GET", "/public/a"); got.status != 200 {
				t.Errorf("without a session: %d", got.status)
			}
			if got := p.do(t, "GET", "/admin/a", "X-Session-ID", "made-up"); got.status != 503 && !tc.key {
				t.Errorf("another id: %d", got.status)
			}
			if tc.end(t, r, g); tc.name != "kill" && tc.name != "failover" {
				eventually(t, "it is over", func() bool { return check(t, get()) == 200 })
				return
			}
			eventually(t, "it is over", func() bool { return get().status == 200 })
		})
	}
}

// check fails for what no outage may be answered with.
func check(t testing.TB, got reply) int {
	t.Helper()
	if got.status != 200 && got.status != 503 || got.header.Get("Set-Cookie") != "" {
		t.Fatalf("in an outage: %d, Set-Cookie %q", got.status, got.header.Get("Set-Cookie"))
	}
	return got.status
}

// CSRF, WebSocket, preflight, and a 401 that scripts can read: the tables of TestCSRF,
// TestPreflight and TestCORS have the cases; here they are together on one rule.
func TestWithstandOtherSites(t *testing.T) {
	const shop = "https://shop.example.com"
	_, p := resultRig(t, withstandRules(), nil, func(s *proxy.Settings) { s.CORSOrigins = []string{shop} })
	for _, tc := range []struct {
		method string
		header []string
		want   int
	}{
		{"POST", []string{"Cookie", "session_id=s1", "Origin", shop, "Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", []string{"Cookie", "session_id=s1", "Origin", shop}, 403},
		{"GET", []string{"Cookie", "session_id=s1", "Origin", shop, "Connection", "Upgrade", "Upgrade", "websocket"}, 403},
		{"OPTIONS", []string{"Origin", shop, "Access-Control-Request-Method", "POST"}, 200},
		{"OPTIONS", []string{"Origin", shop}, 401},
		{"GET", []string{"Origin", shop}, 401},
	} {
		got := p.do(t, tc.method, "/mine/a", tc.header...)
		allowed := got.header.Get("Access-Control-Allow-Origin")
		if got.status != tc.want || (allowed == shop) != (tc.want != 200) {
			t.Errorf("%s %q: %d, allowed %q, want %d", tc.method, tc.header, got.status, allowed, tc.want)
		}
	}
}

// Identity values that are no safe header are refused; logs hold no id.
func TestWithstandIdentityValues(t *testing.T) {
	r := newRig(t, withstandRules(), told, 0)
	var log lockedBuffer
	r.log = zerolog.New(&log)
	r.settings = func(s *proxy.Settings) { s.Access = "all" }
	p := r.addPod()
	for i, user := range []string{`"7\r\nX-Admin: 1"`, `"7\n"`, `"7\u0000"`, `"7\u007f"`, `"\u0085"`, `" 7"`, `""`, `"` + strings.Repeat("7", 1025) + `"`, `{"a":1}`, `"\ud800"`} {
		id := fmt.Sprintf("secret-id-%d", i)
		r.setSession(id, `{"user_id": `+user+`}`)
		got := p.do(t, "GET", "/mine/a", "X-Session-ID", id)
		if got.status != 200 || strings.Contains(got.body, "X-User-Id") || strings.Contains(got.body, "X-Admin") {
			t.Errorf("%.40s: %d, the application got %q", user, got.status, got.body)
		}
	}
	eventually(t, "logged", func() bool { return strings.Count(log.String(), "\n") >= 10 })
	if strings.Contains(log.String(), "secret-id") {
		t.Errorf("the log holds an id:\n%s", log.String())
	}
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
