package hashfields

import (
	"strings"
	"testing"
)

func TestThereAndBack(t *testing.T) {
	long := strings.Repeat("x", 70000)
	fields := [][2]string{{"a", "1"}, {"", ""}, {"long", long}, {"nul\x00", "\xff"}}
	var data []byte
	for _, f := range fields {
		data = Append(data, f[0], f[1])
	}
	rest := string(data)
	for _, f := range fields {
		name, value, left, ok := Next(rest)
		if !ok || name != f[0] || value != f[1] {
			t.Fatalf("got %.20q %.20q %v, want %.20q %.20q", name, value, ok, f[0], f[1])
		}
		rest = left
	}
	if rest != "" {
		t.Errorf("%d bytes are left", len(rest))
	}
	for _, bad := range []string{"", "\x02a", "\x01a", "\x01a\x05b", "\x80", "\xff\xff\xff\xff\xff\xff"} {
		if _, _, _, ok := Next(bad); ok {
			t.Errorf("%q was taken for a field", bad)
		}
	}
}
