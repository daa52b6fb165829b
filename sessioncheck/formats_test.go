package sessioncheck

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func expressCookie(id, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	return url.QueryEscape("s:" + id + "." + base64.RawStdEncoding.EncodeToString(mac.Sum(nil)))
}

func useFormat(format string, secrets ...string) func(*Config) {
	return func(c *Config) {
		*c = DefaultFor(format)
		c.Secrets = secrets
	}
}

// A hit on a signed cookie costs no more than one on a plain id.
func TestSignedHitsCostNothing(t *testing.T) {
	f := start(t, useFormat("express", "new", "old"))
	f.do("SET", "sess:one", `{"cookie":{},"passport":{"user":1}}`, "EX", "86400")
	raw, now, ctx := []byte("Host: h\r\nCookie: a=b; connect.sid="+expressCookie("one", "old")+"\r\n\r\n"), time.Now(), context.Background()
	f.want(f.Check(ctx, raw, now), Valid, ReasonNone, "1")
	before := f.store.gets.Load()
	n := testing.AllocsPerRun(1000, func() {
		if r := f.Check(ctx, raw, now); r.Status != Valid {
			t.Error("not valid")
		}
	})
	if n != 0 && !raceEnabled {
		t.Errorf("%v allocations for each hit", n)
	}
	if got := f.store.gets.Load(); got != before {
		t.Errorf("%d lookups during hits", got-before)
	}
}

func TestSignedCookies(t *testing.T) {
	f := start(t, useFormat("express", "secret"))
	f.do("SET", "sess:one", `{"passport":{"user":1}}`, "EX", "86400")
	f.do("SET", "sess:two", `{"passport":{"user":2}}`, "EX", "86400")
	f.do("SET", "sess:guest", `{"cart":[1]}`, "EX", "86400")
	f.do("SET", "sess:out", `{"passport":{}}`, "EX", "86400")
	one, two, forged := expressCookie("one", "secret"), expressCookie("two", "secret"), expressCookie("one", "guess")
	many := strings.Repeat("connect.sid="+forged+"x; ", 4*maxVerified)
	for _, tc := range []struct {
		cookie string
		status Status
		reason Reason
		user   string
	}{
		{"connect.sid=" + one, Valid, ReasonNone, "1"},
		{`connect.sid="` + one + `"`, Valid, ReasonNone, "1"},
		{"connect.sid=" + forged, Absent, ReasonBadID, ""},
		{"connect.sid=one", Absent, ReasonBadID, ""},
		{"connect.sid=s%3Aone", Absent, ReasonBadID, ""},
		{"session_id=one", Absent, ReasonMissing, ""},
		{"connect.sid=" + forged + "; connect.sid=" + one, Valid, ReasonNone, "1"},
		{"connect.sid=" + one + "; connect.sid=" + two, Absent, ReasonAmbiguous, ""},
		{"connect.sid=" + expressCookie("none", "secret"), Absent, ReasonNotFound, ""},
		{"connect.sid=" + expressCookie("guest", "secret"), Absent, ReasonGuest, ""},
		{"connect.sid=" + expressCookie("out", "secret"), Absent, ReasonGuest, ""},
		{many + "connect.sid=" + one, Absent, ReasonBadID, ""}, // the work for one request is bounded
	} {
		for range 2 {
			r := f.raw("Cookie: " + tc.cookie + "\r\n")
			if f.want(r, tc.status, tc.reason, tc.user); t.Failed() {
				t.Fatalf("on %.200q", tc.cookie)
			}
		}
	}
	f.do("SET", "sess:guest", `{"passport":{"user":3}}`, "EX", "86400") // the guest logs in
	f.eventually("the login is seen", func() bool {
		return f.raw("Cookie: connect.sid="+expressCookie("guest", "secret")+"\r\n").Status == Valid
	})
}

