package strictyaml

import (
	"fmt"
	"io/fs"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/units"
)

type policy struct {
	Mode string        `yaml:"mode,scalar"`
	TTL  time.Duration `yaml:"ttl"`
}

type item struct {
	Name   string                `yaml:"name"`
	Count  int                   `yaml:"count"`
	Policy policy                `yaml:"policy"`
	Tags   []string              `yaml:"tags"`
	Map    map[string]string     `yaml:"map"`
	Multi  map[string][]string   `yaml:"multi"`
	Codes  map[int]time.Duration `yaml:"codes"`
	Secret string                `yaml:"secret" secret:"true"`
	URL    string                `yaml:"url" secret:"url"`
}

type document struct {
	Listen  string        `yaml:"listen" env:"LISTEN"`
	Size    units.Size    `yaml:"size"`
	Percent units.Percent `yaml:"percent"`
	On      bool          `yaml:"on"`
	Part    item          `yaml:"part" envPrefix:"PART_"`
	Items   []item        `yaml:"items"`
	Hidden  string
}

func options() Options {
	vars := map[string]string{"NAME": "value", "EMPTY": "", "INJECT": "a\nb: {c: d}", "NUMBER": "7"}
	return Options{
		Default: func(t reflect.Type) any {
			if t == reflect.TypeFor[item]() {
				return item{Count: 3}
			}
			return nil
		},
		Lookup: func(name string) (string, bool) { v, ok := vars[name]; return v, ok },
		ReadFile: func(path string) ([]byte, error) {
			switch path {
			case "/secret":
				return []byte("hunter2\n"), nil
			case "/empty":
				return []byte("\n"), nil
			case "/large":
				return make([]byte, MaxSecret+1), nil
			case "/denied":
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			}
			return nil, fs.ErrNotExist
		},
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		name, text string
		want       document
	}{
		{"empty", "", document{}},
		{"only a comment", "# nothing\n---\n", document{}},
		{"text stays text", "listen: 010\npart: { name: off, map: { a: 1, b: ~x, c: 2024-01-01 } }",
			document{Listen: "010", Part: item{Name: "off", Map: map[string]string{"a": "1", "b": "~x", "c": "2024-01-01"}}}},
		{"types", "size: 64MiB\npercent: 2.5%\non: true\npart: { count: 5, tags: [a, 1, yes] }",
			document{Size: 64 * units.MiB, Percent: 2.5, On: true, Part: item{Count: 5, Tags: []string{"a", "1", "yes"}}}},
		{"scalar for a struct", "part: { policy: off }", document{Part: item{Policy: policy{Mode: "off"}}}},
		{"mapping for the same struct", "part: { policy: { mode: \"on\", ttl: 5m } }", document{Part: item{Policy: policy{Mode: "on", TTL: 5 * time.Minute}}}},
		{"scalar as a list of one", "part: { multi: { role: admin, level: [1, 2] } }",
			document{Part: item{Multi: map[string][]string{"role": {"admin"}, "level": {"1", "2"}}}}},
		{"numbers as keys", "part: { codes: { 404: 30s, \"500\": 0s, -1: 1h } }",
			document{Part: item{Codes: map[int]time.Duration{404: 30 * time.Second, 500: 0, -1: time.Hour}}}},
		{"defaults of elements", "items: [ { name: a }, { name: b, count: 9 } ]", document{Items: []item{{Name: "a", Count: 3}, {Name: "b", Count: 9}}}},
		{"aliases", "part: { policy: &p { ttl: 1s } }\nitems: [ { policy: *p } ]",
			document{Part: item{Policy: policy{TTL: time.Second}}, Items: []item{{Count: 3, Policy: policy{TTL: time.Second}}}}},
		{"line ends and a mark of Windows", "\ufefflisten: a\r\npart:\r\n  name: b\r\n", document{Listen: "a", Part: item{Name: "b"}}},
		{"empty section", "part:\nitems:\n", document{}},
		{"empty list", "items: []", document{Items: []item{}}},
		{"variables", "listen: ${NAME}-${NONE:-a:b}-${EMPTY:-x}-${EMPTY}-$$-$$${NAME}-$x\npart: { count: \"${NUMBER}\" }",
			document{Listen: "value-a:b-x--$-$value-$x", Part: item{Count: 7}}},
		{"a variable cannot add structure", "listen: ${INJECT}", document{Listen: "a\nb: {c: d}"}},
		{"secret files", "part: { secret: file:/secret, url: \"file:/secret\", name: \"file:/secret\" }",
			document{Part: item{Secret: "hunter2", URL: "hunter2", Name: "file:/secret"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got document
			res := Decode([]byte(tt.text), &got, options())
			if len(res.Mistakes) > 0 {
				t.Fatalf("mistakes: %+v", res.Mistakes)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown, near", "lisetn: a", `1:1 lisetn: unknown key: did you mean "listen"?`},
		{"unknown, far", "part: { zebra: 1 }", `1:9 part.zebra: unknown key: the keys here are name, count, policy, tags, map, multi, codes, secret, url`},
		{"unknown, one level down", "mode: a\npart: { ttl: 5s }", `1:1 mode: unknown key: the keys here are listen, size, percent, on, part, items
2:9 part.ttl: unknown key: did you mean "policy.ttl"?`},
		{"untagged field", "Hidden: a", `1:1 Hidden: unknown key: the keys here are listen, size, percent, on, part, items`},
		{"twice", "listen: a\nlisten: b", `2:1 listen: is set twice, first in line 1: remove one of the two`},
		{"twice in a free mapping", "part: { map: { a: 1, a: 2 } }", `1:22 part.map.a: is set twice, first in line 1: remove one of the two`},
		{"odd map key", "part: { map: { \"a b\": [] } }", `1:23 part.map["a b"]: is a list, not a single value: write one value`},
		{"keys that are no numbers", "part: { codes: { 4xx: 1s, 0404: 1s, +1: 1s, 1e2: 1s, 404: soon, \"a b\": 1s, 99999999999999999999: 1s } }",
			`1:18 part.codes.4xx: is not a whole number, which a key here must be: write digits only, such as 404
1:27 part.codes.0404: is not a whole number, which a key here must be: write digits only, such as 404
1:37 part.codes["+1"]: is not a whole number, which a key here must be: write digits only, such as 404
1:45 part.codes.1e2: is not a whole number, which a key here must be: write digits only, such as 404
1:59 part.codes.404: "soon" is not a duration: write a number with a unit, such as 30s, 5m or 1h
1:65 part.codes["a b"]: is not a whole number, which a key here must be: write digits only, such as 404
1:76 part.codes.99999999999999999999: is not a whole number, which a key here must be: write digits only, such as 404`},
		{"a number twice", "part: { codes: { 404: 1s, \"404\": 2s } }", `1:27 part.codes.404: is set twice, first in line 1: remove one of the two`},
		{"no mapping of numbers", "part: { codes: [404] }\nitems: [ { codes: 404 }, { codes: { 404: [1s] } } ]", `1:16 part.codes: is a list, not a mapping: write a mapping, such as {404: 30s}
2:19 items[0].codes: "404" is a single value, not a mapping: write a mapping, such as {404: 30s}
2:42 items[1].codes.404: is a list, not a duration: write a number with a unit, such as 30s, 5m or 1h`},
		{"key that is a list", "? [a]\n: b", `1:3 : a key here is not plain text: write "key: value"`},
		{"merge key", "part: &a { name: a }\nitems: [ { <<: *a } ]", `2:12 items[0]["<<"]: merge keys are not supported: write the keys out, or use an alias for the whole value`},
		{"tag", "listen: !!str a\non: !x true", "1:9 listen: has the YAML tag !!str: remove the tag\n2:5 on: has the YAML tag !x: remove the tag"},
		{"integer", "part: { count: 1.5 }\nitems: [ { count: 9223372036854775808 } ]",
			`1:16 part.count: "1.5" is not a whole number: write digits only, such as 16
2:19 items[0].count: "9223372036854775808" is too large a number: write a smaller whole number`},
		{"bool", "on: on", `1:5 on: "on" is not a truth value: write true or false`},
		{"size and percent", "size: -1\npercent: 5", `1:7 size: "-1" is not a size: write a whole number with B, KiB, MiB or GiB, such as 64MiB
2:10 percent: "5" is not a percentage: write a number from 0 to 100 with a percent sign, such as 10%`},
		{"null", "listen:\npart: { tags: ~ }\nitems: [ null ]", `1:8 listen: has no value: write one value, or remove the key
2:15 part.tags: has no value: write a list, such as [a, b], or remove the key
3:10 items[0]: has no value: write a mapping with the keys name, count, policy, tags, map, multi, codes, secret, url, or remove the entry`},
		{"empty word", "part: { policy: \"\" }", `1:17 part.policy: is empty: write a single word for mode, or a mapping with the keys mode, ttl`},
		{"kinds", "listen: [a]\npart: [a]\nitems: { a: b }", `1:9 listen: is a list, not a single value: write one value
2:7 part: is a list, not a mapping: write a mapping with the keys name, count, policy, tags, map, multi, codes, secret, url
3:8 items: is a mapping, not a list: write a list, each entry beginning with "- "`},
		{"text for a list", "part: { tags: a }", `1:15 part.tags: "a" is a single value, not a list: write a list, such as ["a"]`},
		{"policy kind", "part: { policy: [off] }", `1:17 part.policy: is a list, not a mapping: write a single word for mode, or a mapping with the keys mode, ttl`},
		{"secrets are masked", "part: hunter2\nitems: [ { secret: [hunter2] } ]", `1:7 part: "***" is a single value, not a mapping: write a mapping with the keys name, count, policy, tags, map, multi, codes, secret, url
2:20 items[0].secret: is a list, not a single value: write one value`},
		{"unset variable", "listen: a${NONE}b", `1:9 listen: the variable NONE is not set: set it, or write ${NONE:-default}`},
		{"malformed variables", "listen: \"${NAME\"\npart: { name: \"${A B}\", url: \"${}\", tags: [\"${A:-${B}}\"] }", `1:9 listen: has a ${ without a }: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign
2:15 part.name: has a ${…} that is not a variable: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign
2:30 part.url: has a ${…} that is not a variable: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign
2:44 part.tags[0]: has a ${…} that is not a variable: write ${NAME} or ${NAME:-default}, or $$ for a dollar sign`},
		{"secret files", "items: [ {secret: file:/none}, {secret: file:/empty}, {secret: file:x}, {secret: file:/large}, {secret: file:/denied} ]",
			`1:19 items[0].secret: the secret's file "/none" does not exist: create it, or name the file that holds the secret
1:41 items[1].secret: the secret's file "/empty" is empty: write the secret into it
1:64 items[2].secret: the secret's file "x" is not an absolute path: write file:/path/to/secret
1:82 items[3].secret: the secret's file "/large" has more than 65536 bytes: name the file that holds the secret alone
1:105 items[4].secret: the secret's file "/denied" cannot be read (permission denied): let this process read it`},
		{"not a mapping", "a", `1:1 : the document is a single value, not a mapping: write it as "key: value" lines`},
		{"second document", "listen: a\n---\nlisten: b\n", `2:1 : a second document begins here: keep one document in the file, and remove the --- line`},
		{"bad second document", "listen: a\n---\nlisten: [\n", `3:1 : this line is not valid YAML (did not find expected node content): look at the indentation, quotes and brackets of this line`},
		{"tab", "part:\n  name: a\n\tcount: 1\n", `3:1 : this line is not valid YAML (a tab indents it): indent with spaces`},
		{"unclosed bracket behind a good one", "items: [\n  {name: a},\n  {name: b}\n]\npart: { tags: [a, b }\nlisten: c\n",
			`5:1 : this line is not valid YAML (did not find expected ',' or ']'): look at the indentation, quotes and brackets of this line`},
		{"not UTF-8", "listen: \xff\n", `1:1 : this line is not valid YAML (invalid leading UTF-8 octet): save the file as UTF-8 text`},
		{"too large", "# " + strings.Repeat("x", MaxBytes), `0:0 : the document has more than 1048576 bytes: split off what is not configuration`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var into document
			var lines []string
			for _, m := range Decode([]byte(tt.text), &into, options()).Mistakes {
				lines = append(lines, show(m))
			}
			if got := strings.Join(lines, "\n"); got != tt.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, tt.want)
			}
		})
	}
}

func show(m Mistake) string {
	value := ""
	if m.Value != "" {
		value = strconv.Quote(m.Value) + " "
	}
	return fmt.Sprintf("%d:%d %s: %s%s: %s", m.Line, m.Column, m.Key, value, m.Message, m.Remedy)
}

func TestMistakesLeaveTheRest(t *testing.T) {
	got := document{Listen: "before", Part: item{Count: 1}}
	res := Decode([]byte("listen: [a]\npart: { count: x, name: a }\nitems: [ { count: y, name: b }, { name: c } ]"), &got, options())
	want := document{Listen: "before", Part: item{Count: 1, Name: "a"}, Items: []item{{Count: 3, Name: "b"}, {Count: 3, Name: "c"}}}
	if len(res.Mistakes) != 3 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d mistakes and %+v, want 3 and %+v", len(res.Mistakes), got, want)
	}
}

