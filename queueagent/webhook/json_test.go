package webhook

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// typeOf gives what the default mapping finds.
func typeOf(t testing.TB, payload string) string {
	t.Helper()
	m, err := newMapping(Task{})
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := m.read(payload, time.Unix(0, 0), nil)
	if err != nil || string(c.body) != payload {
		t.Fatalf("%.40q: body %.40q, %v: want all of it", payload, c.body, err)
	}
	return c.typ
}

func TestTaskType(t *testing.T) {
	for in, want := range map[string]string{
		`{"type":"email"}`: "email",
		" {\n\"data\" : {\"type\":\"x\"}, \"type\" : \"e\\u006dail\" } ": "email",
		`{"a":[1,{"b":"}]"}],"type":"t","c":-1.5e3}`:                     "t",
		`{"type":"a","type":"b"}`:                                        "b",
		`{"type":"a","type":1}`:                                          "",
		`{"t\u0079pe":"esc"}`:                                            "esc",
		`{"type":"` + strings.Repeat("x", 256) + `"}`:                    strings.Repeat("x", 256),
		`{"type":"` + strings.Repeat("\\u0061", 256) + `"}`:              strings.Repeat("a", 256),
	} {
		if got := typeOf(t, in); got != want {
			t.Errorf("the type of %s is %q: want %q", in, got, want)
		}
	}
	for _, in := range []string{
		``, `{`, `{"type":1}`, `{"type":null}`, `{"Type":"x"}`, `[]`, `"type"`, `{"type":"x"`, "\xff\x00", `{"type":"x"}{}`, `{}`,
		`{"type":"x",}`, `{"type":"x" "a":1}`, `{"type":"x","a":01}`, `{"type":"x","a":"` + "\n" + `"}`, `{"type":"x","a":tru}`,
		`{"type":"` + strings.Repeat("x", 257) + `"}`, `{"type":"x","a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`,
	} {
		if got := typeOf(t, in); got != "" {
			t.Errorf("the type of %.60s is %q: want none", in, got)
		}
	}
}

// lookUp finds a dotted path in what encoding/json has decoded; nil: it is not there.
func lookUp(doc any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := doc.(map[string]any)
		if !ok {
			return nil
		}
		doc = object[name]
	}
	return doc
}

// FuzzScanner holds the scanner against encoding/json.
func FuzzScanner(f *testing.F) {
	for _, seed := range []string{
		`{"type":"email","data":{"to":["a",1,null,{"type":"x"}]}}`, `{"a":"\\\"","type":"\ud83d\ude00"}`,
		`{"type":[],"type":"x" , "b" : true}`, `{"headers":{"task":"a"},"headers":{}}`, `{"a":{"b":{"c":"\ud800\u0041"}}}`,
		`{"a":{"b":-0.5e+7},"a":{"b":{"c":"` + "\xff" + `"}}}`, `{"type":"\uD83D\uD83D\uDE00"}`, `{"":1,"a":{"":{}}}`, ` {} `, `[1]`,
	} {
		f.Add(seed)
	}
	paths := []string{"type", "a.b", "a.b.c", "headers.task"}
	root := &field{}
	for i, p := range paths {
		root.add(p, i)
	}
	f.Fuzz(func(t *testing.T, in string) {
		var s scanner
		ok := s.scan(in, root)
		var doc any
		err := json.Unmarshal([]byte(in), &doc)
		object, isObject := doc.(map[string]any)
		if want := err == nil && isObject; ok != want {
			t.Fatalf("%q is an object: %v: want %v", in, ok, want)
		}
		for i, p := range paths {
			raw, want := s.found[i], lookUp(object, p)
			if want == nil {
				if raw != "" && raw != "null" {
					t.Errorf("%q has %q at %s: want nothing", in, raw, p)
				}
				continue
			}
			var got any
			if err := json.Unmarshal([]byte(raw), &got); err != nil || !equalJSON(got, want) {
				t.Errorf("%q has %q at %s: want %v (%v)", in, raw, p, want, err)
			}
			if text, is := want.(string); is && unquote(raw) != text {
				t.Errorf("%q unquotes to %q: want %q", raw, unquote(raw), text)
			}
		}
	})
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
