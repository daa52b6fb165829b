package cache

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestValidatorsOf(t *testing.T) {
	date := httpDate(-time.Hour)
	for _, tt := range []struct {
		lines          []string
		etag, modified string
	}{
		{[]string{`ETag: "a"`, "Last-Modified: " + date}, `"a"`, date},
		{[]string{`etag: W/"a"`}, `W/"a"`, ""},
		{[]string{`ETag: "a,b"`}, `"a,b"`, ""},
		{[]string{"ETag: abcdef"}, "abcdef", ""}, // not an entity tag, but sent by some
		{[]string{"ETag: a,b"}, "", ""},
		{[]string{`ETag: "a`}, "", ""},
		{[]string{`ETag: "a"b"`}, "", ""},
		{[]string{`ETag: "a b"`}, "", ""},
		{[]string{"ETag: *"}, "", ""},
		{[]string{"ETag:"}, "", ""},
		{[]string{`ETag: "a"`, `ETag: "a"`}, "", ""},
		{[]string{"Last-Modified: 0"}, "", ""},
		{[]string{"Last-Modified: " + date, "Last-Modified: " + date}, "", ""},
		{nil, "", ""},
	} {
		v := ValidatorsOf(header(tt.lines...), now)
		if string(v.ETag) != tt.etag || string(v.LastModified) != tt.modified || v.Any() != (tt.etag+tt.modified != "") {
			t.Errorf("%q: got %q, %q", tt.lines, v.ETag, v.LastModified)
		}
	}
}

