package cache

import (
	"testing"
	"time"
)

// RFC 9110 §13.1.2, §13.1.3, §13.2 and RFC 9111 §4.3.2.
func TestNotModified(t *testing.T) {
	etag := []string{`ETag: "abc"`, "Last-Modified: " + httpDate(-time.Hour), "Date: " + httpDate(0)}
	ims := func(d time.Duration) string { return "If-Modified-Since: " + httpDate(d) }
	for _, tt := range []struct {
		name    string
		request []string
		stored  []string
		want    bool
	}{
		{"unconditional", nil, etag, false},
		{"match", []string{`If-None-Match: "abc"`}, etag, true},
		{"no match", []string{`If-None-Match: "abd"`}, etag, false},
		{"case counts", []string{`If-None-Match: "ABC"`}, etag, false},
		{"weak request", []string{`If-None-Match: W/"abc"`}, etag, true},
		{"weak stored", []string{`If-None-Match: "abc"`}, []string{`ETag: W/"abc"`}, true},
		{"both weak", []string{`If-None-Match: W/"abc"`}, []string{`ETag: W/"abc"`}, true},
		{"first", []string{`If-None-Match: "abc", "1"`}, etag, true},
		{"middle", []string{`If-None-Match: "1", "abc","2"`}, etag, true},
		{"second line", []string{`If-None-Match: "1"`, `If-None-Match: "2" , W/"abc"`}, etag, true},
		{"comma inside", []string{`If-None-Match: "a,abc"`}, []string{`ETag: "a,abc"`}, true},
		{"part of a tag", []string{`If-None-Match: "1,", abc`}, etag, false},
		{"backslash is no escape", []string{`If-None-Match: "a\", "abc"`}, etag, true},
		{"obs-text", []string{"If-None-Match: \"\xfc\""}, []string{"ETag: \"\xfc\""}, true},
		{"star", []string{"If-None-Match: *"}, etag, true},
		{"star without stored tag", []string{"If-None-Match: *"}, nil, true},
		{"star in a list", []string{`If-None-Match: "1", *`}, etag, false},
		{"no stored tag", []string{`If-None-Match: "abc"`}, nil, false},
		{"empty against none", []string{"If-None-Match:"}, nil, false},
		{"empty element against none", []string{`If-None-Match: , "1"`}, nil, false},
		{"empty tags", []string{`If-None-Match: ""`}, []string{`ETag: ""`}, true},
		{"unquoted both", []string{"If-None-Match: abc"}, []string{"ETag: abc"}, true},
		{"unquoted one", []string{"If-None-Match: abc"}, etag, false},
		{"W alone", []string{"If-None-Match: W/"}, []string{"ETag: W/"}, true},
		{"If-None-Match decides: match", []string{`If-None-Match: "abc"`, ims(-2 * time.Hour)}, etag, true},
		{"If-None-Match decides: no match", []string{`If-None-Match: "1"`, ims(0)}, etag, false},
		{"since the same", []string{ims(-time.Hour)}, etag, true},
		{"since later", []string{ims(0)}, etag, true},
		{"since earlier", []string{ims(-time.Hour - time.Second)}, etag, false},
		{"RFC 850 date", []string{"If-Modified-Since: " + now.Format("Monday, 02-Jan-06 15:04:05 GMT")}, etag, true},
		{"no date", []string{"If-Modified-Since: yesterday"}, etag, false},
		{"empty date", []string{"If-Modified-Since:"}, etag, false},
		{"two dates", []string{ims(0), ims(0)}, etag, false},
		{"Date stands in", []string{ims(-time.Minute)}, []string{"Date: " + httpDate(-time.Minute)}, true},
		{"Date is newer", []string{ims(-time.Hour)}, []string{"Date: " + httpDate(-time.Minute)}, false},
		{"received stands in", []string{ims(0)}, nil, true},
		{"received is newer", []string{ims(-time.Second)}, nil, false},
		{"bad Last-Modified", []string{ims(0)}, []string{"Last-Modified: x", "Date: " + httpDate(0)}, true},
	} {
		for status, counts := range map[int]bool{200: true, 204: true, 404: false, 301: false, 0: false} {
			got := NotModified(header(tt.request...), header(tt.stored...), status, now.Add(time.Second/2))
			if got != (tt.want && counts) {
				t.Errorf("%s, status %d: %v", tt.name, status, got)
			}
		}
	}
}

func FuzzNotModified(f *testing.F) {
	f.Add(`"a", W/"b"`, `W/"a"`)
	f.Fuzz(func(t *testing.T, list, etag string) {
		request, stored := Header{{[]byte("If-None-Match"), []byte(list)}}, Header{{[]byte("ETag"), []byte(etag)}}
		got := NotModified(request, stored, 200, now)
		again := NotModified(Header{{[]byte("If-None-Match"), []byte(`"x", ` + list)}}, stored, 200, now)
		if list != "" && string(trimSpace([]byte(list))) != "*" && got && !again {
			t.Fatalf("%q matches %q, but not with a tag before it", list, etag)
		}
	})
}

// RFC 9110 §15.4.5.
func TestIn304(t *testing.T) {
	for _, name := range []string{"ETag", "Date", "Cache-Control", "Content-Location", "Expires", "Vary", "Content-Security-Policy",
		"Access-Control-Allow-Origin", "Link", "Server", "X-Request-Id1"} {
		if !In304([]byte(name), true) || !In304([]byte(name), false) {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"content-type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Range", "Content-MD5",
		"Digest", "Content-Digest", "Repr-Digest"} {
		if In304([]byte(name), true) || In304([]byte(name), false) {
			t.Errorf("%s is sent", name)
		}
	}
	if In304([]byte("Last-Modified"), true) || !In304([]byte("last-modified"), false) {
		t.Error("Last-Modified goes only where there is no ETag")
	}
}

func TestNotModifiedDoesNotAllocate(t *testing.T) {
	request := header(`If-None-Match: "1", W/"abc"`, "If-Modified-Since: "+httpDate(0))
	stored := header(`ETag: "abc"`)
	if a := testing.AllocsPerRun(100, func() {
		NotModified(request, stored, 200, now)
		NotModified(request[1:], stored, 200, now)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
