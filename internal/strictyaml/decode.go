package strictyaml

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

type decoder struct {
	opts  Options
	res   Result
	nodes int
}

// place is where a value goes: its path, and its field's secret tag.
type place struct {
	path   string
	secret string
}

func (p place) key(name string) place {
	return place{path: KeyPath(p.path, name), secret: p.secret}
}

// KeyPath gives the path of the key name within the mapping at path.
func KeyPath(path, name string) string {
	switch {
	case !isPlainKey(name):
		return path + "[" + strconv.Quote(shorten(name)) + "]"
	case path == "":
		return name
	}
	return path + "." + name
}

func (p place) index(i int) place {
	return place{path: fmt.Sprintf("%s[%d]", p.path, i), secret: p.secret}
}

func isPlainKey(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxShown
}

func (d *decoder) add(n *yaml.Node, m Mistake) {
	m.Line, m.Column = n.Line, n.Column
	switch {
	case len(d.res.Mistakes) < maxMistakes:
	case len(d.res.Mistakes) == maxMistakes:
		m = Mistake{Line: m.Line, Column: m.Column, Message: "there are more mistakes", Remedy: "mend those above first"}
	default:
		return
	}
	d.res.Mistakes = append(d.res.Mistakes, m)
}

// resolve follows an alias. The parser refuses an alias of an alias, and the
// types that are decoded into are finite, so an anchor that contains itself ends too.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// value decodes n into v. It reports whether v was set.
func (d *decoder) value(n *yaml.Node, v reflect.Value, at place) bool {
	if d.nodes++; d.nodes >= maxNodes {
		if d.nodes == maxNodes {
			d.add(n, Mistake{Key: at.path, Message: fmt.Sprintf("the document has more than %d values, its aliases followed", maxNodes), Remedy: "use fewer aliases"})
		}
		return false
	}
	d.res.Positions[at.path] = Position{n.Line, n.Column}
	src := resolve(n)
	if src.Style&yaml.TaggedStyle != 0 {
		d.add(n, Mistake{Key: at.path, Message: "has the YAML tag " + shorten(src.Tag), Remedy: "remove the tag"})
		return false
	}
	if src.Kind == yaml.ScalarNode && src.ShortTag() == "!!null" {
		return d.null(n, v, at)
	}
	switch {
	case isText(v.Type()):
		return d.text(n, v, at)
	case v.Kind() == reflect.Struct:
		return d.structure(n, v, at)
	case v.Kind() == reflect.Slice:
		return d.list(n, v, at)
	case v.Kind() == reflect.Map:
		return d.dict(n, v, at)
	}
	d.add(n, Mistake{Key: at.path, Message: "cannot be set in a file", Remedy: "remove the key"})
	return false
}

// null is a key with nothing behind it. A section whose keys are all commented
// out is common and harmless. Deeper down, an empty "methods:" would widen a
// rule without a word, so it is a mistake there.
func (d *decoder) null(n *yaml.Node, v reflect.Value, at place) bool {
	if !isText(v.Type()) && !strings.ContainsAny(at.path, ".[") {
		return false
	}
	what := "key"
	if strings.HasSuffix(at.path, "]") {
		what = "entry"
	}
	d.add(n, Mistake{Key: at.path, Message: "has no value", Remedy: "write " + wanted(v.Type()) + ", or remove the " + what})
	return false
}

func (d *decoder) text(n *yaml.Node, v reflect.Value, at place) bool {
	src := resolve(n)
	if src.Kind != yaml.ScalarNode {
		d.wrongKind(n, v.Type(), at)
		return false
	}
	text, ok := d.expand(n, src.Value, at)
	if !ok {
		return false
	}
	if p := SetText(v, text); p != nil {
		d.add(n, Mistake{Key: at.path, Value: Mask(at.secret, text), Message: p.Message, Remedy: p.Remedy})
		return false
	}
	return true
}

func (d *decoder) wrongKind(n *yaml.Node, t reflect.Type, at place) {
	m := Mistake{Key: at.path, Message: "is a " + kindName(n) + ", not a " + typeName(t), Remedy: "write " + wanted(t)}
	if src := resolve(n); src.Kind == yaml.ScalarNode {
		secret := at.secret
		if holdsSecret(t) {
			secret = "true"
		}
		m.Value = Mask(secret, src.Value)
		if t == reflect.TypeFor[[]string]() {
			m.Remedy = fmt.Sprintf("write a list, such as [%q]", m.Value)
		}
	}
	d.add(n, m)
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, at place) bool {
	src := resolve(n)
	if f, ok := scalarField(v.Type()); ok && src.Kind == yaml.ScalarNode {
		return d.word(n, v, f, at)
	}
	if src.Kind != yaml.MappingNode {
		d.wrongKind(n, v.Type(), at)
		return false
	}
	fields := fieldsOf(v.Type())
	d.pairs(src, at, func(key, value *yaml.Node) {
		for _, f := range fields {
			if f.Name == key.Value {
				sub := at.key(f.Name)
				sub.secret = f.Secret
				if f.One && resolve(value).Kind == yaml.ScalarNode {
					d.one(value, v.FieldByIndex(f.Index), sub)
					return
				}
				d.value(value, v.FieldByIndex(f.Index), sub)
				return
			}
		}
		d.unknown(key, v.Type(), at)
	})
	return true
}

