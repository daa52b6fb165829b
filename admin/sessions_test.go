package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-proxy/pillion/admin"
)

// directory is a Sessions that knows the user 42.
type directory struct{ ended []string }

func (d *directory) UserSessions(_ context.Context, user string) ([]admin.Session, error) {
	switch user {
	case "off":
		return nil, fmt.Errorf("%w: set a setting", admin.ErrOff)
	case "42":
		return []admin.Session{{Handle: "h1", Created: time.Unix(0, 0).UTC()}}, nil
	}
	return nil, nil
}

func (d *directory) EndUserSessions(_ context.Context, user string) (int, error) {
	if user == "down" {
		return 0, errors.New("redis is down")
	}
	d.ended = append(d.ended, user)
	return 3, nil
}

func (d *directory) EndSession(_ context.Context, handle string) (bool, error) {
	return handle == "h1", nil
}

func (d *directory) ActiveUsers(_ context.Context, day time.Time, days int) (admin.ActiveUsers, error) {
	return admin.ActiveUsers{Days: days, Users: int64(day.Day()), Exact: int64(day.Day())}, nil
}

func (d *directory) Streak(_ context.Context, user string, _ time.Time) (admin.Streak, error) {
	return admin.Streak{User: user, Known: true, Days: 2}, nil
}

func TestSessions(t *testing.T) {
	d := &directory{}
	s := admin.New(admin.Config{Token: "t0ken"}, admin.Deps{Metrics: prometheus.NewRegistry(), Sessions: d})
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
	base := "http://" + ln.Addr().String()
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/sessions?user=42", 200, `{"sessions":[{"handle":"h1","created":"1970-01-01T00:00:00Z"}],"user":"42"}`},
		{"GET", "/sessions?user=nobody", 200, `{"sessions":[],"user":"nobody"}`},
		{"GET", "/sessions?user=off", 409, "set a setting"},
		{"GET", "/sessions", 400, "?user=42"},
		{"GET", "/sessions?user=", 400, "?user=42"},
		{"GET", "/sessions?user=1&user=2", 400, "?user=42"},
		{"GET", "/sessions?user=1&x=2", 400, "?user=42"},
		{"DELETE", "/sessions?user=42", 200, `{"ended":3,"user":"42"}`},
		{"DELETE", "/sessions?user=down", 503, "redis is down"},
		{"DELETE", "/sessions", 400, "?user=42"},
		{"DELETE", "/sessions/h1", 200, `{"ended":1}`},
		{"DELETE", "/sessions/h2", 404, "no session"},
		{"GET", "/users/active?day=2026-11-25", 200, `"day":"2026-11-25"`},
		{"GET", "/users/active?day=2026-11-25", 200, `"monthly":{"days":30,"users":25,"exact":25,"estimate":0}`},
		{"GET", "/users/active?day=25.11.2026", 400, "2026-11-25"},
		{"GET", "/users/a%2Fb/streak", 200, `{"user":"a/b","known":true,"days":2}`},
	} {
		if status, body := call(t, c.method, base+c.path, ""); status != 401 {
			t.Errorf("%s %s without the token: %d %s", c.method, c.path, status, body)
		}
		status, body := call(t, c.method, base+c.path, "", "Authorization", "Bearer t0ken")
		if status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, status, body, c.status, c.want)
		}
	}
	if fmt.Sprint(d.ended) != "[42]" {
		t.Errorf("ended the sessions of %v", d.ended)
	}
}
