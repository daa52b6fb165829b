// Package lifecycle holds no Go: this test runs the Node application behind the program.
package lifecycle

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/apptest"
	"github.com/pillion-proxy/pillion/internal/programtest"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

const cookieName = "__Host-sid"

// site is the example, running.
type site struct {
	*testing.T
	binary string
	pods   []*programtest.Process
}

// start runs the application, and two pillions on one Redis in front of it.
func start(t *testing.T) *site {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("NOT TESTED: node is not installed")
	}
	config, err := os.ReadFile("config.yaml")
	must(t, err)
	redis, app := redistest.Start(t), apptest.FreeAddr(t)
	cmd := exec.Command(node, "app.js")
	cmd.Env = append(os.Environ(), "PORT="+app[strings.LastIndexByte(app, ':')+1:])
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	s := &site{T: t, binary: programtest.Build(t)}
	for range 2 {
		s.pods = append(s.pods, programtest.Start(t, s.binary, programtest.Options{
			Config: string(config), Redis: "redis://" + redis.Addr, Upstream: "http://" + app,
			Env: []string{"PILLION_UPSTREAM_WAIT=1m", "PILLION_REDIS_TIMEOUT=5s", "PILLION_REDIS_MAX_STALENESS=5s"},
		}))
	}
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request with a session's id, or none, and gives status, body and cookie.
func (s *site) do(pod int, method, path, id string) (status int, body string, cookie *http.Cookie) {
	s.Helper()
	req, err := http.NewRequest(method, "http://"+s.pods[pod].Addr+path, nil)
	must(s.T, err)
	if id != "" {
		req.Header.Set("Cookie", cookieName+"="+id)
	}
	resp, err := http.DefaultClient.Do(req)
	must(s.T, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(s.T, err)
	if field := resp.Header.Get("Pillion-Session"); field != "" {
		s.Errorf("%s %s: the client sees Pillion-Session: %s", method, path, field)
	}
	for _, c := range resp.Cookies() {
		if c.Name == cookieName {
			cookie = c
		}
	}
	return resp.StatusCode, string(text), cookie
}

func (s *site) login(user int) string {
	s.Helper()
	status, body, c := s.do(0, "POST", fmt.Sprintf("/login?user=%d", user), "")
	if status != 200 || c == nil {
		s.Fatalf("log-in: %d %s, cookie %v", status, body, c)
	}
	if len(c.Value) != 43 || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		s.Errorf("log-in sets %s", c)
	}
	return c.Value
}

// profile asks every pod.
func (s *site) profile(id string, wantStatus int, want string) {
	s.Helper()
	for pod := range s.pods {
		if status, body, _ := s.do(pod, "GET", "/profile", id); status != wantStatus || !strings.Contains(body, want) {
			s.Errorf("profile by pod %d: %d %s, want %d with %s", pod, status, body, wantStatus, want)
		}
	}
}

// soon is for what other pods learn by an invalidation.
func (s *site) soon(id string, wantStatus int, want string) {
	s.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for pod := range s.pods {
		for {
			status, body, _ := s.do(pod, "GET", "/profile", id)
			if status == wantStatus && strings.Contains(body, want) {
				break
			}
			if time.Now().After(deadline) {
				s.Fatalf("profile by pod %d stays %d %s, want %d with %s", pod, status, body, wantStatus, want)
			}
		}
	}
}

func TestLifecycle(t *testing.T) {
	s := start(t)
	s.profile("", 401, "")
	id := s.login(42)
	s.profile(id, 200, `{"user":"42","plan":"free"}`)

	if status, body, c := s.do(0, "POST", "/upgrade", id); status != 200 || c != nil {
		t.Fatalf("update: %d %s, cookie %v", status, body, c)
	}
	s.soon(id, 200, `{"user":"42","plan":"pro"}`)

	status, body, c := s.do(1, "POST", "/rotate", id)
	if status != 200 || c == nil || c.Value == id {
		t.Fatalf("rotate: %d %s, cookie %v", status, body, c)
	}
	s.profile(c.Value, 200, `{"user":"42","plan":"pro"}`)
	s.soon(id, 401, "")
	id = c.Value

	status, body, c = s.do(0, "POST", "/logout", id)
	if status != 200 || c == nil || c.Value != "" || c.MaxAge >= 0 {
		t.Fatalf("log-out: %d %s, cookie %v", status, body, c)
	}
	s.soon(id, 401, "")
}

func TestLogOutEverywhereAndTheMostSessions(t *testing.T) {
	s := start(t)
	var ids []string
	for range 4 {
		ids = append(ids, s.login(42))
	}
	other := s.login(7)
	s.soon(ids[0], 401, "") // max_per_user: 3
	for _, id := range ids[1:] {
		s.profile(id, 200, `"42"`)
	}
	if status, body, _ := s.do(0, "POST", "/logout-everywhere", ids[1]); status != 200 {
		t.Fatalf("log-out everywhere: %d %s", status, body)
	}
	for _, id := range ids {
		s.soon(id, 401, "")
	}
	s.profile(other, 200, `"7"`)
	s.fixation(other)
}

// fixation: an id that is known from before the log-in is worth nothing after it.
func (s *site) fixation(planted string) {
	s.Helper()
	status, _, c := s.do(0, "POST", "/login?user=8", planted)
	if status != 200 || c == nil || c.Value == planted {
		s.Fatalf("log-in with a session: %d, cookie %v", status, c)
	}
	s.profile(c.Value, 200, `"8"`)
	s.soon(planted, 401, "")
}

func TestCommands(t *testing.T) {
	s := start(t)
	ids := []string{s.login(42), s.login(42)}
	for _, id := range ids {
		s.profile(id, 200, `"42"`)
	}
	var list struct {
		Sessions []struct{ Handle string }
	}
	text := s.pillion("session", "list", "--user", "42")
	must(t, json.Unmarshal([]byte(text), &list))
	if len(list.Sessions) != 2 || strings.Contains(text, ids[0]) || strings.Contains(text, ids[1]) {
		t.Fatalf("session list gives %s", text)
	}
	s.pillion("session", "destroy", list.Sessions[0].Handle)
	s.soon(ids[0], 401, "")
	s.profile(ids[1], 200, `"42"`)
	if got := s.pillion("session", "destroy-all", "--user", "42"); !strings.Contains(got, `"ended":1`) {
		t.Errorf("session destroy-all gives %s", got)
	}
	s.soon(ids[1], 401, "")
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(s.pillion("users", "active"), `"daily":{"days":1,"users":1,"exact":1,"estimate":0}`) {
		if time.Now().After(deadline) {
			t.Fatalf("users active gives %s", s.pillion("users", "active"))
		}
	}
	if got := s.pillion("users", "streak", "--user", "42"); !strings.Contains(got, `"known":true,"days":1`) {
		t.Errorf("users streak gives %s", got)
	}
}

func (s *site) pillion(args ...string) string {
	s.Helper()
	out, err := exec.Command(s.binary, append(args, "--admin", s.pods[0].Admin)...).CombinedOutput()
	if err != nil {
		s.Fatalf("pillion %v: %v\n%s", args, err, out)
	}
	return string(out)
}
