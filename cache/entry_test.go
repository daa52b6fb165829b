package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

func sample() *Entry {
	return &Entry{
		Kind: KindResponse, Flags: FlagMustRevalidate, Status: 200, StoredAt: now.UnixMilli(), FillStart: now.UnixMilli() - 30,
		Lifetime: time.Minute, InitialAge: 1500 * time.Millisecond, Key: []byte("p;1:h;1:/"),
		Tags:   []TagMark{{[]byte("product:1"), []byte("7")}, {[]byte("user:2"), []byte{}}},
		Header: []byte("A: 1\r\n"), Body: []byte("body"),
	}
}

func TestEntryRoundTrip(t *testing.T) {
	large := sample()
	large.Body = bytes.Repeat([]byte("x"), 1<<20)
	empty := &Entry{Kind: KindResponse, Tags: []TagMark{}, Key: []byte{}, Header: []byte{}, Body: []byte{}}
	ahead := sample()
	ahead.FillStart = ahead.StoredAt + 5 // the clock was set back
	stale := sample()
	stale.StaleWhileRevalidate, stale.StaleIfError, stale.SoftPurgedAt = time.Minute, time.Hour, now.UnixMilli()
	stale.Flags = FlagValidate | FlagShared
	half := sample()
	half.StaleIfError = time.Second
	for _, e := range []*Entry{sample(), large, empty, ahead, stale, half} {
		raw := Encode([]byte("before"), e)[len("before"):]
		got, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Tags) == 0 {
			got.Tags = e.Tags
		}
		if !reflect.DeepEqual(got, e) {
			t.Errorf("got %+v, want %+v", got, e)
		}
	}
}

func TestEntryRounds(t *testing.T) {
	e := sample()
	e.Lifetime, e.InitialAge = 1999*time.Microsecond, 1001*time.Microsecond
	got, err := Decode(Encode(nil, e))
	if err != nil || got.Lifetime != time.Millisecond || got.InitialAge != 2*time.Millisecond {
		t.Errorf("got lifetime %v, age %v, %v: rounded towards fresher", got.Lifetime, got.InitialAge, err)
	}
}

// The format may cost 40 bytes, so that all of an object stays below 300.
func TestEntryOverhead(t *testing.T) {
	e := sample()
	e.Tags, e.Lifetime = nil, MaxDelta*time.Second
	e.Header, e.Body = make([]byte, 300), make([]byte, 20000)
	if got := len(Encode(nil, e)) - len(e.Header) - len(e.Body) - len(e.Key); got > 40 {
		t.Errorf("%d bytes beside key, header and body", got)
	}
}

func TestDecodeRefuses(t *testing.T) {
	raw := Encode(nil, sample())
	for i := range raw {
		if _, err := Decode(raw[:i]); err == nil {
			t.Fatalf("%d of %d bytes were accepted", i, len(raw))
		}
		changed := bytes.Clone(raw)
		changed[i] ^= 0x10
		if _, err := Decode(changed); err == nil {
			t.Fatalf("a changed byte at %d was accepted", i)
		}
	}
	change := func(at int, b byte) []byte {
		c := bytes.Clone(raw)
		c[at] = b
		return c
	}
	for name, tt := range map[string]struct {
		raw  []byte
		want error
	}{
		"empty":          {nil, ErrTruncated},
		"magic":          {change(0, 'x'), ErrFormat},
		"text":           {[]byte("a value that somebody set by hand"), ErrFormat},
		"version":        {change(2, formatVersion+1), ErrVersion},
		"version, short": {change(2, 1)[:10], ErrVersion},
		"kind":           {change(3, 9), ErrFormat},
		"body":           {change(len(raw)-9, 'x'), ErrChecksum},
		"checksum":       {change(len(raw)-1, raw[len(raw)-1]+1), ErrChecksum},
		"more":           {sealed(append(bytes.Clone(raw[:len(raw)-8]), 'x')), ErrFormat},
		"less":           {sealed(bytes.Clone(raw[:len(raw)-9])), ErrTruncated},
		"status":         {sealedHead(1 << 20), ErrFormat},
		"endless":        {sealed(append([]byte{magic0, magic1, formatVersion, 1, 0}, bytes.Repeat([]byte{0xff}, 30)...)), ErrFormat},
		"unended":        {sealed(append([]byte{magic0, magic1, formatVersion, 1, 0, 1, 1, 1, 1, 1}, 0xff, 0xff, 0xff, 0xff)), ErrTruncated},
	} {
		if _, err := Decode(tt.raw); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func sealed(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b)) }

func sealedHead(status uint64) []byte {
	b := binary.AppendUvarint([]byte{magic0, magic1, formatVersion, 1, 0}, status)
	return sealed(append(b, make([]byte, 20)...))
}