func TestPositions(t *testing.T) {
	var into document
	res := Decode([]byte("listen: a\nitems:\n  - name: b\n    map: { \"x.y[0]\": z }\n"), &into, options())
	tests := map[string]Position{
		"listen":                    {1, 9},
		"items[0].name":             {3, 11},
		"items[0].count":            {3, 5},
		"items[0].policy.ttl":       {3, 5},
		"items[7].name":             {3, 3},
		`items[0].map["x.y[0]"]`:    {4, 22},
		`items[0].map["no.y[0]"]`:   {4, 10},
		"part.name":                 {1, 1},
		"items[0].map.absent.below": {4, 10},
	}
	for path, want := range tests {
		if got := res.At(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestMistakesAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "x%d: 1\n", i)
	}
	var into document
	if n := len(Decode([]byte(b.String()), &into, Options{}).Mistakes); n != maxMistakes+1 {
		t.Errorf("got %d mistakes, want %d", n, maxMistakes+1)
	}
}

func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("part: { tags: &t [" + strings.Repeat("a, ", 5000) + "a] }\nitems:\n")
	for range 500 {
		b.WriteString("  - tags: *t\n")
	}
	var into document
	res := Decode([]byte(b.String()), &into, Options{})
	if len(res.Mistakes) != 1 || !strings.Contains(res.Mistakes[0].Message, "its aliases followed") {
		t.Errorf("got %+v, want one mistake about aliases", res.Mistakes)
	}
	res = Decode([]byte("items: &a [ { map: *a } ]"), &into, Options{})
	if len(res.Mistakes) != 1 {
		t.Errorf("an anchor within itself: got %+v, want one mistake", res.Mistakes)
	}
}

