package cache

import (
	"net/http"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func httpDate(offset time.Duration) string { return now.Add(offset).Format(http.TimeFormat) }

// RFC 9110 §5.6.7.
func TestParseDate(t *testing.T) {
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"Sun, 06 Nov 1994 08:49:37 GMT":     want,
		"SUN, 06 nOv 1994 08:49:37 gmt":     want,
		"Sunday, 06-Nov-94 08:49:37 GMT":    want,
		"Sun Nov  6 08:49:37 1994":          want,
		"Sun Nov 16 08:49:37 1994":          want.AddDate(0, 0, 10),
		"Thu, 29 Feb 2024 00:00:00 GMT":     time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"Sat, 31 Dec 2016 23:59:60 GMT":     time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		"Wednesday, 18-Aug-50 02:01:18 GMT": time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC),
		"Sunday, 01-Mar-76 12:00:00 GMT":    time.Date(2076, 3, 1, 12, 0, 0, 0, time.UTC), // exactly 50 years
		"Sunday, 01-Mar-76 12:00:01 GMT":    time.Date(1976, 3, 1, 12, 0, 1, 0, time.UTC), // more than 50 years
		"Fri, 31 Dec 9999 23:59:59 GMT":     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		if got, ok := ParseDate([]byte(text), now); !ok || !got.Equal(want) {
			t.Errorf("%q: got %v %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{
		"", "0", "-1", "now", "Sun", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 UTC",
		"Xxx, 06 Nov 1994 08:49:37 GMT", "Sun, 6 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 94 08:49:37 GMT", "Sun 06 Nov 1994 08:49:37 GMT", "Sun, 06  Nov  1994 08:49:37 GMT", "Sun, 06-Nov-1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08.49.37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
		"Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 31 Jun 1994 08:49:37 GMT", "Sun, 29 Feb 2023 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 06 Nov 1994 08:49:37 GMTX", "Sun Nov 06 08:49:37 199", "Sunday, 06-Nov-1994 08:49:37 GMT",
		"Sun, +6 Nov 1994 08:49:37 GMT", "Sunday 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994 GMT", "Sun, 06 Nov -994 08:49:37 GMT",
	} {
		if got, ok := ParseDate([]byte(text), now); ok {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sat, 31 Dec 2016 23:59:60 GMT"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at, ok := ParseDate(b, now)
		if !ok {
			return
		}
		again, ok := ParseDate([]byte(at.Format(http.TimeFormat)), now)
		if at.Year() <= 9999 && (!ok || !again.Equal(at)) {
			t.Fatalf("%q gives %v, which gives %v %v", b, at, again, ok)
		}
	})
}

// RFC 9111 §4.2.1, §5.3.
func TestLifetime(t *testing.T) {
	date := "Date: " + httpDate(0)
	for _, tt := range []struct {
		name   string
		lines  []string
		want   time.Duration
		source Source
	}{
		{"s-maxage first", []string{"Cache-Control: max-age=0, s-maxage=60", "Expires: " + httpDate(-time.Hour)}, time.Minute, SourceSMaxAge},
		{"s-maxage shorter", []string{"Cache-Control: s-maxage=1, max-age=60"}, time.Second, SourceSMaxAge},
		{"max-age before Expires", []string{"Cache-Control: max-age=60", "Expires: 0"}, time.Minute, SourceMaxAge},
		{"max-age=0 before Expires", []string{"Cache-Control: max-age=0", "Expires: " + httpDate(time.Hour)}, 0, SourceMaxAge},
		{"invalid max-age is stale", []string{"Cache-Control: max-age=x", "Expires: " + httpDate(time.Hour)}, 0, SourceMaxAge},
		{"Expires", []string{date, "Expires: " + httpDate(time.Hour)}, time.Hour, SourceExpires},
		{"Expires past", []string{date, "Expires: " + httpDate(-time.Hour)}, 0, SourceExpires},
		{"Expires now", []string{date, "Expires: " + httpDate(0)}, 0, SourceExpires},
		{"Expires 0", []string{date, "Expires: 0"}, 0, SourceExpires},
		{"Expires empty", []string{date, "Expires:"}, 0, SourceExpires},
		{"Expires before a fast Date", []string{"Date: " + httpDate(400*time.Second), "Expires: " + httpDate(300*time.Second)}, 0, SourceExpires},
		{"Expires without Date", []string{"Expires: " + httpDate(time.Minute)}, time.Minute, SourceExpires},
		{"Expires with invalid Date", []string{"Date: foo", "Expires: " + httpDate(time.Minute)}, time.Minute, SourceExpires},
		{"Expires twice the same", []string{date, "Expires: " + httpDate(60*time.Second), "Expires: " + httpDate(60*time.Second)}, time.Minute, SourceExpires},
		{"Expires contradicted", []string{date, "Expires: " + httpDate(60*time.Second), "Expires: " + httpDate(61*time.Second)}, 0, SourceExpires},
		{"Expires far", []string{date, "Expires: Fri, 31 Dec 9999 23:59:59 GMT"}, MaxDelta * time.Second, SourceExpires},
		{"nothing", []string{date, "Last-Modified: " + httpDate(-time.Hour)}, 0, SourceNone},
	} {
		h := header(tt.lines...)
		d := ParseResponse(h)
		got, source := Lifetime(h, &d, 200, now, false)
		if got != tt.want || source != tt.source {
			t.Errorf("%s: got %v from %d, want %v from %d", tt.name, got, source, tt.want, tt.source)
		}
	}
}

// RFC 9111 §4.2.2.
func TestHeuristic(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		cc     string
		last   string
		want   time.Duration
	}{
		{name: "a tenth", status: 200, last: httpDate(-100 * time.Minute), want: 10 * time.Minute},
		{name: "capped", status: 404, last: httpDate(-1000 * 24 * time.Hour), want: 24 * time.Hour},
		{name: "status", status: 403, last: httpDate(-time.Hour)},
		{name: "unknown status", status: 599, last: httpDate(-time.Hour)},
		{name: "public", status: 599, cc: "public", last: httpDate(-10 * time.Hour), want: time.Hour},
		{name: "future", status: 200, last: httpDate(time.Hour)},
		{name: "invalid", status: 200, last: "yesterday"},
		{name: "part", status: 206, last: httpDate(-time.Hour)},
	} {
		h := header("Cache-Control: "+tt.cc, "Last-Modified: "+tt.last, "Date: "+httpDate(0))
		d := ParseResponse(h)
		got, source := Lifetime(h, &d, tt.status, now, true)
		if got != tt.want || (source == SourceHeuristic) != (tt.want > 0) {
			t.Errorf("%s: got %v from %d, want %v", tt.name, got, source, tt.want)
		}
	}
	h := header("Cache-Control: max-age=5", "Last-Modified: "+httpDate(-100*time.Hour))
	d := ParseResponse(h)
	if got, _ := Lifetime(h, &d, 200, now, true); got != 5*time.Second {
		t.Errorf("the heuristic overrides max-age: %v", got)
	}
}

