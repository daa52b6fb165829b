package cache

import (
	"testing"
	"time"
)

// RFC 9213 §2.1, §2.2.
func TestReadDirectives(t *testing.T) {
	targets := []string{"Pillion-Cache-Control", "CDN-Cache-Control"}
	past := "Expires: " + httpDate(-time.Hour)
	for _, tt := range []struct {
		name     string
		lines    []string
		want     time.Duration
		targeted bool
		refused  Reason // of Decide, empty when stored
	}{
		{name: "absent", lines: []string{"Cache-Control: max-age=5"}, want: 5 * time.Second},
		{name: "replaces", lines: []string{"Cache-Control: max-age=5", "CDN-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "shorter", lines: []string{"Cache-Control: max-age=500", "cdn-cache-control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "no-store elsewhere", lines: []string{"Cache-Control: no-store", "CDN-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "private elsewhere", lines: []string{"Cache-Control: private", "CDN-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "no-store here", lines: []string{"Cache-Control: max-age=5", "CDN-Cache-Control: no-store"}, targeted: true, refused: ReasonNoStore},
		{name: "private here", lines: []string{"CDN-Cache-Control: private, max-age=60"}, want: time.Minute, targeted: true, refused: ReasonPrivate},
		{name: "private field here", lines: []string{`CDN-Cache-Control: private="a", max-age=60`}, want: time.Minute, targeted: true},
		{name: "private token", lines: []string{`CDN-Cache-Control: private=a, max-age=60`}, want: time.Minute, targeted: true},
		{name: "private list", lines: []string{`CDN-Cache-Control: private=("a"), max-age=60`}, want: time.Minute, targeted: true, refused: ReasonPrivate},
		{name: "private garbage", lines: []string{`CDN-Cache-Control: private=5, max-age=60`}, want: time.Minute, targeted: true, refused: ReasonPrivate},
		{name: "no-cache here", lines: []string{"CDN-Cache-Control: no-cache"}, targeted: true, refused: ReasonNoCache},
		{name: "Expires does not count", lines: []string{past, "CDN-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "nor where nothing else does", lines: []string{"Expires: " + httpDate(time.Hour), "CDN-Cache-Control: none"}, targeted: true, refused: ReasonNoFreshness},
		{name: "s-maxage", lines: []string{"CDN-Cache-Control: max-age=5, s-maxage=60"}, want: time.Minute, targeted: true},
		{name: "priority", lines: []string{"CDN-Cache-Control: max-age=5", "Pillion-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "void falls through", lines: []string{"Pillion-Cache-Control: max-age=x, A", "CDN-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "void falls back", lines: []string{"CDN-Cache-Control: max-age =60", "Cache-Control: max-age=5"}, want: 5 * time.Second},
		{name: "space after", lines: []string{"CDN-Cache-Control: max-age= 60", "Cache-Control: max-age=5"}, want: 5 * time.Second},
		{name: "upper case is void", lines: []string{"CDN-Cache-Control: Max-Age=60", "Cache-Control: max-age=5"}, want: 5 * time.Second},
		{name: "empty falls back", lines: []string{"CDN-Cache-Control:", "Cache-Control: max-age=5"}, want: 5 * time.Second},
		{name: "not configured", lines: []string{"Surrogate-Control: max-age=60", "Cache-Control: max-age=5"}, want: 5 * time.Second},
		{name: "extension", lines: []string{"CDN-Cache-Control: foo=(1 2), max-age=60"}, want: time.Minute, targeted: true},
		{name: "parameters", lines: []string{"CDN-Cache-Control: max-age=60;a=b"}, want: time.Minute, targeted: true},
		{name: "decimal", lines: []string{"CDN-Cache-Control: max-age=60.5"}, targeted: true, refused: ReasonStale},
		{name: "string", lines: []string{`CDN-Cache-Control: max-age="60"`}, targeted: true, refused: ReasonStale},
		{name: "negative", lines: []string{"CDN-Cache-Control: max-age=-60"}, targeted: true, refused: ReasonStale},
		{name: "zero", lines: []string{"CDN-Cache-Control: max-age=0", "Cache-Control: max-age=60"}, targeted: true, refused: ReasonStale},
		{name: "large", lines: []string{"CDN-Cache-Control: max-age=99999999999"}, want: 24 * time.Hour, targeted: true},
		{name: "the last counts", lines: []string{"CDN-Cache-Control: max-age=5, max-age=60"}, want: time.Minute, targeted: true},
		{name: "several lines", lines: []string{"CDN-Cache-Control: public", "CDN-Cache-Control: max-age=60"}, want: time.Minute, targeted: true},
		{name: "false no-store", lines: []string{"CDN-Cache-Control: no-store=?0, max-age=60"}, want: time.Minute, targeted: true},
		{name: "odd no-store", lines: []string{"CDN-Cache-Control: no-store=x, max-age=60"}, want: time.Minute, targeted: true, refused: ReasonNoStore},
	} {
		h := header(tt.lines...)
		d := ReadDirectives(h, targets)
		life, _ := Lifetime(h, &d, 200, now, false)
		if min(life, 24*time.Hour) != tt.want || d.Targeted != tt.targeted {
			t.Errorf("%s: got %v, %+v", tt.name, life, d)
		}
		in := validating(tt.lines...)
		in.Targets = targets
		want := tt.refused
		if want == "" {
			want = ReasonStored
		}
		if got := Decide(&in); got.Reason != want {
			t.Errorf("%s: decided %q, want %q", tt.name, got.Reason, want)
		}
	}
	h := header("CDN-Cache-Control: must-revalidate, public, immutable, proxy-revalidate, no-transform, must-understand, stale-while-revalidate=1, stale-if-error=2, no-cache=\"a, b\"")
	d := ReadDirectives(h, targets)
	if !d.MustRevalidate || !d.Public || !d.Immutable || !d.ProxyRevalidate || !d.NoTransform || !d.MustUnderstand ||
		d.StaleWhileRevalidate.Seconds != 1 || d.StaleIfError.Seconds != 2 || d.NoCache || len(d.NoCacheFields) != 2 {
		t.Errorf("got %+v", d)
	}
	in := input("Content-Type: text/html", "Cache-Control: no-store", "CDN-Cache-Control: max-age=3600, public")
	in.Targets = targets
	if a := testing.AllocsPerRun(100, func() { Decide(&in) }); a > 2 {
		t.Errorf("%v allocations", a)
	}
}