// one reads a single word as a list of one.
func (d *decoder) one(n *yaml.Node, v reflect.Value, at place) {
	list := reflect.MakeSlice(v.Type(), 1, 1)
	if d.value(n, list.Index(0), at) {
		v.Set(list)
	}
}

// word sets the field that a single word stands for. An empty one would look
// like a choice and be none.
func (d *decoder) word(n *yaml.Node, v reflect.Value, f Field, at place) bool {
	field := v.FieldByIndex(f.Index)
	if !d.text(n, field, at) {
		return false
	}
	if field.IsZero() {
		d.add(n, Mistake{Key: at.path, Message: "is empty", Remedy: "write " + wantedMapping(v.Type())})
	}
	return true
}

// pairs calls each with every key that is plain text and new, and its value.
func (d *decoder) pairs(n *yaml.Node, at place, each func(key, value *yaml.Node)) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch first, twice := lines[key.Value]; {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			d.add(key, Mistake{Key: at.key("<<").path, Message: "merge keys are not supported", Remedy: "write the keys out, or use an alias for the whole value"})
		case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0:
			d.add(key, Mistake{Key: at.path, Message: "a key here is not plain text", Remedy: "write \"key: value\""})
		case twice:
			d.add(key, Mistake{Key: at.key(key.Value).path, Message: fmt.Sprintf("is set twice, first in line %d", first), Remedy: "remove one of the two"})
		default:
			lines[key.Value] = key.Line
			each(key, value)
		}
	}
}

func (d *decoder) unknown(key *yaml.Node, t reflect.Type, at place) {
	if len(d.res.Mistakes) > maxMistakes {
		return // it would not be shown, and the search for a near miss takes time
	}
	m := Mistake{Key: at.key(key.Value).path, Message: "unknown key"}
	if meant := meantKey(key.Value, t); meant != "" {
		m.Remedy = fmt.Sprintf("did you mean %q?", meant)
		m.Meant = strings.TrimPrefix(at.path+"."+meant, ".")
	} else {
		m.Remedy = "the keys here are " + strings.Join(keyNames(t), ", ")
	}
	d.add(key, m)
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, at place) bool {
	src := resolve(n)
	if src.Kind != yaml.SequenceNode {
		d.wrongKind(n, v.Type(), at)
		return false
	}
	out := reflect.MakeSlice(v.Type(), 0, min(len(src.Content), 1024))
	for i, c := range src.Content {
		elem := reflect.New(v.Type().Elem()).Elem()
		if d.opts.Default != nil {
			if def := d.opts.Default(elem.Type()); def != nil {
				elem.Set(reflect.ValueOf(def))
			}
		}
		// A bad element is kept, so that the paths of those behind it stay right.
		d.value(c, elem, at.index(i))
		out = reflect.Append(out, elem)
	}
	v.Set(out)
	return true
}

func (d *decoder) dict(n *yaml.Node, v reflect.Value, at place) bool {
	src := resolve(n)
	if src.Kind != yaml.MappingNode {
		d.wrongKind(n, v.Type(), at)
		return false
	}
	out := reflect.MakeMap(v.Type())
	d.pairs(src, at, func(key, value *yaml.Node) {
		name := reflect.New(v.Type().Key()).Elem()
		if p := setKey(name, key.Value); p != nil {
			d.add(key, Mistake{Key: at.key(key.Value).path, Message: p.Message, Remedy: p.Remedy})
			return
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		sub := at.key(key.Value)
		if resolve(value).Kind == yaml.ScalarNode && elem.Kind() == reflect.Slice {
			one := reflect.MakeSlice(elem.Type(), 1, 1)
			if d.value(value, one.Index(0), sub) {
				elem.Set(one)
			}
		} else {
			d.value(value, elem, sub)
		}
		out.SetMapIndex(name, elem)
	})
	v.Set(out)
	return true
}

// setKey sets the key of a mapping whose keys the user chooses. A number has one
// spelling: 404 and 0404 would be one key that is set twice.
func setKey(v reflect.Value, text string) *Problem {
	if !v.CanInt() {
		v.SetString(text)
		return nil
	}
	if p := SetText(v, text); p != nil || text != strconv.FormatInt(v.Int(), 10) {
		return &Problem{"is not a whole number, which a key here must be", "write digits only, such as 404"}
	}
	return nil
}