// RFC 9111 §4.2.3 and §5.1.
func TestInitialAge(t *testing.T) {
	sec := time.Second
	for _, tt := range []struct {
		name  string
		lines []string
		delay time.Duration
		want  time.Duration
	}{
		{"nothing", nil, 0, 0},
		{"apparent age", []string{"Date: " + httpDate(-7200*sec)}, 0, 7200 * sec},
		{"Date ahead", []string{"Date: " + httpDate(time.Hour)}, 0, 0},
		{"Date invalid", []string{"Date: x"}, 0, 0},
		{"Age", []string{"Age: 30"}, 0, 30 * sec},
		{"Age and delay", []string{"Age: 30"}, 2 * sec, 32 * sec},
		{"delay", nil, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"the greater", []string{"Age: 30", "Date: " + httpDate(-60*sec)}, 2 * sec, 60 * sec},
		{"Age beyond apparent", []string{"Age: 90", "Date: " + httpDate(-60*sec)}, 0, 90 * sec},
		{"clock set back while fetching", nil, -5 * sec, 0},
		{"overflow", []string{"Age: 99999999999999999999"}, 0, MaxDelta * sec},
		{"no number", []string{"Age: abc"}, 0, 0},
		{"negative", []string{"Age: -7200"}, 0, 0},
		{"decimal", []string{"Age: 7200.0"}, 0, 0},
		{"parameter", []string{"Age: 7200;foo=bar"}, 0, 7200 * sec},
		{"empty", []string{"Age:"}, 0, 0},
		{"first member", []string{"Age: 0,7200"}, 0, 0},
		{"first member old", []string{"Age: 7200,0"}, 0, 7200 * sec},
		{"joined lines", []string{"Age: 0, 7200"}, 0, 0},
		{"two lines", []string{"Age: 0", "Age: 7200"}, 0, 0},
		{"two lines, the first old", []string{"Age: 7200", "Age: 0"}, 0, 7200 * sec},
	} {
		if got := InitialAge(header(tt.lines...), now.Add(-tt.delay), now); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	// A Date within the second before is no age at all.
	if got := InitialAge(header("Date: "+httpDate(0)), now.Add(900*time.Millisecond), now.Add(900*time.Millisecond)); got != 0 {
		t.Errorf("the fraction of a second counts as %v", got)
	}
}

func TestCurrentAge(t *testing.T) {
	if got := CurrentAge(3*time.Second, now, now.Add(4*time.Second)); got != 7*time.Second {
		t.Errorf("got %v", got)
	}
	if got := CurrentAge(3*time.Second, now, now.Add(-time.Hour)); got != 3*time.Second {
		t.Errorf("a clock behind gives %v", got)
	}
	if !Fresh(9, 10) || Fresh(10, 10) || Fresh(11, 10) {
		t.Error("Fresh: RFC 9111 §4.2 wants lifetime > age")
	}
}

// Age is monotonic in time, never negative, and never below what Age and Date say.
func FuzzAge(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", "5", int64(1), int64(2), int64(3))
	f.Add("", "0,7200", int64(-1), int64(1<<62), int64(-1<<62))
	f.Fuzz(func(t *testing.T, date, age string, delay, t1, t2 int64) {
		h := Header{{[]byte("Date"), []byte(date)}, {[]byte("Age"), []byte(age)}}
		received := now
		initial := InitialAge(h, received.Add(-time.Duration(delay)), received)
		if initial < 0 {
			t.Fatalf("negative age %v", initial)
		}
		if t1 > t2 {
			t1, t2 = t2, t1
		}
		a1 := CurrentAge(initial, received, received.Add(time.Duration(t1)))
		a2 := CurrentAge(initial, received, received.Add(time.Duration(t2)))
		if a1 < initial || a2 < a1 {
			t.Fatalf("initial %v, then %v, then %v", initial, a1, a2)
		}
		if at, ok := ParseDate([]byte(date), received); ok && initial < min(received.Sub(at).Truncate(time.Second), MaxDelta*time.Second) {
			t.Fatalf("younger than Date says: %v", initial)
		}
		if n, ok := parseDelta([]byte(age)); ok && initial < time.Duration(n)*time.Second {
			t.Fatalf("younger than Age says: %v", initial)
		}
	})
}

func TestFreshnessDoesNotAllocate(t *testing.T) {
	h := header("Date: "+httpDate(-time.Minute), "Expires: "+httpDate(time.Hour), "Age: 3")
	d := ParseResponse(h)
	if a := testing.AllocsPerRun(100, func() {
		Lifetime(h, &d, 200, now, true)
		InitialAge(h, now, now)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkParseDate(b *testing.B) {
	text := []byte("Sun, 06 Nov 1994 08:49:37 GMT")
	b.ReportAllocs()
	for b.Loop() {
		ParseDate(text, now)
	}
}
