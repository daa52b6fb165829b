package redisconn_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/pillion-proxy/pillion/internal/hashfields"
	"github.com/pillion-proxy/pillion/redisconn"
)

// fields reads what ProbeHash gives.
func fields(t *testing.T, v *redisconn.Value) map[string]string {
	t.Helper()
	out := map[string]string{}
	for rest := v.String(); rest != ""; {
		name, value, left, ok := hashfields.Next(rest)
		if !ok {
			t.Fatalf("not the fields of a hash: %q", rest)
		}
		out[name], rest = value, left
	}
	return out
}

func TestHashIsKeptUntilAnotherClientChangesIt(t *testing.T) {
	_, c, other := start(t)
	ctx := context.Background()
	for _, change := range [][]string{
		{"HSET", "h", "a", "2"}, {"HDEL", "h", "a"}, {"DEL", "h"}, {"UNLINK", "h"}, {"EXPIRE", "h", "60"}, {"RENAME", "h", "gone"},
	} {
		other.Do(ctx, other.B().Hset().Key("h").FieldValue().FieldValue("a", "1").FieldValue("bin", "\x00\xff").Build())
		other.Do(ctx, other.B().Expire().Key("h").Seconds(600).Build())
		v := get(t, c, "h", redisconn.ProbeHash)
		if got := fields(t, v); !v.Exists() || len(got) != 2 || got["a"] != "1" || got["bin"] != "\x00\xff" {
			t.Fatalf("before %v: %v, %q", change, v.Exists(), got)
		}
		if left := time.Until(v.ExpireAt()); left < 590*time.Second || left > 600*time.Second {
			t.Errorf("expires in %v", left)
		}
		if c.Peek([]byte("h"), time.Now()) == nil {
			t.Fatalf("before %v: not in memory", change)
		}
		if err := other.Do(ctx, other.B().Arbitrary(change...).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, change[0]+" is seen", func() bool { return c.Peek([]byte("h"), time.Now()) == nil })
	}
	if v := get(t, c, "h", redisconn.ProbeHash); v.Exists() {
		t.Error("the key that was renamed is there")
	}
}

func TestHashOfAnotherTypeIsUnknown(t *testing.T) {
	_, c, other := start(t)
	set(t, other, "text", "x")
	if _, err := c.Get(context.Background(), "text", redisconn.ProbeHash); !errors.Is(err, redisconn.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if c.Peek([]byte("text"), time.Now()) != nil {
		t.Error("an error is in memory")
	}
}

func TestUntrackedHash(t *testing.T) {
	mini := miniredis.RunT(t)
	mini.HSet("h", "a", "1")
	mini.SetTTL("h", time.Minute)
	c := open(t, "redis://"+mini.Addr())
	eventually(t, "up", c.Up)
	v := get(t, c, "h", redisconn.ProbeHash)
	if got := fields(t, v); got["a"] != "1" || v.ExpireAt().IsZero() {
		t.Errorf("%q, expires %v", got, v.ExpireAt())
	}
	if c.Peek([]byte("h"), time.Now()) != nil {
		t.Error("a session is kept without tracking")
	}
	if v := get(t, c, "none", redisconn.ProbeHash); v.Exists() {
		t.Error("an absent hash exists")
	}
}
