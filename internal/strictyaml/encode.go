package strictyaml

import (
	"bytes"
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Encode writes v, a struct or a pointer to one, as a document that Decode
// reads back. Lists and mappings that are nil are left out and, within the
// entries of a list, zero values too.
func Encode(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(node(reflect.Indirect(reflect.ValueOf(v)), false)); err != nil {
		return nil, fmt.Errorf("encode YAML: %w", err)
	}
	return out.Bytes(), enc.Close()
}

func node(v reflect.Value, inList bool) *yaml.Node {
	switch {
	case isText(v.Type()):
		return scalarNode(v)
	case v.Kind() == reflect.Struct:
		return structNode(v, inList)
	case v.Kind() == reflect.Map:
		return mapNode(v)
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		n.Content = append(n.Content, node(v.Index(i), true))
	}
	if v.Type().Elem().Kind() != reflect.Struct {
		n.Style = yaml.FlowStyle
	}
	return n
}

func structNode(v reflect.Value, inList bool) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		field := v.FieldByIndex(f.Index)
		absent := field.IsZero() && (inList || field.Kind() == reflect.Slice || field.Kind() == reflect.Map)
		if !absent {
			n.Content = append(n.Content, textNode(f.Name), node(field, inList))
		}
	}
	if f, ok := scalarField(v.Type()); ok && len(n.Content) == 2 && n.Content[0].Value == f.Name {
		return n.Content[1]
	}
	return n
}

func mapNode(v reflect.Value) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int {
		if a.CanInt() {
			return cmp.Compare(a.Int(), b.Int())
		}
		return cmp.Compare(a.String(), b.String())
	})
	for _, k := range keys {
		n.Content = append(n.Content, scalarKey(k), node(v.MapIndex(k), false))
	}
	return n
}

// scalarKey writes a key as it is: a "$" in it means nothing.
func scalarKey(k reflect.Value) *yaml.Node {
	if k.CanInt() {
		return scalarNode(k)
	}
	return textNode(k.String())
}

func scalarNode(v reflect.Value) *yaml.Node {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return &yaml.Node{Kind: yaml.ScalarNode, Value: string(text)}
		}
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return &yaml.Node{Kind: yaml.ScalarNode, Value: Duration(time.Duration(v.Int()))}
	case v.Kind() == reflect.String:
		s := v.String()
		if strings.Contains(s, "${") || strings.Contains(s, "$$") {
			s = strings.ReplaceAll(s, "$", "$$")
		}
		return textNode(s)
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
}

// textNode tags its text, so that the encoder quotes what would read as a
// number, a truth value or null.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if n.ShortTag() == "!!binary" || strings.Contains(s, "\n") {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
	}
	return n
}

// Duration writes a duration without the parts of it that are zero: 168h, not
// 168h0m0s.
func Duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Redact gives a copy of v in which no secret can be read: each that is set is
// "***", and passwords within URLs are masked, whatever their field.
func Redact[T any](v T) T {
	out := reflect.New(reflect.TypeFor[T]()).Elem()
	redact(out, reflect.ValueOf(v), "")
	return out.Interface().(T)
}

func redact(dst, src reflect.Value, secret string) {
	switch {
	case src.Kind() == reflect.String:
		dst.SetString(redactText(secret, src.String()))
	case src.Kind() == reflect.Struct:
		dst.Set(src)
		for _, f := range fieldsOf(src.Type()) {
			redact(dst.FieldByIndex(f.Index), src.FieldByIndex(f.Index), f.Secret)
		}
	case src.Kind() == reflect.Slice && !src.IsNil():
		dst.Set(reflect.MakeSlice(src.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			redact(dst.Index(i), src.Index(i), secret)
		}
	case src.Kind() == reflect.Map && !src.IsNil():
		dst.Set(reflect.MakeMapWithSize(src.Type(), src.Len()))
		for _, k := range src.MapKeys() {
			elem := reflect.New(src.Type().Elem()).Elem()
			redact(elem, src.MapIndex(k), secret)
			dst.SetMapIndex(k, elem)
		}
	default:
		dst.Set(src)
	}
}

func redactText(secret, text string) string {
	if text == "" || secret == "true" {
		return Mask(secret, text)
	}
	return MaskURL(text, secret == "url")
}