func TestEncodeKeys(t *testing.T) {
	in := document{Part: item{Codes: map[int]time.Duration{1000: time.Second, 404: 90 * time.Second, 5: 0}, Map: map[string]string{"7": "${x}"}}}
	text, err := Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := "codes: {5: 0s, 404: 1m30s, 1000: 1s}"; !strings.Contains(string(text), want) {
		t.Errorf("got\n%s\nwant %s in it", text, want)
	}
	var again document
	if res := Decode(text, &again, Options{}); len(res.Mistakes) > 0 || !reflect.DeepEqual(again.Part, in.Part) {
		t.Errorf("got %+v (%+v), want %+v", again.Part, res.Mistakes, in.Part)
	}
}

func TestTypeName(t *testing.T) {
	for want, v := range map[string]any{
		"whole number to duration": map[int]time.Duration{}, "text to text": map[string]string{},
		"text to text or list": map[string][]string{}, "list of text": []string{}, "duration": time.Second, "true or false": true,
	} {
		if got := TypeName(reflect.TypeOf(v)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMask(t *testing.T) {
	tests := []struct{ secret, text, want string }{
		{"true", "hunter2", "***"},
		{"true", "", ""},
		{"", "plain", "plain"},
		{"", "http://h/p@q", "http://***@q"},
		{"", "http://user:hunter2@h:1/p?token=hunter2&a=b", "http://user:***@h:1/p?token=***&a=b"},
		{"", "http://hunter2@h", "http://***@h"},
		{"url", "redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"},
		{"url", "redis://[::1]:6379/0", "redis://[::1]:6379/0"},
		{"url", "unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"},
		{"url", "redis://u:hun/ter@2@h:1/0", "redis://u:***@h:1/0"},
		{"url", "redis://u:hun?ter2@h:1/0", "redis://***@h:1/0"},
		{"url", "redis://:hunter2", "redis://***"},
		{"url", "redis://h:hunter2", "redis://***"},
		{"url", "hunter2", "***"},
		{"url", "localhost:6379", "localhost:6379"},
		{"url", "localhost:hunter2", "***"},
		{"url", "u:hunter2@h:6379", "***"},
		{"", strings.Repeat("é", 60), strings.Repeat("é", 40) + "…"},
	}
	for _, tt := range tests {
		if got := Mask(tt.secret, tt.text); got != tt.want {
			t.Errorf("%q %q: got %q, want %q", tt.secret, tt.text, got, tt.want)
		}
	}
}

func TestRedact(t *testing.T) {
	in := document{
		Part:  item{Secret: "hunter2", URL: "redis://u:hunter2@h", Map: map[string]string{"a": "http://u:hunter2@h"}},
		Items: []item{{Secret: "hunter2", Tags: []string{"http://hunter2@h"}, Multi: map[string][]string{"a": {"x://u:hunter2@h"}}}},
	}
	out := Redact(in)
	if text := fmt.Sprintf("%+v", out); strings.Contains(text, "hunter2") || strings.Count(text, "***") != 6 {
		t.Errorf("got %s", text)
	}
	if in.Part.Secret != "hunter2" || in.Items[0].Tags[0] != "http://hunter2@h" || in.Part.Map["a"] != "http://u:hunter2@h" {
		t.Errorf("the original was changed: %+v", in)
	}
}

func TestNearest(t *testing.T) {
	words := []string{"ttl", "max_object", "listen", "list"}
	for name, want := range map[string]string{
		"tll": "ttl", "maxObject": "max_object", "MAX-OBJCT": "max_object", "lisetn": "listen", "lists": "list",
		"zebra": "", "": "", strings.Repeat("listen", 20): "",
	} {
		if got := Nearest(name, words); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	var names []string
	env := map[string]string{}
	for _, f := range Keys(reflect.TypeFor[document]()) {
		names = append(names, f.Name)
		env[f.Name] = f.Env
	}
	if len(names) != 28 || names[6] != "part.count" || names[len(names)-1] != "items[].url" {
		t.Errorf("got %d keys: %q", len(names), names)
	}
	if env["listen"] != "LISTEN" || env["part.name"] != "" {
		t.Errorf("got variables %q", env)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"listen: a", "items: [ { policy: off } ]", "part: &a { map: { b: *a } }", "? a\n: b", "a: |\n  b\n---\n", "\t", "!!binary a: b", "${X:-}: ${",
		"part: { codes: { 404: 1s, 5: 0s } }", "part: { policy: { <<: *a } }", "items:\n- multi: {a: [b, {c: d}]}\n", "listen: \"\\xff\"", "%YAML 1.1\n---\nlisten: 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var first document
		res := Decode(data, &first, options())
		for _, m := range res.Mistakes {
			if m.Message == "" || m.Remedy == "" || m.Line < 0 || m.Column < 0 {
				t.Errorf("incomplete mistake %+v", m)
			}
		}
		if len(res.Mistakes) > 0 {
			return
		}
		// What was read must survive being written.
		text, err := Encode(first)
		if err != nil {
			t.Fatal(err)
		}
		var again document
		if res = Decode(text, &again, Options{ReadFile: options().ReadFile}); len(res.Mistakes) > 0 && !strings.Contains(string(text), "file:") {
			t.Errorf("%q\nwas written as\n%s\nwhich has mistakes %+v", data, text, res.Mistakes)
		}
	})
}

type named struct {
	Title string `yaml:"title"`
	item  `yaml:",inline"`
}

// TestInline: the keys of an inline struct are keys of the one around it.
func TestInline(t *testing.T) {
	type outer struct {
		List []named `yaml:"list"`
		One  struct {
			document `yaml:",inline"`
		} `yaml:"one" envPrefix:"ONE_"`
	}
	var got outer
	res := Decode([]byte("list:\n  - {title: a, name: b, policy: {ttl: 1s}, secret: hunter2}\none: {listen: x, nam: y}\n"), &got, Options{})
	if len(res.Mistakes) != 1 || res.Mistakes[0].Key != "one.nam" {
		t.Errorf("mistakes %v", res.Mistakes)
	}
	want := named{Title: "a", item: item{Name: "b", Policy: policy{TTL: time.Second}, Secret: "hunter2"}}
	if len(got.List) != 1 || !reflect.DeepEqual(got.List[0], want) || got.One.Listen != "x" {
		t.Errorf("got %+v", got)
	}
	if res.Positions["list[0].policy.ttl"].Line != 2 {
		t.Errorf("positions %v", res.Positions)
	}
	if redacted := Redact(got); redacted.List[0].Secret != "***" || redacted.List[0].Name != "b" {
		t.Errorf("redacted %+v", redacted)
	}
	text, err := Encode(got)
	var again outer
	if res := Decode(text, &again, Options{}); err != nil || len(res.Mistakes) > 0 || !reflect.DeepEqual(got.List, again.List) {
		t.Errorf("%v, %v: %s", err, res.Mistakes, text)
	}
	keys := map[string]Field{}
	for _, k := range Keys(reflect.TypeFor[outer]()) {
		keys[k.Name] = k
	}
	if keys["list[].policy.ttl"].Type == nil || keys["list[].secret"].Secret != "true" || keys["one.listen"].Env != "ONE_LISTEN" {
		t.Errorf("keys %v", keys)
	}
	if f := keys["one.listen"]; reflect.ValueOf(got).FieldByIndex(f.Index).String() != "x" {
		t.Errorf("index %v", f.Index)
	}
}

func TestOneWordForAList(t *testing.T) {
	type doc struct {
		Words []string `yaml:"words,one"`
		Tags  []string `yaml:"tags"`
	}
	for text, want := range map[string]doc{
		"words: a":      {Words: []string{"a"}},
		"words: [b, c]": {Words: []string{"b", "c"}},
	} {
		var got doc
		if res := Decode([]byte(text), &got, Options{}); len(res.Mistakes) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", text, got, res.Mistakes)
		}
	}
	if res := Decode([]byte("tags: a"), new(doc), Options{}); len(res.Mistakes) != 1 {
		t.Errorf("a word for a list without the tag: %v", res.Mistakes)
	}
}
