package cache

import (
	"slices"
	"strings"
	"testing"
)

func lookup(pairs ...string) func(string) ([]byte, bool) {
	return func(name string) ([]byte, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return []byte(pairs[i+1]), true
			}
		}
		return nil, false
	}
}

func TestAppendTag(t *testing.T) {
	param := lookup("id", "42", "empty", "", "a", "{b}", "long", strings.Repeat("x", MaxTag), "session", "p")
	session := lookup("user_id", "ann", "id", "s")
	for _, tt := range []struct {
		template, want string
		ok             bool
	}{
		{"products", "products", true},
		{"product:{id}", "product:42", true},
		{"{id}", "42", true},
		{"user:{session.user_id}:{id}!", "user:ann:42!", true},
		{"{session.id}{id}", "s42", true},
		{"{session}", "p", true},
		{"{a}", "{b}", true}, // a value is text and not a template
		{"x:{none}", "", false},
		{"x:{session.none}", "", false},
		{"x:{empty}", "", false},
		{"x:{long}", "", false},
		{"{long}", strings.Repeat("x", MaxTag), true},
	} {
		tpl, err := CompileTag(tt.template)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := AppendTag([]byte("kept"), tpl, param, session)
		if ok != tt.ok || string(got) != "kept"+tt.want {
			t.Errorf("%s: got %q %v", tt.template, got, ok)
		}
	}
	tpl, _ := CompileTag("a:{x}:{session.y}:{z}")
	if _, ok := AppendTag(nil, tpl, nil, nil); ok {
		t.Error("without lookups a tag with placeholders was made")
	}
	if !slices.Equal(tpl.Params(), []string{"x", "z"}) || !slices.Equal(tpl.SessionFields(), []string{"y"}) {
		t.Errorf("placeholders %q %q", tpl.Params(), tpl.SessionFields())
	}
}

func TestCompileTagErrors(t *testing.T) {
	for template, want := range map[string]string{
		"":            "is empty",
		"a{":          `"{" without a "}"`,
		"a{b":         `"{" without a "}"`,
		"a{b{c}":      `"{" without a "}"`,
		"a}":          `"}" without a "{"`,
		"{a}}":        `"}" without a "{"`,
		"a{}":         "empty placeholder",
		"a{session.}": "empty placeholder",
	} {
		if _, err := CompileTag(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", template, err, want)
		}
	}
}

func FuzzCompileTag(f *testing.F) {
	f.Add("a:{b}:{session.c}")
	f.Fuzz(func(t *testing.T, template string) {
		tpl, err := CompileTag(template)
		if err != nil {
			return
		}
		echo := func(name string) ([]byte, bool) { return []byte("{" + name + "}"), true }
		echoSession := func(name string) ([]byte, bool) { return []byte("{session." + name + "}"), true }
		if got, ok := AppendTag(nil, tpl, echo, echoSession); ok && string(got) != template {
			t.Fatalf("%q was compiled as %q", template, got)
		}
	})
}
