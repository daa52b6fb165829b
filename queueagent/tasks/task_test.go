package tasks

import (
	"strings"
	"testing"
)

func TestEnvelope(t *testing.T) {
	got, err := parseEnvelope("c 2 1 1700000000123\nline\nline")
	if err != nil || got.Payload != "line\nline" || got.Attempts != 2 || got.Abandons != 1 || got.Reason != Crash || got.Since.UnixMilli() != 1700000000123 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "x", "f 0 0\n", "f 0 0 x\n", "f 0 -1 5\n", "ff 0 0 0\n", "f 0 0 0", "x 0 0 0\n"} {
		if _, err := parseEnvelope(bad); err == nil {
			t.Errorf("parseEnvelope(%q) has no error", bad)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add("f 0 0 1700000000123\n{}")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseEnvelope(in)
		if err == nil && !strings.HasSuffix(in, "\n"+got.Payload) {
			t.Errorf("%q has the payload %q", in, got.Payload)
		}
	})
}
