package cache

import (
	"testing"
	"time"
)

func request(cc string) RequestDirectives { return ParseRequest(header("Cache-Control: " + cc)) }

// RFC 9111 §4, §5.2.1; RFC 5861 §3.
func TestUse(t *testing.T) {
	type change = func(*Entry)
	swr := func(e *Entry) { e.StaleWhileRevalidate = 10 * time.Second }
	noCache := func(e *Entry) { swr(e); e.Flags = FlagValidate }
	must := func(e *Entry) { e.Flags = FlagMustRevalidate }
	for _, tt := range []struct {
		name   string
		change change
		age    time.Duration // of a lifetime of a minute
		cc     string
		want   Use
	}{
		{"fresh", nil, 0, "", UseFresh},
		{"last moment", nil, time.Minute - 1, "", UseFresh},
		{"stale", nil, time.Minute, "", UseStaleValidate},
		{"request no-cache", nil, 0, "no-cache", UseValidate},
		{"request max-age", nil, 30 * time.Second, "max-age=29", UseValidate},
		{"request max-age holds", nil, 30 * time.Second, "max-age=30", UseFresh},
		{"min-fresh", nil, 30 * time.Second, "min-fresh=31", UseValidate},
		{"min-fresh holds", nil, 30 * time.Second, "min-fresh=30", UseFresh},
		{"response no-cache", noCache, 0, "", UseValidate},
		{"response no-cache, stale", noCache, 61 * time.Second, "max-stale", UseStaleValidate},
		{"must-revalidate, fresh", must, 0, "", UseFresh},
		{"must-revalidate, max-stale", must, 61 * time.Second, "max-stale", UseStaleValidate},
		{"max-stale", nil, time.Hour, "max-stale", UseStale},
		{"max-stale=5", nil, 65 * time.Second, "max-stale=5", UseStale},
		{"max-stale=5, over", nil, 66 * time.Second, "max-stale=5", UseStaleValidate},
		{"both max-stale", nil, 66 * time.Second, "max-stale, max-stale=5", UseStaleValidate},
		{"max-age beats max-stale", nil, 66 * time.Second, "max-stale, max-age=65", UseStaleValidate},
		{"max-age with max-stale", nil, 66 * time.Second, "max-stale, max-age=66", UseStale},
		{"swr", swr, 70 * time.Second, "", UseAndRefresh},
		{"swr, over", swr, 70*time.Second + 1, "", UseStaleValidate},
		{"swr, no-cache", swr, 61 * time.Second, "no-cache", UseStaleValidate},
		{"swr, max-age=0", swr, 61 * time.Second, "max-age=0", UseStaleValidate},
		{"soft purged", func(e *Entry) { e.SoftPurgedAt = now.UnixMilli() }, time.Second, "", UseStaleValidate},
		{"soft purged, swr", func(e *Entry) { swr(e); e.SoftPurgedAt = now.UnixMilli() }, time.Second, "", UseAndRefresh},
		{"soft purged, max-stale", func(e *Entry) { e.SoftPurgedAt = now.UnixMilli() }, time.Second, "max-stale", UseStaleValidate},
	} {
		e := &Entry{StoredAt: now.UnixMilli(), Lifetime: time.Minute}
		if tt.change != nil {
			tt.change(e)
		}
		d := request(tt.cc)
		got := e.Use(now.Add(tt.age), &d)
		if got != tt.want || got.Served() != (tt.want <= UseAndRefresh) {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// RFC 5861 §4, RFC 9111 §4.2.4.
func TestMayServeOnFailure(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flags Flags
		age   time.Duration
		cc    string
		f     Failure
		want  bool
	}{
		{"in the window", 0, 70 * time.Second, "", FailureConnect, true},
		{"timeout", 0, 70 * time.Second, "", FailureTimeout, true},
		{"status", 0, 70 * time.Second, "", FailureOf(503), true},
		{"another status", 0, 70 * time.Second, "", FailureOf(404), false},
		{"501 is an answer", 0, 70 * time.Second, "", FailureOf(501), false},
		{"over", 0, 70*time.Second + 1, "", FailureConnect, false},
		{"must-revalidate", FlagMustRevalidate, 61 * time.Second, "", FailureConnect, false},
		{"must-revalidate, fresh", FlagMustRevalidate, time.Second, "max-age=0", FailureConnect, true},
		{"no-cache", FlagValidate, time.Second, "", FailureConnect, false},
		{"request no-cache", 0, time.Second, "no-cache", FailureConnect, false},
		{"request max-age", 0, 61 * time.Second, "max-age=0", FailureConnect, true},
		{"request shortens", 0, 66 * time.Second, "stale-if-error=5", FailureConnect, false},
		{"request cannot lengthen", 0, 71 * time.Second, "stale-if-error=60", FailureConnect, false},
		{"no failure", 0, time.Second, "", FailureNone, false},
	} {
		e := &Entry{StoredAt: now.UnixMilli(), Lifetime: time.Minute, StaleIfError: 10 * time.Second, Flags: tt.flags}
		d := request(tt.cc)
		if got := e.MayServeOnFailure(now.Add(tt.age), &d, tt.f); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
	e := &Entry{StoredAt: now.UnixMilli(), Lifetime: time.Minute}
	if d := request(""); e.MayServeOnFailure(now.Add(time.Minute), &d, FailureConnect) {
		t.Error("served stale without a window")
	}
}

func TestDecideWindows(t *testing.T) {
	for _, tt := range []struct {
		cc             string
		rswr, rsie     time.Duration
		override       bool
		swr, sie, keep time.Duration // keep: beyond the lifetime, without a validator
	}{
		{"max-age=60", 0, 0, false, 0, 0, 0},
		{"max-age=60, stale-while-revalidate=5, stale-if-error=7", 0, 0, false, 5, 7, 7},
		{"max-age=60, stale-while-revalidate=5", 1, 9, false, 1, 9, 9},
		{"max-age=60", 3, 0, false, 3, 0, 3},
		{"max-age=60, stale-if-error=99999999", 0, 0, false, 0, 86400, 86400},
		{"max-age=60, stale-if-error=x", 0, 0, false, 0, 0, 0},
		{"max-age=60, must-revalidate, stale-if-error=5", 1, 1, false, 0, 0, 0},
		{"max-age=60, proxy-revalidate", 1, 1, false, 0, 0, 0},
		{"s-maxage=60, stale-while-revalidate=5", 1, 1, false, 0, 0, 0},
		{"s-maxage=60, stale-while-revalidate=5", 0, 0, true, 5, 0, 5},
		{"no-cache", 1, 2, true, 1, 2, 2},
	} {
		in := with(input("Cache-Control: "+tt.cc), func(in *Input) {
			in.Policy.StaleWhileRevalidate, in.Policy.StaleIfError = tt.rswr*time.Second, tt.rsie*time.Second
			if in.Policy.Override = tt.override; tt.override {
				in.Policy.TTL = time.Minute
			}
		})
		d := Decide(&in)
		if !d.Store || d.StaleWhileRevalidate != tt.swr*time.Second || d.StaleIfError != tt.sie*time.Second {
			t.Errorf("%+v: got %+v", tt, d)
		}
		if got := d.Retention(d.Lifetime, time.Hour); got != time.Minute+tt.keep*time.Second {
			t.Errorf("%+v: kept for %v", tt, got)
		}
	}
}

// A window extends a lifetime. Where there is none it does not stand for one.
func TestWindowWithoutLifetime(t *testing.T) {
	in := with(validating(`ETag: "a"`, "Cache-Control: stale-while-revalidate=60"), func(in *Input) {
		in.Policy.StaleWhileRevalidate, in.Policy.StaleIfError = time.Minute, time.Minute
	})
	if d := Decide(&in); !d.Store || d.StaleWhileRevalidate != 0 || d.StaleIfError != time.Minute {
		t.Errorf("got %+v", d)
	}
	in.Response = header(`ETag: "a"`, "Cache-Control: max-age=0, stale-while-revalidate=60")
	if d := Decide(&in); !d.Store || d.StaleWhileRevalidate != time.Minute {
		t.Errorf("got %+v", d)
	}
}

func TestRetention(t *testing.T) {
	for _, tt := range []struct {
		name           string
		left, swr, sie time.Duration
		keep           time.Duration
		validator      bool
		want           time.Duration
	}{
		{"nothing", 0, 0, 0, 60, false, 0},
		{"stale, validator", -5, 0, 0, 60, true, 60},
		{"long stale, window shorter", -50, 20, 10, 60, true, 60},
		{"stale in its window", -5, 20, 10, 10, false, 15},
		{"fresh", 10, 0, 0, 60, false, 10},
		{"fresh, validator", 10, 0, 0, 60, true, 70},
		{"window longer than keep", 10, 100, 0, 60, true, 110},
		{"over the window", -30, 20, 0, 60, false, 0},
		{"capped", 10, 0, 0, 10 * 24 * 3600, true, 24*3600 + 10},
	} {
		s := time.Second
		if got := retention(tt.left*s, tt.swr*s, tt.sie*s, tt.keep*s, tt.validator); got != tt.want*s {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want*s)
		}
	}
	if MarkLife(time.Hour) <= time.Hour+MaxStale {
		t.Error("a mark may end before an entry")
	}
	e := &Entry{StoredAt: now.UnixMilli(), Lifetime: time.Minute, StaleIfError: time.Minute}
	if got := e.Retention(now.Add(30*time.Second), time.Hour, false); got != 90*time.Second {
		t.Errorf("kept for %v", got)
	}
}

// Whatever is asked: stale use never where it is forbidden, freshness never beyond
// the lifetime, and no answer changes into a freer one as time passes.
func FuzzUse(f *testing.F) {
	f.Add("max-stale=5", uint8(0), int64(60000), int64(0), int64(5000), int64(5000), int64(0), int64(61000))
	f.Add("max-age=1, min-fresh=2", uint8(7), int64(1), int64(-1), int64(1), int64(1), int64(9), int64(1))
	f.Fuzz(func(t *testing.T, cc string, flags uint8, life, age, swr, sie, purged, at int64) {
		ms := func(n int64) time.Duration { return time.Duration(n%(1<<40)) * time.Millisecond }
		e := &Entry{
			Flags: Flags(flags) &^ encodedFlags, StoredAt: now.UnixMilli(), Lifetime: max(0, ms(life)), InitialAge: max(0, ms(age)),
			StaleWhileRevalidate: max(0, ms(swr)), StaleIfError: max(0, ms(sie)),
		}
		if purged > 0 {
			e.SoftPurgedAt = now.UnixMilli() + purged%(1<<40)
		}
		d := request(cc)
		when := now.Add(ms(at))
		use := e.Use(when, &d)
		fresh := e.Lifetime > e.Age(when) && e.SoftPurgedAt == 0
		switch {
		case (use == UseFresh || use == UseValidate) != fresh:
			t.Fatalf("%d of %+v at %v", use, e, when)
		case use.Served() && (d.NoCache || e.Flags&FlagValidate != 0):
			t.Fatalf("served in spite of no-cache: %+v", e)
		case use.Served() && !fresh && e.Flags&FlagMustRevalidate != 0:
			t.Fatalf("served stale in spite of must-revalidate: %+v", e)
		case e.MayServeOnFailure(when, &d, FailureConnect) && !fresh && (e.Flags&(FlagMustRevalidate|FlagValidate) != 0 || -e.TTL(when) > e.StaleIfError):
			t.Fatalf("served on failure: %+v", e)
		}
		later := e.Use(when.Add(time.Second), &d)
		if later.Served() && !use.Served() && e.SoftPurgedAt == 0 {
			t.Fatalf("%d becomes %d with time: %+v, %q", use, later, e, cc)
		}
	})
}

func TestUseDoesNotAllocate(t *testing.T) {
	e := &Entry{StoredAt: now.UnixMilli(), Lifetime: time.Minute, StaleIfError: time.Minute, StaleWhileRevalidate: time.Minute}
	d := request("max-stale=5")
	at := now.Add(70 * time.Second)
	if a := testing.AllocsPerRun(100, func() { e.Use(at, &d); e.MayServeOnFailure(at, &d, FailureTimeout) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
