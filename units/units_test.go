package units_test

import (
	"testing"

	"github.com/pillion-proxy/pillion/units"
)

func TestSize(t *testing.T) {
	for text, want := range map[string]units.Size{
		"0": 0, "17": 17, "5B": 5, "1KB": 1000, "2KiB": 2048, "64MiB": 64 << 20, "1 GiB": 1 << 30, "3MB": 3e6, " 7 ": 7,
	} {
		var s units.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "1TB", "1mib", "99999999999GiB", "1 2", "0x10"} {
		var s units.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, s)
		}
	}
	for size, want := range map[units.Size]string{0: "0B", 1: "1B", 1023: "1023B", 1024: "1KiB", 64 << 20: "64MiB", 1<<30 + 1024: "1048577KiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d: %s, want %s", size, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]float64{"0%": 0, "10%": 0.1, "2.5 %": 0.025, "100%": 1} {
		var p units.Percent
		if err := p.UnmarshalText([]byte(text)); err != nil || p.Fraction() != want {
			t.Errorf("%q: %v %v, want %v", text, p.Fraction(), err, want)
		}
	}
	for _, text := range []string{"", "10", "%", "-1%", "101%", "NaN%", "Inf%"} {
		var p units.Percent
		if err := p.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, p)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("64MiB")
	f.Fuzz(func(t *testing.T, text string) {
		var s, again units.Size
		if s.UnmarshalText([]byte(text)) != nil {
			return
		}
		if s < 0 {
			t.Fatalf("%q: %d", text, s)
		}
		if err := again.UnmarshalText([]byte(s.String())); err != nil || again != s {
			t.Fatalf("%q: %s was read back as %d, %v", text, s, again, err)
		}
	})
}
