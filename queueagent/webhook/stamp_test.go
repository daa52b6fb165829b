package webhook

import (
	"testing"
	"time"
)

func TestStamp(t *testing.T) {
	var s stamp
	at := time.Date(1969, 12, 31, 23, 59, 58, 0, time.FixedZone("", 3600))
	for range 5000 {
		if got, want := string(s.append([]byte("x"), at)), "x"+at.UTC().Format("2006-01-02T15:04:05.000Z07:00"); got != want {
			t.Fatalf("%s: want %s", got, want)
		}
		at = at.Add(1234567 * time.Nanosecond)
	}
	if n := testing.AllocsPerRun(100, func() { at = at.Add(time.Second); s.append(make([]byte, 0, 64), at) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
