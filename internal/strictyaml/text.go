package strictyaml

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Problem says what is wrong with a value, and what to write instead.
type Problem struct{ Message, Remedy string }

// SetText sets v from its text form: a string, bool, integer, time.Duration,
// encoding.TextUnmarshaler, or a []string with commas between its elements. It
// leaves v alone when it returns a problem.
func SetText(v reflect.Value, text string) *Problem {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return setUnmarshaler(u, text)
	}
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return setDuration(v, text)
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		return setBool(v, text)
	case v.CanInt():
		return setInt(v, text)
	case v.Type() == reflect.TypeFor[[]string]():
		v.Set(reflect.ValueOf(splitList(text)))
	default:
		return &Problem{"cannot be set from text", "remove it"}
	}
	return nil
}

func splitList(text string) []string {
	var out []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// setUnmarshaler takes the message and the remedy from an error of the form
// `"value" is not a …: write …`.
func setUnmarshaler(u encoding.TextUnmarshaler, text string) *Problem {
	err := u.UnmarshalText([]byte(text))
	if err == nil {
		return nil
	}
	msg := strings.TrimPrefix(err.Error(), strconv.Quote(text)+" ")
	what, remedy, ok := strings.Cut(msg, ": ")
	if !ok {
		remedy = "write another value"
	}
	return &Problem{what, remedy}
}

func setDuration(v reflect.Value, text string) *Problem {
	t, err := time.ParseDuration(text)
	if err != nil {
		p := &Problem{"is not a duration", "write a number with a unit, such as 30s, 5m or 1h"}
		if strings.HasSuffix(text, "d") || strings.Contains(text, "day") {
			p.Remedy += " (a day is 24h)"
		}
		return p
	}
	v.SetInt(int64(t))
	return nil
}

func setBool(v reflect.Value, text string) *Problem {
	switch text {
	case "true", "True", "TRUE":
		v.SetBool(true)
	case "false", "False", "FALSE":
		v.SetBool(false)
	default:
		return &Problem{"is not a truth value", "write true or false"}
	}
	return nil
}

func setInt(v reflect.Value, text string) *Problem {
	n, err := strconv.ParseInt(text, 10, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		return &Problem{"is too large a number", "write a smaller whole number"}
	}
	if err != nil {
		return &Problem{"is not a whole number", "write digits only, such as 16"}
	}
	v.SetInt(n)
	return nil
}

// isText says whether values of type t are written as a single value.
func isText(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return true
	}
	return false
}

// typeName names a type as a user would.
func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		if t.Name() == "Percent" {
			return "percentage"
		}
		return strings.ToLower(t.Name())
	}
	switch t.Kind() {
	case reflect.String:
		return "single value"
	case reflect.Bool:
		return "truth value"
	case reflect.Slice:
		return "list"
	case reflect.Map, reflect.Struct:
		return "mapping"
	}
	return "whole number"
}

// wanted says what to write for a value of type t.
func wanted(t reflect.Type) string {
	switch name := typeName(t); {
	case name == "duration":
		return "a number with a unit, such as 30s, 5m or 1h"
	case name == "truth value":
		return "true or false"
	case name == "whole number":
		return "a whole number, such as 16"
	case name == "size":
		return "a size, such as 64MiB"
	case name == "percentage":
		return "a percentage, such as 10%"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return `a list, each entry beginning with "- "`
	case t.Kind() == reflect.Slice:
		return "a list, such as [a, b]"
	case t.Kind() == reflect.Map && t.Key().Kind() != reflect.String:
		return "a mapping, such as {404: 30s}"
	case t.Kind() == reflect.Map:
		return "a mapping, such as {name: value}"
	case t.Kind() == reflect.Struct:
		return wantedMapping(t)
	default:
		return "one value"
	}
}

func wantedMapping(t reflect.Type) string {
	names := keyNames(t)
	if f, ok := scalarField(t); ok {
		return fmt.Sprintf("a single word for %s, or a mapping with the keys %s", f.Name, strings.Join(names, ", "))
	}
	return "a mapping with the keys " + strings.Join(names, ", ")
}

func kindName(n *yaml.Node) string {
	switch resolve(n).Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	}
	return "single value"
}
