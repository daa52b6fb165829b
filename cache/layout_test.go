package cache

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// cutOut does what memory does with what Layout says.
func cutOut(t *testing.T, raw []byte) (rest, body []byte) {
	t.Helper()
	from, to, ok := Layout("p:").Cut(raw)
	if !ok {
		t.Fatal("not laid out")
	}
	return append(bytes.Clone(raw[:from]), raw[to:]...), bytes.Clone(raw[from:to])
}

func TestEntryIsTheSameWithItsBodyCutOut(t *testing.T) {
	e := sample()
	soft := *e
	soft.SoftPurgedAt, soft.StaleIfError = 99, 5e9
	for name, e := range map[string]*Entry{
		"response": e, "windows and a soft purge": &soft, "index": NewVaryIndex([]byte("k"), [][]byte{[]byte("accept")}, 7),
	} {
		raw := Encode(nil, e)
		whole, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		rest, body := cutOut(t, raw)
		if !bytes.Equal(body, e.Body) || len(rest)+len(body) != len(raw) {
			t.Fatalf("%s: cut into %d and %d bytes", name, len(rest), len(body))
		}
		var checked, trusted Entry
		if err := errors.Join(checked.UnmarshalCut(rest, body), trusted.UnmarshalCutTrusted(rest, body)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(&checked, whole) || !reflect.DeepEqual(&trusted, whole) {
			t.Errorf("%s: cut %+v, whole %+v", name, checked, whole)
		}
	}
}

func TestCutEntryThatIsDamaged(t *testing.T) {
	raw := Encode(nil, sample())
	rest, body := cutOut(t, raw)
	other := bytes.Clone(body)
	other[len(other)-1]++
	damaged := bytes.Clone(rest)
	damaged[len(rest)-checksumSize-2]++
	for _, c := range []struct {
		name       string
		rest, body []byte
		want       error
	}{
		{"another body", rest, other, ErrChecksum},
		{"another header", damaged, body, ErrChecksum},
		{"a shorter body", rest, body[:len(body)-1], ErrChecksum},
		{"no body", rest, nil, ErrChecksum},
		{"nothing around it", nil, body, ErrTruncated},
	} {
		if err := new(Entry).UnmarshalCut(c.rest, c.body); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	if err := new(Entry).UnmarshalCutTrusted(rest, body[:len(body)-1]); !errors.Is(err, ErrFormat) {
		t.Errorf("a body of another length: %v", err)
	}
	if err := new(Entry).UnmarshalCutTrusted(raw, body); !errors.Is(err, ErrFormat) {
		t.Errorf("two bodies: %v", err)
	}
}

// Only what says itself which key it has may be kept without it.
func TestLayoutKnowsEntriesOnly(t *testing.T) {
	raw := Encode(nil, sample())
	keyless := sample()
	keyless.Key = nil
	l := Layout("p:")
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"entry": {raw, true}, "cut short": {raw[:len(raw)-1], false}, "empty": {nil, false}, "no key": {Encode(nil, keyless), false},
	} {
		if _, _, ok := l.Cut(c.data); ok != c.want {
			t.Errorf("%s: %v", name, ok)
		}
	}
	h := HashKey([]byte("k"))
	for key, want := range map[string]bool{
		KeyName("p:", h): true, VariantName("p:", h, h): true, PartsKey(KeyName("p:", h)): true,
		TagName("p:", []byte("c:")): false, LeaseName("p:", h): false, KeyName("q:", h): false, "session:" + KeyName("p:", h): false,
	} {
		if strings.HasPrefix(key, l.Prefix) != want {
			t.Errorf("%s: not %v", key, want)
		}
	}
}