// Decoding bytes of any kind ends without a panic, and within the bytes.
func FuzzDecode(f *testing.F) {
	raw := Encode(nil, sample())
	f.Add(raw)
	f.Add(raw[:len(raw)-8])
	f.Add(Encode(nil, NewVaryIndex([]byte("k"), [][]byte{[]byte("a"), []byte("b")}, 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		// With a right checksum the fuzzer gets past it.
		for _, raw := range [][]byte{b, sealed(bytes.Clone(b))} {
			var e Entry
			if err := e.Unmarshal(raw); err != nil {
				continue
			}
			if len(e.Key)+len(e.Header)+len(e.Body) > len(raw) || e.Lifetime < 0 || e.InitialAge < 0 || len(e.Tags) > maxTagMarks {
				t.Fatalf("%x gives %+v", raw, e)
			}
			e.VaryIndex(nil)
			e.Fresh(now)
			e.SearchVariance()
			if e.Flags&encodedFlags != 0 || e.StaleWhileRevalidate < 0 || e.StaleIfError < 0 {
				t.Fatalf("%x gives %+v", raw, e)
			}
			ParseHeader(nil, e.Header)
			again, err := Decode(Encode(nil, &e))
			if err != nil || !bytes.Equal(again.Body, e.Body) || again.Lifetime != e.Lifetime || again.FillStart != e.FillStart {
				t.Fatalf("%x does not survive: %v", raw, err)
			}
		}
		var e Entry
		_ = e.UnmarshalTrusted(b)
		_ = e.UnmarshalCutTrusted(b, b)
	})
}

func TestEntryAge(t *testing.T) {
	e := sample()
	for _, tt := range []struct {
		after, age time.Duration
		fresh      bool
	}{
		{-time.Hour, 1500 * time.Millisecond, true},
		{0, 1500 * time.Millisecond, true},
		{58499 * time.Millisecond, 59999 * time.Millisecond, true},
		{58500 * time.Millisecond, time.Minute, false},
	} {
		at := now.Add(tt.after)
		if e.Age(at) != tt.age || e.Fresh(at) != tt.fresh || e.TTL(at) != time.Minute-tt.age {
			t.Errorf("after %v: age %v, ttl %v, fresh %v", tt.after, e.Age(at), e.TTL(at), e.Fresh(at))
		}
	}
}

func TestSoftPurge(t *testing.T) {
	e := sample()
	e.SoftPurgedAt = now.Add(10 * time.Second).UnixMilli()
	for _, tt := range []struct{ at, ttl time.Duration }{
		{0, 0}, // before the mark, by a clock that is behind
		{10 * time.Second, 0},
		{30 * time.Second, -20 * time.Second},
		{100 * time.Second, -90 * time.Second},
	} {
		if got := e.TTL(now.Add(tt.at)); got != tt.ttl || e.Fresh(now.Add(tt.at)) {
			t.Errorf("after %v: ttl %v, want %v", tt.at, got, tt.ttl)
		}
	}
	raw := Encode(nil, e)
	again := Entry{}
	if err := again.Unmarshal(raw); err != nil || again.SoftPurgedAt != e.SoftPurgedAt {
		t.Fatalf("%+v, %v", again, err)
	}
	if err := again.Unmarshal(Encode(nil, sample())); err != nil || again.SoftPurgedAt != 0 {
		t.Error("an entry that is used again keeps the mark of the one before")
	}
}

func TestVaryIndex(t *testing.T) {
	raw := Encode(nil, NewVaryIndex([]byte("key"), [][]byte{[]byte("accept"), []byte("foo")}, 1<<63+5))
	e, err := Decode(raw)
	if err != nil || e.Kind != KindVary || string(e.Key) != "key" {
		t.Fatalf("%+v, %v", e, err)
	}
	names, generation, ok := e.VaryIndex(nil)
	if !ok || string(bytes.Join(names, []byte("|"))) != "accept|foo" || generation != 1<<63+5 {
		t.Errorf("got %q %x %v", names, generation, ok)
	}
	if _, _, ok := sample().VaryIndex(nil); ok {
		t.Error("a response was read as an index")
	}
	e.Header = []byte(strings.Repeat("a,", MaxVaryNames) + "a")
	if _, _, ok := e.VaryIndex(nil); ok {
		t.Error("too many names were read")
	}
	if a, b := AppendVariantKey([]byte("k"), 1), AppendVariantKey([]byte("k"), 2); bytes.Equal(a, b) {
		t.Error("generations share keys")
	}
}

func TestUnmarshalDoesNotAllocate(t *testing.T) {
	raw := Encode(nil, sample())
	e := Entry{Tags: make([]TagMark, 0, 4), StaleIfError: 1, SoftPurgedAt: 1}
	h := make(Header, 0, 4)
	if a := testing.AllocsPerRun(100, func() {
		if e.Unmarshal(raw) != nil {
			t.Fatal("refused")
		}
		ParseHeader(h, e.Header)
		e.Fresh(now)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
	if a := testing.AllocsPerRun(100, func() {
		if _, err := Decode(raw); err != nil {
			t.Fatal(err)
		}
	}); a > 2 {
		t.Errorf("Decode: %v allocations", a)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	e := sample()
	e.Body = make([]byte, 10<<10)
	raw := Encode(nil, e)
	for name, decode := range map[string]func([]byte) error{"checked": e.Unmarshal, "trusted": e.UnmarshalTrusted} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := decode(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