// RFC 9111 §4.3.1.
func TestConditions(t *testing.T) {
	date := httpDate(-time.Hour)
	for _, tt := range []struct {
		name   string
		stored []string
		client []string
		want   string
	}{
		{"both", []string{`ETag: "a"`, "Last-Modified: " + date}, nil, `If-None-Match: "a"` + "\r\nIf-Modified-Since: " + date + "\r\n"},
		{"date", []string{"Last-Modified: " + date}, []string{`If-None-Match: "x"`}, "If-Modified-Since: " + date + "\r\n"},
		{"none", nil, []string{`If-None-Match: "x"`}, ""},
		{"client has it", []string{`ETag: "a"`}, []string{`If-None-Match: "x", "a"`}, `If-None-Match: "a"` + "\r\n"},
		{"client has any", []string{`ETag: "a"`}, []string{`If-None-Match: *`}, `If-None-Match: "a"` + "\r\n"},
		{"client has others", []string{`ETag: "a"`}, []string{`If-None-Match: "x"`, `If-None-Match: W/"y"`}, `If-None-Match: "a", "x", W/"y"` + "\r\n"},
		{"client has too many", []string{`ETag: "a"`}, []string{`If-None-Match: "` + strings.Repeat("x", maxClientTags) + `"`}, `If-None-Match: "a"` + "\r\n"},
		{"client has a tag, nothing stored has", []string{"ETag: *"}, []string{`If-None-Match: "x"`}, ""},
		{"client's date", []string{`ETag: "a"`}, []string{"If-Modified-Since: " + date}, `If-None-Match: "a"` + "\r\n"},
	} {
		c := ConditionsFor(header(tt.stored...), header(tt.client...), now)
		if got := string(AppendHeader(nil, c.AppendFields(nil))); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// RFC 9111 §4.3.4: which stored response a 304 is about.
func TestValidated(t *testing.T) {
	date, newer := "Last-Modified: "+httpDate(-time.Hour), "Last-Modified: "+httpDate(-time.Minute)
	const a, b = `ETag: "a"`, `ETag: "b"`
	client := []string{`If-None-Match: "b"`}
	for _, tt := range []struct {
		name           string
		stored, client []string
		response       []string
		want           Validation
	}{
		{"same tag", []string{a}, nil, []string{a}, ValidationStored},
		{"same tag, others asked", []string{a}, client, []string{a}, ValidationStored},
		{"weak for strong", []string{a}, nil, []string{`ETag: W/"a"`}, ValidationStored},
		{"weak", []string{`ETag: W/"a"`}, nil, []string{`ETag: W/"a"`}, ValidationStored},
		{"weak for strong, others asked", []string{a}, client, []string{`ETag: W/"a"`}, ValidationOther},
		{"another tag, only that was asked", []string{a}, nil, []string{b}, ValidationStored},
		{"another tag, a date was asked too", []string{a, date}, nil, []string{b}, ValidationOther},
		{"the client's", []string{a}, client, []string{b}, ValidationClient},
		{"nobody's", []string{a}, client, []string{`ETag: "c"`}, ValidationOther},
		{"same date", []string{date}, nil, []string{date}, ValidationStored},
		{"same date, tag kept back", []string{a, date}, nil, []string{date}, ValidationStored},
		{"newer date", []string{date}, nil, []string{newer}, ValidationOther},
		{"older date", []string{newer}, nil, []string{date}, ValidationOther},
		{"newer date, tag kept back", []string{a, date}, nil, []string{newer}, ValidationOther},
		{"same date and a new tag", []string{date}, nil, []string{date, a}, ValidationStored},
		{"a new tag alone", []string{date}, nil, []string{a}, ValidationStored},
		{"newer date and a new tag", []string{date}, nil, []string{newer, a}, ValidationOther},
		{"nothing", []string{a}, nil, nil, ValidationStored},
		{"nothing, others asked", []string{a}, client, nil, ValidationOther},
		{"nothing was asked", nil, nil, nil, ValidationOther},
		{"date where only a tag was asked", []string{a}, nil, []string{date}, ValidationStored},
	} {
		c := ConditionsFor(header(tt.stored...), header(tt.client...), now)
		if got := c.Validated(header(tt.response...), now); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func names(h Header) string {
	var out []string
	for _, f := range h {
		out = append(out, strings.ToLower(string(f.Name))+"="+string(f.Value))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// RFC 9111 §3.2.
func TestAppendFreshened(t *testing.T) {
	for _, tt := range []struct {
		name           string
		stored, update []string
		cookies        bool
		want           string
	}{
		{"stays", []string{"A: 1"}, nil, false, "a=1"},
		{"replaced", []string{"A: 1", "B: 1"}, []string{"a: 2"}, false, "a=2 b=1"},
		{"all lines", []string{"A: 1", "A: 2"}, []string{"a: 3"}, false, "a=3"},
		{"by several", []string{"A: 1"}, []string{"A: 2", "A: 3"}, false, "a=2 a=3"},
		{"added", nil, []string{"A: 1"}, false, "a=1"},
		{"Content-Type is replaced", []string{"Content-Type: a/b"}, []string{"content-type: c/d"}, false, "content-type=c/d"},
		{"Content-Foo is replaced", []string{"Content-Foo: 1"}, []string{"Content-Foo: 2"}, false, "content-foo=2"},
		{
			"the body's own", []string{"Content-Encoding: gzip", "Content-MD5: 1", "Content-Range: 1", "ETag: \"a\"", "Repr-Digest: 1", "Content-Digest: 1", "Digest: 1"},
			[]string{"Content-Encoding: br", "Content-MD5: 2", "Content-Range: 2", "ETag: \"b\"", "Content-Length: 9", "Repr-Digest: 2", "Content-Digest: 2", "Digest: 2"},
			false, `content-digest=1 content-encoding=gzip content-md5=1 content-range=1 digest=1 etag="a" repr-digest=1`,
		},
		{"not added either", nil, []string{"Content-Encoding: br", "Content-Length: 1"}, false, ""},
		{"hop by hop", []string{"A: 1"}, []string{"Connection: a, close", "A: 2", "Keep-Alive: 1", "Transfer-Encoding: chunked", "Age: 5"}, false, "a=1"},
		{"Date", []string{"Date: 1"}, []string{"Date: 2"}, false, "date=2"},
		{"no Date", []string{"Date: 1"}, nil, false, ""},
		{"cookies kept out", []string{"A: 1"}, []string{"Set-Cookie: a=b"}, false, "a=1"},
		{"cookies", []string{"Set-Cookie: a=b"}, []string{"Set-Cookie: a=c"}, true, "set-cookie=a=c"},
	} {
		if got := names(AppendFreshened(nil, header(tt.stored...), header(tt.update...), tt.cookies)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFreshen(t *testing.T) {
	type change = func(*Input)
	stored := []string{`ETag: "a"`, "Cache-Control: max-age=60", "A: 1", "Date: " + httpDate(-2*time.Hour)}
	date := "Date: " + httpDate(0)
	for _, tt := range []struct {
		name   string
		update []string
		change change
		want   Decision
		header string // without Date, ETag and Cache-Control
	}{
		{"as it was", []string{date}, nil, Decision{Store: true, Reason: ReasonStored, Lifetime: time.Minute}, "a=1"},
		{"new lifetime", []string{date, "Cache-Control: max-age=5", "A: 2"}, nil, Decision{Store: true, Reason: ReasonStored, Lifetime: 5 * time.Second}, "a=2"},
		{"age", []string{date, "Age: 7"}, nil, Decision{Store: true, Reason: ReasonStored, Lifetime: time.Minute, Age: 7 * time.Second}, "a=1"},
		{"no-store", []string{date, "Cache-Control: no-store"}, nil, Decision{Reason: ReasonNoStore}, "a=1"},
		{"private", []string{date, "Cache-Control: private"}, nil, Decision{Reason: ReasonPrivate}, "a=1"},
		{"no-cache", []string{date, "Cache-Control: no-cache"}, nil, Decision{Store: true, Reason: ReasonStored, Flags: FlagValidate}, "a=1"},
		{"field left out", []string{date, `Cache-Control: private="b", max-age=5`, "B: 1"}, nil, Decision{Store: true, Reason: ReasonStored, Lifetime: 5 * time.Second}, "a=1"},
		{"cookie", []string{date, "Set-Cookie: a=b"}, nil, Decision{Store: true, Reason: ReasonStored, Lifetime: time.Minute}, "a=1"},
		{"cookie stored", []string{date, "Set-Cookie: a=b"}, func(in *Input) { in.Policy.SetCookie = CookieStore }, Decision{Store: true, Reason: ReasonStored, Lifetime: time.Minute}, "a=1 set-cookie=a=b"},
		{"rule", []string{date}, func(in *Input) { in.Policy.TTL = time.Hour }, Decision{Store: true, Reason: ReasonStored, Lifetime: time.Hour}, "a=1"},
		{"no Date", nil, nil, Decision{Store: true, Reason: ReasonStored, Lifetime: time.Minute}, "a=1"},
		{"Vary", []string{date, "Vary: *"}, nil, Decision{Reason: ReasonVary}, "a=1 vary=*"},
		{"targeted", []string{date, "CDN-Cache-Control: max-age=9"}, func(in *Input) { in.Targets = []string{"CDN-Cache-Control"} }, Decision{Store: true, Reason: ReasonStored, Lifetime: 9 * time.Second}, "a=1 cdn-cache-control=max-age=9"},
	} {
		in := validating()
		if tt.change != nil {
			in = with(in, tt.change)
		}
		in.Method = "HEAD"
		in.BodyLen, in.Complete, in.Response = -1, false, header("Not: read")
		f := Freshen(&in, header(stored...), header(tt.update...))
		d := f.Decision
		if d.Store != tt.want.Store || d.Reason != tt.want.Reason || d.Lifetime != tt.want.Lifetime || d.Age != tt.want.Age || d.Flags != tt.want.Flags {
			t.Errorf("%s: got %+v", tt.name, d)
		}
		var rest Header
		for _, field := range f.Header {
			if !isOneOf(field.Name, []string{"Date", "ETag", "Cache-Control"}) {
				rest = append(rest, field)
			}
		}
		if got := names(rest); got != tt.header || !f.Header.Has("ETag") || f.Header.Has("Age") {
			t.Errorf("%s: got %q, want %q", tt.name, names(f.Header), tt.header)
		}
		if string(in.Response[0].Name) != "Not" {
			t.Errorf("%s: the input was changed", tt.name)
		}
	}
}

// RFC 9111 §4.3.5.
func TestEffectOfHead(t *testing.T) {
	date := "Last-Modified: " + httpDate(-time.Hour)
	stored := []string{`ETag: "a"`, date}
	for _, tt := range []struct {
		name         string
		stored       []string
		storedStatus int
		status       int
		response     []string
		want         HeadEffect
	}{
		{"same", stored, 200, 200, []string{`ETag: "a"`, date, "Content-Length: 10"}, HeadFreshen},
		{"nothing received", stored, 200, 200, nil, HeadFreshen},
		{"another tag", stored, 200, 200, []string{`ETag: "b"`}, HeadStale},
		{"weak", stored, 200, 200, []string{`ETag: W/"a"`}, HeadStale},
		{"another date", stored, 200, 200, []string{"Last-Modified: " + httpDate(0)}, HeadStale},
		{"a tag that was not there", nil, 200, 200, []string{`ETag: "a"`}, HeadStale},
		{"another length", stored, 200, 200, []string{"Content-Length: 11"}, HeadStale},
		{"bad length", stored, 200, 200, []string{"Content-Length: x"}, HeadStale},
		{"404", stored, 200, 404, nil, HeadNone},
		{"304", stored, 200, 304, nil, HeadNone},
		{"stored 404", stored, 404, 200, nil, HeadNone},
	} {
		if got := EffectOfHead(header(tt.stored...), tt.storedStatus, 10, tt.status, header(tt.response...)); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

// Whatever a 304 says, the fields that belong to the stored body stay, what must not
// be stored is not, and what is stored could have been stored as a 200.
func FuzzFreshen(f *testing.F) {
	f.Add("max-age=60", "max-age=5", `"a"`, "Content-Encoding", "br", uint8(0))
	f.Add(`private="x"`, "no-cache", `W/"a"`, "Connection", "etag", uint8(255))
	f.Fuzz(func(t *testing.T, cc, ncc, etag, name, value string, bits uint8) {
		stored := Header{{[]byte("Cache-Control"), []byte(cc)}, {[]byte("ETag"), []byte(`"1"`)}, {[]byte("Content-Encoding"), []byte("gzip")}}
		update := Header{{[]byte("Cache-Control"), []byte(ncc)}, {[]byte("ETag"), []byte(etag)}, {[]byte(name), []byte(value)}, {[]byte("Date"), []byte(httpDate(0))}}
		in := validating()
		in.HasAuthorization = bits&1 != 0
		in.Policy.SetCookie = []CookieMode{"", CookieRefuse, CookieStrip, CookieStore}[bits>>1&3]
		out := Freshen(&in, stored, update)
		c := ConditionsFor(stored, update, now)
		c.Validated(update, now)
		if !bytes.Equal(out.Header.Get("Content-Encoding"), []byte("gzip")) && !named(out.Decision.Omit, []byte("content-encoding")) {
			t.Fatalf("the coding became %q", out.Header.Get("Content-Encoding"))
		}
		if out.Header.Has("Content-Length") || out.Header.Has("Transfer-Encoding") || out.Header.Has("Age") {
			t.Fatalf("stores %s", names(out.Header))
		}
		if out.Header.Has("Set-Cookie") && in.Policy.SetCookie != CookieStore {
			t.Fatal("a cookie is stored")
		}
		if !out.Decision.Store {
			return
		}
		again := in
		again.Response = out.Header
		if d := DecideHead(&again); !d.Store && len(out.Decision.Omit) == 0 {
			t.Fatalf("stored, but refused as a 200: %+v", d)
		}
	})
}
