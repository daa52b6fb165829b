package frameworks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

const patience = time.Minute

// framework is one application and the settings that it needs.
type framework struct {
	name     string
	settings string // of session, as YAML
	user     string // the X-User-Id that /private is to get
	// command gives what runs the application, or says in missing what is not installed.
	command func(port, redis string) (cmd *exec.Cmd, missing string)
}

func frameworks() []framework {
	return []framework{
		{"express", `{format: express, secrets: ["a new secret", "keyboard cat"]}`, "alice", express},
		{"django", `{format: django}`, "1", django},
		{"flask", `{format: flask}`, "alice", flask},
		{"flask_signed", `{format: flask, secrets: [another, keyboard cat]}`, "alice", flaskSigned},
		{"php", `{format: php}`, "alice", php},
		{"php_serialize", `{format: php}`, "alice", phpSerialize},
		{"fastapi", `{login: user_id}`, "alice", fastapi},
	}
}

// express finds what .ci/install-deps put into the user's cache folder.
func express(port, redis string) (*exec.Cmd, string) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, "node (package nodejs)"
	}
	cache, _ := os.UserCacheDir()
	modules := filepath.Join(cache, "pillion-tests", "express", "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "connect-redis")); err != nil {
		return nil, "connect-redis (by npm, in " + modules + ")"
	}
	cmd := exec.Command(node, filepath.Join("express", "app.js"), port, redis)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "NODE_ENV=production")
	return cmd, ""
}

func django(port, redis string) (*exec.Cmd, string) {
	python := pythonWith("django, django_redis")
	if python == "" {
		return nil, "Django for Python (packages python3-django python3-django-redis)"
	}
	return exec.Command(python, filepath.Join("django", "app.py"), port, redis), ""
}

func flask(port, redis string) (*exec.Cmd, string) {
	python := pythonWith("flask, flask_session, redis")
	if python == "" {
		return nil, "Flask-Session for Python (packages python3-flask python3-flask-session python3-redis)"
	}
	cmd := exec.Command(python, filepath.Join("flask", "app.py"), port, redis)
	cmd.Env = append(os.Environ(), "SIGNED=")
	return cmd, ""
}

func flaskSigned(port, redis string) (*exec.Cmd, string) {
	cmd, missing := flask(port, redis)
	if cmd != nil {
		cmd.Env = append(cmd.Env, "SIGNED=1")
	}
	return cmd, missing
}

func php(port, redis string) (*exec.Cmd, string) {
	program, err := exec.LookPath("php")
	if err != nil {
		return nil, "php (package php-cli)"
	}
	if modules, err := exec.Command(program, "-m").Output(); err != nil || !bytes.Contains(modules, []byte("\nredis\n")) {
		return nil, "phpredis (package php-redis)"
	}
	return exec.Command(program, "-d", "session.save_handler=redis", "-d", "session.save_path=tcp://"+strings.TrimPrefix(redis, "redis://"),
		"-S", "127.0.0.1:"+port, filepath.Join("php", "app.php")), ""
}

func phpSerialize(port, redis string) (*exec.Cmd, string) {
	cmd, missing := php(port, redis)
	if cmd != nil {
		cmd.Args = append([]string{cmd.Args[0], "-d", "session.serialize_handler=php_serialize"}, cmd.Args[1:]...)
	}
	return cmd, missing
}

func fastapi(port, redis string) (*exec.Cmd, string) {
	python := pythonWith("fastapi, uvicorn, redis")
	if python == "" {
		return nil, "FastAPI for Python (packages python3-fastapi python3-uvicorn python3-redis)"
	}
	return exec.Command(python, filepath.Join("fastapi", "app.py"), port, redis), ""
}

// pythonWith gives an interpreter that has the modules, or "".
func pythonWith(modules string) string {
	for _, python := range []string{os.Getenv("PYTHON"), "python3", "/usr/bin/python3"} {
		if python != "" && exec.Command(python, "-c", "import "+modules).Run() == nil {
			return python
		}
	}
	return ""
}

// run starts an application, and ends it with the test.
func run(t *testing.T, f framework, redis string) (url string) {
	t.Helper()
	addr := apptest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd, missing := f.command(port, redis)
	if missing != "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: run .ci/install-deps", missing)
		}
		t.Skipf("NOT TESTED: %s is not installed: run .ci/install-deps", missing)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("output of %s:\n%s", f.name, out.String())
		}
	})
	programtest.Eventually(t, patience, f.name+" listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return "http://" + addr
}

// rig is an application behind the program, and their Redis.
type rig struct {
	*testing.T
	redis rueidis.Client
	proxy string
	admin string
}

