package cache

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RFC 9110 §14.1.2, §14.2.
func TestPlanRange(t *testing.T) {
	many := func(n, step int) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf("%d-%d", i*step, i*step))
		}
		return "bytes=" + strings.Join(parts, ",")
	}
	for _, tt := range []struct {
		rng    string
		size   int64
		status int
		parts  string
	}{
		{"bytes=0-1", 11, 206, "0-2"},
		{"bytes=1-", 11, 206, "1-11"},
		{"bytes=-1", 11, 206, "10-11"},
		{"bytes=0-", 11, 206, "0-11"},
		{"Bytes=0-0", 11, 206, "0-1"},
		{"bytes=0-99", 11, 206, "0-11"},
		{"bytes=-99", 11, 206, "0-11"},
		{"bytes=10-10", 11, 206, "10-11"},
		{"bytes=11-", 11, 416, ""},
		{"bytes=11-20, 30-", 11, 416, ""},
		{"bytes=-0", 11, 416, ""},
		{"bytes=0-0, 99-", 11, 206, "0-1"},
		{"bytes=99999999999999999999999-", 11, 416, ""},
		{"bytes=0-99999999999999999999999", 11, 206, "0-11"},
		{"bytes=-99999999999999999999999", 11, 206, "0-11"},
		{"bytes=0-0,200-200", 300, 206, "0-1 200-201"},
		{"bytes=200-200, ,0-0", 300, 206, "200-201 0-1"}, // in the order asked
		{"bytes=0-100,50-200", 300, 206, "0-201"},
		{"bytes=0-0,50-50", 300, 206, "0-51"}, // nearer than a part costs
		{"bytes=0-0,81-81", 300, 206, "0-82"},
		{"bytes=0-0,82-82", 300, 206, "0-1 82-83"},
		{"bytes=250-260,0-0,100-249", 300, 206, "100-261 0-1"},
		{"bytes=0-,0-,0-,0-", 300, 206, "0-300"},
		{many(MaxRanges, 100), 5000, 206, "0-1 100-101 200-201 300-301 400-401 500-501 600-601 700-701 800-801 900-901 1000-1001 1100-1101 1200-1201 1300-1301 1400-1401 1500-1501"},
		{many(MaxRanges+1, 100), 5000, 200, ""},
		{many(MaxRanges+1, 100), 10, 200, ""},
		{"bytes=5-1", 11, 200, ""},
		{"bytes=0-1,5-1", 11, 200, ""},
		{"bytes=a-b", 11, 200, ""},
		{"bytes=-", 11, 200, ""},
		{"bytes=", 11, 200, ""},
		{"bytes=,", 11, 200, ""},
		{"bytes", 11, 200, ""},
		{"bytes 0-1", 11, 200, ""},
		{"bytes=1", 11, 200, ""},
		{"bytes=1-2-3", 11, 200, ""},
		{"bytes=+1-2", 11, 200, ""},
		{"bytes=0 - 1", 11, 200, ""},
		{"lines=0-1", 11, 200, ""},
		{"", 11, 200, ""},
		{"bytes=0-1", 0, 200, ""},
		{"bytes=-1", 0, 200, ""},
	} {
		p := PlanRange(header("Range: "+tt.rng), nil, 200, tt.size, now)
		var parts []string
		for _, r := range p.Parts[:p.N] {
			parts = append(parts, fmt.Sprintf("%d-%d", r.Start, r.End))
		}
		if got := strings.Join(parts, " "); p.Status != tt.status || got != tt.parts || p.Size != tt.size {
			t.Errorf("%q of %d: got %d %q, want %d %q", tt.rng, tt.size, p.Status, got, tt.status, tt.parts)
		}
	}
	for name, p := range map[string]RangePlan{
		"two lines": PlanRange(header("Range: bytes=0-0", "Range: bytes=1-1"), nil, 200, 10, now),
		"404":       PlanRange(header("Range: bytes=0-0"), nil, 404, 10, now),
		"none":      PlanRange(nil, nil, 200, 10, now),
	} {
		if p.Status != 200 || p.N != 0 {
			t.Errorf("%s: got %+v", name, p)
		}
	}
}

// RFC 9110 §13.1.5.
func TestIfRange(t *testing.T) {
	hour, date := httpDate(-time.Hour), "Date: "+httpDate(0)
	for _, tt := range []struct {
		name    string
		ifRange []string
		stored  []string
		want    int
	}{
		{"none", nil, nil, 206},
		{"tag", []string{`"a"`}, []string{`ETag: "a"`}, 206},
		{"another tag", []string{`"b"`}, []string{`ETag: "a"`}, 200},
		{"no tag", []string{`"b"`}, nil, 200},
		{"weak", []string{`W/"a"`}, []string{`ETag: W/"a"`}, 200},
		{"weak for strong", []string{`W/"a"`}, []string{`ETag: "a"`}, 200},
		{"strong for weak", []string{`"a"`}, []string{`ETag: W/"a"`}, 200},
		{"date", []string{hour}, []string{"Last-Modified: " + hour, date}, 206},
		{"later date", []string{httpDate(0)}, []string{"Last-Modified: " + hour, date}, 200},
		{"date in the same second", []string{hour}, []string{"Last-Modified: " + hour, "Date: " + hour}, 200},
		{"date without a stored one", []string{hour}, []string{date}, 200},
		{"no date", []string{"yesterday"}, []string{"Last-Modified: yesterday", date}, 200},
		{"empty", []string{""}, []string{"ETag:"}, 200},
		{"twice", []string{`"a"`, `"a"`}, []string{`ETag: "a"`}, 200},
	} {
		req := header("Range: bytes=0-0")
		for _, v := range tt.ifRange {
			req = append(req, Field{[]byte("If-Range"), []byte(v)})
		}
		if p := PlanRange(req, header(tt.stored...), 200, 10, now); p.Status != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, p.Status, tt.want)
		}
	}
}

