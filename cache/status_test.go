package cache

import (
	"strings"
	"testing"
	"time"
)

// RFC 9211 §2, in the syntax of RFC 8941.
func TestAppendStatus(t *testing.T) {
	for _, tt := range []struct {
		s    Status
		want string
	}{
		{Status{Cache: "pillion"}, "pillion"},
		{Status{Cache: "pillion", Hit: true, TTL: 123*time.Second + 1, HasTTL: true}, "pillion; hit; ttl=123"},
		{Status{Cache: "pillion", Hit: true, HasTTL: true}, "pillion; hit; ttl=0"},
		{Status{Cache: "pillion", Hit: true, TTL: -1, HasTTL: true}, "pillion; hit; ttl=-1"},
		{Status{Cache: "pillion", Hit: true, TTL: -2 * time.Second, HasTTL: true}, "pillion; hit; ttl=-2"},
		{Status{Cache: "pillion", Hit: true, Fwd: FwdMiss, FwdStatus: 200, Stored: true}, "pillion; hit"},
		{Status{Cache: "pillion", Stored: true}, "pillion"},
		{Status{Cache: "pillion", Fwd: FwdURIMiss, FwdStatus: 200, Stored: true, Collapsed: true}, "pillion; fwd=uri-miss; fwd-status=200; stored; collapsed"},
		{Status{Cache: "pillion", Fwd: FwdURIMiss, Detail: string(ReasonSetCookie)}, "pillion; fwd=uri-miss; detail=set-cookie"},
		{Status{Cache: "pillion", Hit: true, Key: []byte(`p;1:h;1:/"\`)}, `pillion; hit; key="p;1:h;1:/\"\\"`},
		{Status{Cache: "pillion", Hit: true, Key: []byte("p;\xff\n")}, "pillion; hit"},
		{Status{Cache: "my cache\n", Detail: "\"x\u00e9\x00"}, `"my cache?"; detail="\"x???"`},
		{Status{Cache: "1st"}, `"1st"`},
		{Status{Cache: ""}, `""`},
		{Status{Cache: "*a/b:c"}, "*a/b:c"},
	} {
		if got := string(AppendStatus([]byte("x, "), &tt.s)); got != "x, "+tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

// A detail can neither end its string nor the field.
func FuzzAppendStatus(f *testing.F) {
	f.Add("pillion", "why", "key")
	f.Fuzz(func(t *testing.T, name, detail, key string) {
		got := string(AppendStatus(nil, &Status{Cache: name, Hit: true, Key: []byte(key), Detail: detail}))
		inString, escaped := false, false
		var outside strings.Builder
		for i := range len(got) {
			c := got[i]
			switch {
			case c < ' ' || c > '~':
				t.Fatalf("%q", got)
			case escaped:
				escaped = false
			case inString && c == '\\':
				escaped = true
			case c == '"':
				inString = !inString
			case !inString:
				outside.WriteByte(c)
			}
		}
		if inString || strings.ContainsAny(outside.String(), ",\\") || strings.Count(outside.String(), ";") > 3 {
			t.Fatalf("%q", got)
		}
	})
}

func TestAppendStatusDoesNotAllocate(t *testing.T) {
	s := Status{Cache: "pillion", Hit: true, HasTTL: true, TTL: time.Hour, Key: []byte("key"), Detail: "a detail"}
	buf := make([]byte, 0, 256)
	if a := testing.AllocsPerRun(100, func() { AppendStatus(buf, &s) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
