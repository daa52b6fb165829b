package cache

import (
	"fmt"
	"strings"
)

// MaxTag bounds the length of a tag in bytes, since values from requests are
// part of it.
const MaxTag = 256

// TagTemplate is a compiled tag: fixed text and placeholders. It is immutable
// and safe for concurrent use.
type TagTemplate struct{ parts []tagPart }

// tagPart is fixed text, or the name of a path parameter or session field.
type tagPart struct {
	text string
	kind tagPartKind
}

type tagPartKind uint8

const (
	tagText tagPartKind = iota
	tagParam
	tagSession
)

// CompileTag compiles a tag such as "product:{id}", where {id} is a parameter of
// the rule's path, or "user:{session.user_id}", where user_id is a field of the
// session. The error says what is wrong with the template.
func CompileTag(template string) (*TagTemplate, error) {
	if template == "" {
		return nil, fmt.Errorf("tag \"\" is empty: write a name such as \"product:{id}\"")
	}
	t := new(TagTemplate)
	for rest := template; rest != ""; {
		text, after, open := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return nil, fmt.Errorf("tag %q has a \"}\" without a \"{\" before it", template)
		}
		t.add(tagText, text)
		if !open {
			break
		}
		name, next, closed := strings.Cut(after, "}")
		if !closed || strings.Contains(name, "{") {
			return nil, fmt.Errorf("tag %q has a \"{\" without a \"}\" after it", template)
		}
		field, session := strings.CutPrefix(name, "session.")
		if field == "" {
			return nil, fmt.Errorf("tag %q has an empty placeholder: write {param} or {session.field}", template)
		}
		if session {
			t.add(tagSession, field)
		} else {
			t.add(tagParam, name)
		}
		rest = next
	}
	return t, nil
}

func (t *TagTemplate) add(kind tagPartKind, text string) {
	if text != "" {
		t.parts = append(t.parts, tagPart{text: text, kind: kind})
	}
}

// Params gives the names of the path parameters in the template, for a check
// that the rule's path has them.
func (t *TagTemplate) Params() []string { return t.names(tagParam) }

// SessionFields gives the names of the session fields in the template, for a
// check that the route has a session.
func (t *TagTemplate) SessionFields() []string { return t.names(tagSession) }

func (t *TagTemplate) names(kind tagPartKind) []string {
	var names []string
	for _, p := range t.parts {
		if p.kind == kind {
			names = append(names, p.text)
		}
	}
	return names
}

// AppendTag appends the tag to dst. param and session look up a path parameter
// and a session field; either may be nil. It is false, with dst as it was, when
// a value is missing or empty or the tag would exceed MaxTag: a response whose
// tags are not all known could not be purged by them, so it must not be stored.
func AppendTag(dst []byte, t *TagTemplate, param, session func(name string) ([]byte, bool)) ([]byte, bool) {
	start := len(dst)
	for _, p := range t.parts {
		if p.kind == tagText {
			dst = append(dst, p.text...)
			continue
		}
		lookup := param
		if p.kind == tagSession {
			lookup = session
		}
		if lookup == nil {
			return dst[:start], false
		}
		value, ok := lookup(p.text)
		if !ok || len(value) == 0 {
			return dst[:start], false
		}
		dst = append(dst, value...)
	}
	if len(dst)-start > MaxTag {
		return dst[:start], false
	}
	return dst, true
}