func TestFrameworks(t *testing.T) {
	binary := programtest.Build(t)
	for _, f := range frameworks() {
		t.Run(f.name, func(t *testing.T) {
			srv := redistest.Start(t)
			upstream := run(t, f, "redis://"+srv.Addr)
			side := programtest.Start(t, binary, programtest.Options{
				Redis: "redis://" + srv.Addr, Upstream: upstream,
				Config: fmt.Sprintf("session: %s\nrules:\n"+
					"  - {match: {path: /login}, session: none}\n  - {match: {path: /visit}, session: none}\n  - {match: {path: /**}, session: required}\n", f.settings),
				Env: []string{"PILLION_REDIS_TIMEOUT=5s", "PILLION_REDIS_MAX_STALENESS=5s"},
			})
			r := &rig{T: t, redis: redistest.Client(t, srv), proxy: side.URL(), admin: "http://" + side.Admin}
			r.journey(f)
		})
	}
}

// journey is what each framework is put through.
func (r *rig) journey(f framework) {
	r.private("", 401, "") // nobody
	guest := r.cookie(r.ask("GET", "/visit", ""))
	r.private(guest, 401, "") // a guest's session is in Redis, and counts as none
	if n := r.metric(`pillion_session_checks_total{result="guest"}`); n != "1" {
		r.Errorf("%s guests were refused, want 1", n)
	}
	cookie := r.cookie(r.ask("POST", "/login", ""))
	for range 3 { // from Redis, then from memory
		r.private(cookie, 200, f.user)
	}
	r.tampered(f, cookie)
	if resp := r.ask("POST", "/logout", cookie); resp.status != 200 {
		r.Fatalf("logout: status %d, %s", resp.status, resp.body)
	}
	programtest.Eventually(r.T, patience, "the logout is known", func() bool { return r.ask("GET", "/private", cookie).status == 401 })
}

// tampered sends cookies that are not the framework's. What is signed is refused for
// any change; what is not, for a form that the framework gives no id. Redis hears of none.
func (r *rig) tampered(f framework, cookie string) {
	name, value, _ := strings.Cut(cookie, "=")
	bad := []string{"", "*", value + "*", value + "%00", strings.Repeat("a", 2000)}
	if f.name != "fastapi" { // an id of json is any text without special characters
		bad = append(bad, "a", "../"+value)
	}
	if id, _, signed := strings.Cut(value, "."); signed && f.name == "flask_signed" {
		bad = append(bad, id, id+".", "x"+value, strings.ToUpper(value))
	}
	if strings.HasPrefix(value, "s%3A") {
		flipped := "A"
		if strings.HasSuffix(value, "A") {
			flipped = "E"
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(value, "s%3A"), ".")
		bad = append(bad, value[:len(value)-1], value[:len(value)-1]+flipped, strings.Replace(value, "s%3A", "s%3Ax", 1), id, "s%3A"+id)
	}
	before := r.reads()
	for _, v := range bad {
		r.private(name+"="+v, 401, "")
	}
	if after := r.reads(); after != before {
		r.Errorf("tampered cookies reached Redis: it did %s, then %s", before, after)
	}
}

// reads gives what Redis counts of the commands that a session check could send.
func (r *rig) reads() string {
	r.Helper()
	text, err := r.redis.Do(context.Background(), r.redis.B().Info().Section("commandstats").Build()).ToString()
	if err != nil {
		r.Fatal(err)
	}
	found := regexp.MustCompile(`cmdstat_(get|exists|hgetall|expire|pexpire|set|eval|evalsha|pttl|multi|client\|caching):calls=\d+`).FindAllString(text, -1)
	return strings.Join(found, " ")
}

// metric gives the value of one line of /metrics.
func (r *rig) metric(name string) string {
	r.Helper()
	resp, err := http.Get(r.admin + "/metrics")
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n"+name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

func (r *rig) private(cookie string, status int, user string) {
	r.Helper()
	resp := r.ask("GET", "/private", cookie)
	if resp.status != status || status == 200 && resp.body != user {
		r.Fatalf("cookie %.60q: status %d, %q; want %d, %q", cookie, resp.status, resp.body, status, user)
	}
}

type answer struct {
	status  int
	body    string
	cookies []*http.Cookie
}

// ask sends a request that tries to pass for another user.
func (r *rig) ask(method, path, cookie string) answer {
	r.Helper()
	req, err := http.NewRequest(method, r.proxy+path, nil)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("X-User-Id", "mallory")
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return answer{resp.StatusCode, string(body), resp.Cookies()}
}

// cookie gives the last session cookie of a response as the client sends it back.
func (r *rig) cookie(a answer) string {
	r.Helper()
	if a.status != 200 || len(a.cookies) == 0 {
		r.Fatalf("status %d, %d cookies, %s", a.status, len(a.cookies), a.body)
	}
	c := a.cookies[len(a.cookies)-1]
	return c.Name + "=" + c.Value
}