func TestContentRange(t *testing.T) {
	p := PlanRange(header("Range: bytes=2-4"), nil, 200, 10, now)
	if got := string(p.AppendContentRange(nil, 0)); got != "bytes 2-4/10" {
		t.Errorf("got %q", got)
	}
	p = PlanRange(header("Range: bytes=20-"), nil, 200, 10, now)
	if got := string(p.AppendContentRange(nil, 0)); got != "bytes */10" {
		t.Errorf("got %q", got)
	}
}

// Another implementation reads the multipart body.
func TestMultipart(t *testing.T) {
	body := make([]byte, 1000)
	for i := range body {
		body[i] = byte(i)
	}
	for _, ct := range []string{"text/plain; a=b", ""} {
		p := PlanRange(header("Range: bytes=900-,0-9,500-509"), nil, 200, 1000, now)
		segments, length := p.Multipart(body, "THIS_SEPARATES", []byte(ct))
		whole := bytes.Join(segments, nil)
		if int64(len(whole)) != length || &segments[1][0] != &body[900] {
			t.Fatalf("length %d of %d, or the body was copied", length, len(whole))
		}
		_, params, err := mime.ParseMediaType(MultipartType("THIS_SEPARATES"))
		if err != nil {
			t.Fatal(err)
		}
		r := multipart.NewReader(bytes.NewReader(whole), params["boundary"])
		for i, want := range []ByteRange{{900, 1000}, {0, 10}, {500, 510}} {
			part, err := r.NextRawPart()
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(part)
			cr := fmt.Sprintf("bytes %d-%d/1000", want.Start, want.End-1)
			if !bytes.Equal(got, body[want.Start:want.End]) || part.Header.Get("Content-Range") != cr || part.Header.Get("Content-Type") != ct {
				t.Errorf("part %d: %d bytes, %v", i, len(got), part.Header)
			}
		}
		if _, err := r.NextRawPart(); err != io.EOF {
			t.Errorf("after the last part: %v", err)
		}
	}
}

// No byte is sent twice, none beyond the body, and what a single valid range asks
// for is what comes.
func FuzzPlanRange(f *testing.F) {
	f.Add("bytes=0-1,5-,-3", int64(10))
	f.Add("bytes=0-18446744073709551615", int64(1<<40))
	f.Fuzz(func(t *testing.T, rng string, size int64) {
		size = max(size, 0) % (1 << 50)
		p := PlanRange(Header{{[]byte("Range"), []byte(rng)}}, nil, 200, size, now)
		var total int64
		for i, r := range p.Parts[:p.N] {
			total += r.End - r.Start
			if r.Start < 0 || r.Start >= r.End || r.End > size {
				t.Fatalf("%q of %d: %+v", rng, size, p)
			}
			for _, o := range p.Parts[:i] {
				if r.Start < o.End && o.Start < r.End {
					t.Fatalf("%q of %d overlaps: %+v", rng, size, p)
				}
			}
		}
		if total > size || (p.Status == 206) != (p.N > 0) || p.Status != 200 && p.Status != 206 && p.Status != 416 {
			t.Fatalf("%q of %d: %+v", rng, size, p)
		}
		a, b, ok := strings.Cut(strings.TrimPrefix(rng, "bytes="), "-")
		first, err1 := strconv.ParseInt(a, 10, 40)
		last, err2 := strconv.ParseInt(b, 10, 40)
		if ok && strings.HasPrefix(rng, "bytes=") && err1 == nil && err2 == nil && !strings.ContainsAny(rng, "+") && first <= last && first < size {
			if p.N != 1 || p.Parts[0] != (ByteRange{first, min(last+1, size)}) {
				t.Fatalf("%q of %d: %+v", rng, size, p)
			}
		}
	})
}

func TestPlanRangeDoesNotAllocate(t *testing.T) {
	req, stored := header("Range: bytes=0-0,200-300,-5", `If-Range: "a"`), header(`ETag: "a"`)
	buf := make([]byte, 0, 64)
	if a := testing.AllocsPerRun(100, func() {
		p := PlanRange(req, stored, 200, 1000, now)
		if p.N != 3 {
			t.Fatal(p)
		}
		p.AppendContentRange(buf, 1)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
