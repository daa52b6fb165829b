package sessioncheck

import (
	"strconv"
	"testing"
	"time"
)

// Recall gives what Check would, or leaves it to Check: only a valid session that is in
// memory is given, and only then is anything counted.
func TestRecall(t *testing.T) {
	f := start(t, func(c *Config) { c.AbsoluteTimeout, c.CreatedField, c.Login = time.Hour, "at", []string{"user_id"} })
	f.set("valid", `{"user_id":"u","at":`+unix(time.Now())+`}`)
	f.set("old", `{"user_id":"u","at":`+unix(time.Now().Add(-2*time.Hour))+`}`)
	f.set("guest", `{"at":`+unix(time.Now())+`}`)
	f.set("malformed", `x`)
	apart := func(raw string) *fields {
		f, ok := split([]byte(raw))
		if !ok {
			t.Fatalf("%q is no header", raw)
		}
		return &f
	}
	header := func(id string) *fields { return apart("X-Session-ID: " + id + "\r\n") }
	now := time.Now()
	if _, ok := f.Recall(header("valid"), now); ok {
		t.Error("a session that was never read is given")
	}
	ids := []string{"valid", "old", "guest", "malformed", "none"}
	for _, id := range ids {
		f.header(id) // into memory
	}
	before := f.Stats()
	for _, id := range ids[1:] {
		if r, ok := f.Recall(header(id), now); ok {
			t.Errorf("%s: %+v", id, r)
		}
	}
	for _, raw := range []string{"", "Cookie: session_id=valid; session_id=old\r\n", "X-Session-ID: a\r\nX-Session-ID: b\r\n"} {
		if r, ok := f.Recall(apart(raw), now); ok {
			t.Errorf("%q: %+v", raw, r)
		}
	}
	if after := f.Stats(); after.ValidMemory != before.ValidMemory || after.ValidRedis != before.ValidRedis {
		t.Errorf("what is left to Check was counted: %+v, then %+v", before, after)
	}
	r, ok := f.Recall(header("valid"), now)
	if !ok || r.Status != Valid || r.Session.User() != "u" || r.FromCookie {
		t.Errorf("%+v, %v", r, ok)
	}
	if r, ok := f.Recall(apart("Cookie: session_id=valid\r\n"), now); !ok || !r.FromCookie {
		t.Errorf("by cookie: %+v, %v", r, ok)
	}
	if after := f.Stats(); after.ValidMemory != before.ValidMemory+2 {
		t.Errorf("%d from memory, want %d", after.ValidMemory, before.ValidMemory+2)
	}
	if _, ok := f.Recall(header("valid"), now.Add(2*time.Hour)); ok {
		t.Error("a session that has become too old is given")
	}
	f.do("DEL", "session:valid")
	f.eventually("the end of the session", func() bool {
		_, ok := f.Recall(header("valid"), time.Now())
		return !ok
	})
}

func BenchmarkRecall(b *testing.B) {
	f := start(b, nil)
	f.set("6f1f2a9e-3b0c-4f6e-9a57-0d1c2b3a4f5e", `{"user_id":1}`)
	header, _ := split([]byte("Host: example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n" +
		"Cookie: theme=dark; session_id=6f1f2a9e-3b0c-4f6e-9a57-0d1c2b3a4f5e\r\n\r\n"))
	f.header("6f1f2a9e-3b0c-4f6e-9a57-0d1c2b3a4f5e")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := f.Recall(&header, time.Now()); !ok {
			b.Fatal("not in memory")
		}
	}
}

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