// What is not signed never reaches Redis, not even as a lookup.
func TestForgedCookiesCostNoRedisCommand(t *testing.T) {
	f := start(t, useFormat("express", "secret"))
	good := expressCookie("one", "secret")
	plain, err := url.QueryUnescape(good)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for _, c := range "AZ09." {
			changed := good[:i] + string(c) + good[i+1:]
			if decoded, err := url.QueryUnescape(changed); err == nil && decoded == plain {
				continue
			}
			f.want(f.raw("Cookie: connect.sid="+changed+"\r\n"), Absent, ReasonBadID, "")
		}
	}
	if n := f.store.gets.Load(); n != 0 {
		t.Errorf("%d lookups", n)
	}
}

func TestBearer(t *testing.T) {
	f := start(t, func(c *Config) { c.Sources = []Source{{Bearer: true}, {Cookie: "session_id"}} })
	f.set("one", `{"user_id":1}`)
	f.set("two", `{"user_id":2}`)
	for _, tc := range []struct {
		raw    string
		status Status
		reason Reason
		user   string
	}{
		{"Authorization: Bearer one\r\n", Valid, ReasonNone, "1"},
		{"authorization:bEARER   one \r\n", Valid, ReasonNone, "1"},
		{"Authorization: Bearer one\r\nAuthorization: Bearer one\r\n", Valid, ReasonNone, "1"},
		{"Authorization: Bearer one\r\nAuthorization: Bearer two\r\n", Absent, ReasonConflict, ""},
		{"Authorization: Bearer\r\n", Absent, ReasonBadID, ""},
		{"Authorization: Bearer \r\nCookie: session_id=two\r\n", Absent, ReasonBadID, ""},
		{"Authorization: Bearer a b\r\n", Absent, ReasonBadID, ""},
		{"Authorization: Bearer a*\r\n", Absent, ReasonBadID, ""},
		{"Authorization: Bearer one\r\n two\r\n", Absent, ReasonBadID, ""},
		{"Authorization: Basic b25lOg==\r\n", Absent, ReasonMissing, ""},
		{"Authorization: Bearertoken one\r\n", Absent, ReasonMissing, ""},
		{"Authorization: one\r\n", Absent, ReasonMissing, ""},
		{"Authorization: Basic x\r\nCookie: session_id=two\r\n", Valid, ReasonNone, "2"},
		{"Authorization: Bearer one\r\nCookie: session_id=two\r\n", Valid, ReasonNone, "1"},
		{"X-Authorization: Bearer one\r\n", Absent, ReasonMissing, ""},
	} {
		if f.want(f.raw(tc.raw), tc.status, tc.reason, tc.user); t.Failed() {
			t.Fatalf("on %q", tc.raw)
		}
	}
}

func TestLoginOfJSON(t *testing.T) {
	f := start(t, func(c *Config) { c.Login = []string{"user_id", "account.id"} })
	for session, reason := range map[string]Reason{
		`{}`: ReasonGuest, `{"user_id":null}`: ReasonGuest, `{"user_id":0}`: ReasonGuest, `{"account":{"id":""}}`: ReasonGuest,
		`{"user_id":1}`: ReasonNone, `{"account":{"id":"a"}}`: ReasonNone, `not json`: ReasonMalformed,
	} {
		id := fmt.Sprintf("%x", sha256.Sum256([]byte(session)))
		f.set(id, session)
		if r := f.header(id); r.Reason != reason || (r.Status == Valid) != (reason == ReasonNone) {
			t.Errorf("%s: %s, want %s", session, r.Reason, reason)
		}
	}
}

