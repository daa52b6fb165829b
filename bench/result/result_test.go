package result

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values           []float64
		median, min, max float64
	}{
		{nil, 0, 0, 0},
		{[]float64{7}, 7, 7, 7},
		{[]float64{9, 1}, 5, 1, 9},
		{[]float64{3, 1, 2}, 2, 1, 3},
		{[]float64{100, 1, 2, 3}, 2.5, 1, 100},
	} {
		s := Series{Values: c.values}
		if s.Median() != c.median || s.Min() != c.min || s.Max() != c.max {
			t.Errorf("%v: %v %v %v, want %v", c.values, s.Median(), s.Min(), s.Max(), c)
		}
	}
	values := []float64{3, 1, 2}
	Series{Values: values}.Median()
	if !reflect.DeepEqual(values, []float64{3, 1, 2}) {
		t.Errorf("Median has sorted the rounds: %v", values)
	}
}

func TestFormat(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 12345.6: "12346", 99.96: "100.0", 12.34: "12.3", 1.234: "1.23", 0.01234: "0.0123", -963.4: "-963"} {
		if got := Format(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

func filled() *Set {
	s := NewSet()
	for _, v := range []float64{10, 30, 20} {
		s.Add(Key{"hit", "pillion", "CPU", "us"}, v)
		s.Add(Key{"hit", "nginx", "CPU", "us"}, 2*v)
	}
	s.SetVersion("nginx", "1")
	s.Skip("varnish is skipped")
	s.Skip("varnish is skipped")
	return s
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	if err := filled().Print(&b, "hit"); err != nil {
		t.Fatal(err)
	}
	want := []string{"hit peer median min max rounds pillion = 1", "CPU (us) pillion 20.0 10.0 30.0 3 1.00", "CPU (us) nginx 40.0 20.0 60.0 3 2.00"}
	for i, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		if got := strings.Join(strings.Fields(line), " "); got != want[i] {
			t.Errorf("line %d: %q, want %q", i, got, want[i])
		}
	}
}

func TestSaveLoadMerge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := filled().Save(path); err != nil {
		t.Fatal(err)
	}
	s, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Get("hit", "nginx", "CPU"); got == nil || got.Median() != 40 || got.Unit != "us" {
		t.Fatalf("read again: %+v", got)
	}
	newer := NewSet()
	newer.Add(Key{"hit", "nginx", "CPU", "us"}, 1)
	newer.Noise("hit", "nginx", 0.05)
	s.Noise("hit", "nginx", 0.5)
	s.Merge(newer)
	if got := s.Get("hit", "nginx", "CPU").Values; !reflect.DeepEqual(got, []float64{1}) {
		t.Errorf("the later run must replace the earlier one: %v", got)
	}
	if s.Get("hit", "pillion", "CPU") == nil || s.Foreign["hit nginx"] != 0.05 || len(s.Skipped) != 1 {
		t.Errorf("what the later run did not measure must stay: %+v", s)
	}
}

func TestDrop(t *testing.T) {
	s := filled()
	s.Noise("hit", "nginx", 1)
	s.Drop("hit", "nginx")
	if foreign, _ := s.Noisiest(); s.Get("hit", "nginx", "CPU") != nil || s.Get("hit", "pillion", "CPU") == nil || foreign != 0 {
		t.Errorf("%+v, %v", s.Series, foreign)
	}
}

func TestWarn(t *testing.T) {
	s := NewSet()
	s.Noise("hit", "pillion", QuietLimit)
	s.Noise("hit", "nginx", 0.2)
	s.Noise("hit", "nginx", 0)
	var b strings.Builder
	if err := s.Warn(&b); err != nil || strings.Contains(b.String(), "pillion") || !strings.Contains(b.String(), "hit nginx: other programs took up to 0.20") {
		t.Errorf("%q %v", b.String(), err)
	}
	if foreign, what := s.Noisiest(); foreign != 0.2 || what != "hit nginx" {
		t.Errorf("%v %s", foreign, what)
	}
}

func TestLoadNonsense(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "no file of results") {
		t.Errorf("%v", err)
	}
}
