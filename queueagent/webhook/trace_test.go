package webhook

import (
	"regexp"
	"strings"
	"testing"
)

const sampleTrace = "0af7651916cd43dd8448eb211c80319c"

func TestTraceparent(t *testing.T) {
	for in, want := range map[string]string{
		"00-" + sampleTrace + "-b7ad6b7169203331-01":                  "01",
		"00-" + sampleTrace + "-b7ad6b7169203331-00":                  "00",
		"00-" + sampleTrace + "-b7ad6b7169203331-ff":                  "03",
		"cc-" + sampleTrace + "-b7ad6b7169203331-01":                  "01",
		"cc-" + sampleTrace + "-b7ad6b7169203331-01-what":             "01",
		"00-" + sampleTrace + "-b7ad6b7169203331-01-":                 "",
		"cc-" + sampleTrace + "-b7ad6b7169203331-01.":                 "",
		"ff-" + sampleTrace + "-b7ad6b7169203331-01":                  "",
		"00-" + sampleTrace + "-0000000000000000-01":                  "",
		"00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01":      "",
		"00-" + strings.ToUpper(sampleTrace) + "-b7ad6b7169203331-01": "",
		"00-" + sampleTrace + "_b7ad6b7169203331-01":                  "",
		"00-" + sampleTrace + "-b7ad6b716920333-01":                   "",
		"": "",
	} {
		c := parseTraceparent(in)
		if c.ok != (want != "") {
			t.Errorf("%q is valid: %v", in, c.ok)
		}
		if !c.ok {
			continue
		}
		got := string(c.appendTraceparent(nil))
		if !regexp.MustCompile("^00-"+sampleTrace+"-[0-9a-f]{16}-"+want+"$").MatchString(got) || strings.Contains(got, "b7ad6b7169203331") {
			t.Errorf("%q goes on as %q: want the flags %s, and a span of its own", in, got, want)
		}
	}
}

// A task that came with no trace has one of its own, and each attempt a span.
func TestTraceOfATask(t *testing.T) {
	a, b := string(traceOf("id-1").appendTraceparent(nil)), string(traceOf("id-1").appendTraceparent(nil))
	if a[:36] != b[:36] || a == b {
		t.Errorf("two attempts: %s and %s: want one trace and two spans", a, b)
	}
	if other := string(traceOf("id-2").appendTraceparent(nil)); other[:36] == a[:36] {
		t.Errorf("two tasks share the trace %s", a)
	}
	if !parseTraceparent(a).ok {
		t.Errorf("%q is not valid", a)
	}
}

func FuzzTraceparent(f *testing.F) {
	f.Add("00-"+sampleTrace+"-b7ad6b7169203331-01", "a=1,b=2")
	valid := regexp.MustCompile("^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$")
	f.Fuzz(func(t *testing.T, parent, state string) {
		if c := parseTraceparent(parent); c.ok {
			got := string(c.appendTraceparent(nil))
			if !valid.MatchString(got) || got[3:35] != parent[3:35] {
				t.Errorf("%q goes on as %q", parent, got)
			}
		}
		if s := checkedTracestate(state); len(s) > maxTracestate || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("tracestate %q", s)
		}
	})
}