func TestSpringSession(t *testing.T) {
	const id = "0c1f2a3b-4d5e-6f70-8192-a3b4c5d6e7f8"
	f := start(t, useFormat("spring"))
	raw := "Cookie: SESSION=" + base64.StdEncoding.EncodeToString([]byte(id+".node1")) + "\r\n"
	key := "spring:session:sessions:" + id
	now := time.Now()
	f.want(f.raw(raw), Absent, ReasonNotFound, "")
	f.do("HSET", key, "creationTime", "1", "lastAccessedTime", fmt.Sprint(now.UnixMilli()), "maxInactiveInterval", "1800", "sessionAttr:userId", `"alice"`)
	f.do("EXPIRE", key, "2100") // Spring keeps the hash for 5 minutes more
	f.want(f.raw(raw), Absent, ReasonGuest, "")
	f.do("HSET", key, "sessionAttr:SPRING_SECURITY_CONTEXT", "\xac\xed\x00\x05sr")
	f.eventually("the login is seen", func() bool { return f.raw(raw).Status == Valid })
	f.want(f.raw(raw), Valid, ReasonNone, "alice")
	before := f.store.gets.Load()
	f.want(f.raw(raw), Valid, ReasonNone, "alice")
	if f.store.gets.Load() != before {
		t.Error("a hit asked Redis")
	}
	f.want(f.Check(context.Background(), []byte(raw), now.Add(1799*time.Second)), Valid, ReasonNone, "alice")
	f.want(f.Check(context.Background(), []byte(raw), now.Add(1800*time.Second)), Absent, ReasonNotFound, "")
	s := f.raw(raw).Session
	if end := time.UnixMilli(s.expireAt); end.Sub(now) > 1801*time.Second {
		t.Errorf("expires in %v, not at the end of its idle time", end.Sub(now))
	}
	f.do("HSET", key, "lastAccessedTime", fmt.Sprint(now.Add(-time.Hour).UnixMilli()))
	f.eventually("the idle session is over", func() bool { return f.raw(raw).Status == Absent })
	f.want(f.raw(raw), Absent, ReasonNotFound, "")
	if f.Stats().Renewed != 0 || f.renewal.slack != 0 {
		t.Error("sessions of Spring are renewed")
	}
}

func TestExplain(t *testing.T) {
	f := start(t, useFormat("express", "secret"))
	cfg := DefaultFor("express")
	cfg.Secrets = []string{"secret"}
	f.do("SET", "sess:one", `{"passport":{"user":1}}`)
	f.do("SET", "sess:other", `{"user":{"name":"a"}}`)
	f.do("SET", "sess:guest", `{}`)
	f.do("SET", "sess:broken", `x`)
	f.do("RPUSH", "sess:list", `x`)
	outcome := func(steps []Step) (o Outcome, remedy string) {
		last := steps[len(steps)-1]
		return last.Outcome, last.Remedy
	}
	for _, tc := range []struct {
		value, remedy string
		outcome       Outcome
		n             int
	}{
		{expressCookie("one", "secret"), "", StepOK, 5}, {expressCookie("one", "x"), "session.secrets", StepFailed, 4},
		{"s%3Aone", "cut", StepFailed, 3}, {"one", "unsigned", StepFailed, 2},
	} {
		steps, id := ExplainValue(&cfg, tc.value)
		if o, remedy := outcome(steps); o != tc.outcome || !strings.Contains(remedy, tc.remedy) || len(steps) != tc.n || (id == "one") != (o == StepOK) {
			t.Errorf("%q: %q, %v", tc.value, id, steps)
		}
	}
	for id, want := range map[string]struct {
		outcome Outcome
		remedy  string
	}{
		"one": {StepOK, ""}, "none": {StepFailed, "session.key"}, "guest": {StepFailed, "session.login"}, "broken": {StepFailed, "session.format"},
		"list": {StepUnknown, "another type"}, "other": {StepNote, "session.user"},
	} {
		steps := ExplainSession(context.Background(), &cfg, f.store, id, time.Now())
		if o, remedy := outcome(steps); o != want.outcome || !strings.Contains(remedy, want.remedy) {
			t.Errorf("%s: %v", id, steps)
		}
		for _, s := range steps {
			if strings.Contains(s.Text+s.Remedy, "sess:"+id) || strings.Contains(s.Text+s.Remedy, "secret\"") {
				t.Errorf("%s: %v shows the id or a secret", id, s)
			}
		}
	}
}
