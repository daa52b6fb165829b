package demo

import (
	"context"
	"net/http"
	"strings"
)

func (t *tour) refused(ctx context.Context, r *report) {
	a := t.get(ctx, "/profile")
	r.show(a, http.StatusUnauthorized)
	made := t.getAs(ctx, "made-up id", "made-up", "/profile")
	r.show(made, http.StatusUnauthorized)
	unknown := t.get(ctx, "/not/in/any/rule")
	r.show(unknown, http.StatusUnauthorized)
	r.want(a.calls+made.calls+unknown.calls == 0, "the application must not be asked")
}

func (t *tour) spoofed(ctx context.Context, r *report) {
	a := t.get(ctx, "/profile", "X-User-Id", "2")
	r.show(a, http.StatusUnauthorized)
	a = t.get(ctx, "/whoami", "X-User-Id", "2", "X_User_Id", "2")
	r.show(a, http.StatusOK)
	r.saw("", "sent X-User-Id: 2 and X_User_Id: 2, the application got %q and %q", a.field("user_id"), a.field("underscore_twin"))
	r.want(a.calls == 1 && a.field("user_id") == "" && a.field("underscore_twin") == "", "neither header may reach the application")
}

func (t *tour) login(ctx context.Context, r *report) {
	t.ada = t.loginAs(ctx, r, "ada")
	t.grace = t.loginAs(ctx, r, "grace")
	r.want(t.ada != t.grace, "the sessions must differ")
	a := t.getAs(ctx, "ada", t.ada, "/whoami", "X-User-Id", "2")
	r.show(a, http.StatusOK)
	r.saw("", "with ada's session and X-User-Id: 2, the application got %q", a.field("user_id"))
	r.want(a.field("user_id") == "1", "the application must get ada's id, from her session")
}

// loginAs logs a user in through the proxy and gives the session's id.
func (t *tour) loginAs(ctx context.Context, r *report, user string) string {
	a := t.request(ctx, http.MethodPost, "/login", "user="+user)
	a.request += " user=" + user
	r.show(a, http.StatusOK)
	id := strings.TrimSpace(a.body)
	cookie := a.header.Get("Set-Cookie")
	r.saw("", "Set-Cookie: session_id=%s…", id[:min(len(id), 6)])
	r.want(id != "" && strings.HasPrefix(cookie, "session_id="+id+";"), "the cookie must carry the session id, not %q", cookie)
	return id
}

func (t *tour) profiles(ctx context.Context, r *report) {
	for _, u := range []struct{ name, id string }{{"ada", t.ada}, {"grace", t.grace}} {
		first := t.getAs(ctx, u.name, u.id, "/profile")
		r.show(first, http.StatusOK)
		r.want(first.fresh() && first.calls == 1, "%s's first profile must be made for her", u.name)
		r.want(first.field("hello") == u.name, "%s must get her own profile, not that of %q", u.name, first.field("hello"))
		second := t.get(ctx, "/profile", "Cookie", "session_id="+u.id)
		second.request += " by cookie"
		r.sameHit(second, first)
		r.saw("", "it says hello %s", second.field("hello"))
	}
	again := t.getAs(ctx, "ada", t.ada, "/profile")
	r.want(again.field("hello") == "ada", "ada must still get her own profile, not that of %q", again.field("hello"))
}

func (t *tour) logout(ctx context.Context, r *report) {
	a := t.getAs(ctx, "ada", t.ada, "/profile")
	r.want(a.status == http.StatusOK && a.hit(), "ada's profile must be a hit before she logs out")
	r.show(t.request(ctx, http.MethodPost, "/logout", "", "X-Session-ID", t.ada), http.StatusOK)
	took := r.eventually(ctx, "401 after the log-out", func() bool {
		a = t.getAs(ctx, "ada", t.ada, "/profile")
		return a.status == http.StatusUnauthorized
	})
	r.show(a, http.StatusUnauthorized)
	r.saw("", "%s after the log-out, though the profile is still stored", short(took))
	other := t.getAs(ctx, "grace", t.grace, "/profile")
	r.show(other, http.StatusOK)
	r.want(other.field("hello") == "grace", "grace must still be logged in")
}
