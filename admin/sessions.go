package admin

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// ErrOff says that the settings do not ask for what a call is about. Its text says which
// setting does.
var ErrOff = errors.New("this is switched off")

// Session is a session of a user. Its handle names it for DELETE /sessions/{handle}, and
// gives no access.
type Session struct {
	Handle   string     `json:"handle"`
	Created  time.Time  `json:"created"`
	LastSeen *time.Time `json:"last_seen,omitempty"`
	Expires  *time.Time `json:"expires,omitempty"`
}

// ActiveUsers are the users of the days that end with one.
type ActiveUsers struct {
	Days     int   `json:"days"`
	Users    int64 `json:"users"`
	Exact    int64 `json:"exact"`
	Estimate int64 `json:"estimate"`
}

// Streak is for how many days in a row a user was active. Known is false where only the
// number of such users is estimated.
type Streak struct {
	User   string `json:"user"`
	Known  bool   `json:"known"`
	Days   int    `json:"days"`
	Detail string `json:"detail,omitempty"`
}

// Sessions lists and ends sessions, and counts users. Its errors wrap ErrOff where a
// setting must be switched on first.
type Sessions interface {
	UserSessions(ctx context.Context, user string) ([]Session, error)
	EndUserSessions(ctx context.Context, user string) (ended int, err error)
	EndSession(ctx context.Context, handle string) (found bool, err error)
	ActiveUsers(ctx context.Context, day time.Time, days int) (ActiveUsers, error)
	Streak(ctx context.Context, user string, today time.Time) (Streak, error)
}

func (s *Server) handleSessions(mux *http.ServeMux) {
	if s.deps.Sessions == nil {
		return
	}
	mux.Handle("GET /sessions", s.guarded(s.listSessions))
	mux.Handle("DELETE /sessions", s.guarded(s.endSessions))
	mux.Handle("DELETE /sessions/{handle}", s.guarded(s.endSession))
	mux.Handle("GET /users/active", s.guarded(s.activeUsers))
	mux.Handle("GET /users/{id}/streak", s.guarded(s.streak))
}

// user gives the user that a call is about; empty when it was answered.
func user(w http.ResponseWriter, r *http.Request) string {
	q := r.URL.Query()
	if len(q) != 1 || len(q["user"]) != 1 || q.Get("user") == "" {
		writeProblem(w, http.StatusBadRequest, "Say whose sessions: /sessions?user=42")
		return ""
	}
	return q.Get("user")
}

func (s *Server) listSessions(w http.ResponseWriter, r *http.Request) {
	id := user(w, r)
	if id == "" {
		return
	}
	list, err := s.deps.Sessions.UserSessions(r.Context(), id)
	if err != nil {
		writeFailure(w, err)
		return
	}
	if list == nil {
		list = []Session{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"user": id, "sessions": list})
}

func (s *Server) endSessions(w http.ResponseWriter, r *http.Request) {
	id := user(w, r)
	if id == "" {
		return
	}
	n, err := s.deps.Sessions.EndUserSessions(r.Context(), id)
	if err != nil {
		writeFailure(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"user": id, "ended": n})
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	found, err := s.deps.Sessions.EndSession(r.Context(), r.PathValue("handle"))
	switch {
	case err != nil:
		writeFailure(w, err)
	case !found:
		writeProblem(w, http.StatusNotFound, "There is no session with this handle.")
	default:
		writeJSON(w, http.StatusOK, map[string]any{"ended": 1})
	}
}

// activeUsers counts a day, and the week and month that end with it.
func (s *Server) activeUsers(w http.ResponseWriter, r *http.Request) {
	day := time.Now().UTC()
	if text := r.URL.Query().Get("day"); text != "" {
		var err error
		if day, err = time.Parse(time.DateOnly, text); err != nil {
			writeProblem(w, http.StatusBadRequest, "The day is not written as 2026-11-25.")
			return
		}
	}
	answer := map[string]any{"day": day.Format(time.DateOnly)}
	for _, period := range []struct {
		name string
		days int
	}{{"daily", 1}, {"weekly", 7}, {"monthly", 30}} {
		n, err := s.deps.Sessions.ActiveUsers(r.Context(), day, period.days)
		if err != nil {
			writeFailure(w, err)
			return
		}
		answer[period.name] = n
	}
	writeJSON(w, http.StatusOK, answer)
}

func (s *Server) streak(w http.ResponseWriter, r *http.Request) {
	st, err := s.deps.Sessions.Streak(r.Context(), r.PathValue("id"), time.Now())
	if err != nil {
		writeFailure(w, err)
		return
	}
	writeJSON(w, http.StatusOK, st)
}

func writeFailure(w http.ResponseWriter, err error) {
	if errors.Is(err, ErrOff) {
		writeProblem(w, http.StatusConflict, err.Error())
		return
	}
	writeProblem(w, http.StatusServiceUnavailable, "This is not done, or not known: "+err.Error())
}
