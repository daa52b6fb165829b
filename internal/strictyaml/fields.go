package strictyaml

import (
	"reflect"
	"strings"
)

// Field is one key of a struct.
type Field struct {
	// Name is the key in YAML. In the result of Keys it is the whole path, with
	// [] after a list: rules[].cache.ttl.
	Name string
	// Index leads to the field by reflect's FieldByIndex. In the result of Keys
	// it begins at the root and is nil within a list.
	Index []int
	// Type is the type of the field.
	Type reflect.Type
	// Secret is the field's secret tag: "true", "url" or empty.
	Secret string
	// Scalar says that the field takes the value of its struct when that is
	// written as a single word.
	Scalar bool
	// One says that a list may be written as a single word.
	One bool
	// Env is the name in the environment, without the program's prefix. It is
	// empty where the environment cannot set the field.
	Env string
	// group is the field's prefix for the names of the fields within.
	group string
}

func fieldsOf(t reflect.Type) []Field {
	out := make([]Field, 0, t.NumField())
	for f := range t.Fields() {
		tag, ok := f.Tag.Lookup("yaml")
		name, option, _ := strings.Cut(tag, ",")
		if option == "inline" {
			for _, inner := range fieldsOf(f.Type) {
				inner.Index = append(append([]int(nil), f.Index...), inner.Index...)
				out = append(out, inner)
			}
			continue
		}
		if ok && name != "-" && f.IsExported() {
			out = append(out, Field{
				Name: name, Index: f.Index, Type: f.Type, Secret: f.Tag.Get("secret"),
				Scalar: option == "scalar", One: option == "one", Env: f.Tag.Get("env"), group: f.Tag.Get("envPrefix"),
			})
		}
	}
	return out
}

// Keys lists every key that a document for a struct of type t may have, in the
// order of the fields, the mappings and lists of structs before the keys within them.
func Keys(t reflect.Type) []Field {
	var out []Field
	var walk func(t reflect.Type, outer Field)
	walk = func(t reflect.Type, outer Field) {
		for _, f := range fieldsOf(t) {
			f.Name = strings.TrimPrefix(outer.Name+"."+f.Name, ".")
			f.Index = append(append([]int(nil), outer.Index...), f.Index...)
			if f.Env != "" {
				f.Env = outer.group + f.Env
			}
			f.group = outer.group + f.group
			if strings.Contains(f.Name, "[]") {
				f.Index, f.Env = nil, "" // an entry has no name in the environment
			}
			out = append(out, f)
			switch {
			case isText(f.Type):
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, f)
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				f.Name += "[]"
				walk(f.Type.Elem(), f)
			}
		}
	}
	walk(t, Field{})
	return out
}

// TypeName names the type of a key as the documentation does.
func TypeName(t reflect.Type) string {
	switch {
	case t.Kind() == reflect.Slice && !isText(t):
		if t.Elem().Kind() == reflect.Struct {
			return "list of mappings"
		}
		return "list of text"
	case t.Kind() == reflect.Map:
		if t.Elem().Kind() == reflect.Slice {
			return "text to text or list"
		}
		return TypeName(t.Key()) + " to " + TypeName(t.Elem())
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return typeName(t)
}

func scalarField(t reflect.Type) (Field, bool) {
	if t.Kind() == reflect.Struct {
		for _, f := range fieldsOf(t) {
			if f.Scalar {
				return f, true
			}
		}
	}
	return Field{}, false
}

func keyNames(t reflect.Type) []string {
	var out []string
	for _, f := range fieldsOf(t) {
		out = append(out, f.Name)
	}
	return out
}

// holdsSecret says whether a value of type t holds a secret somewhere, so that
// text in its place may be one.
func holdsSecret(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return holdsSecret(t.Elem())
	case reflect.Struct:
		for _, f := range fieldsOf(t) {
			if f.Secret != "" || holdsSecret(f.Type) {
				return true
			}
		}
	}
	return false
}
