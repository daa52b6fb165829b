// Package strictyaml decodes one YAML document into a Go struct and reports
// every mistake in it at once, each with its line, column, key and remedy.
//
// Fields are named by `yaml:"name"` tags. A field tagged `yaml:"name,scalar"`
// also takes the value when a single word stands in the place of its struct's
// mapping, and a list tagged `yaml:"name,one"` takes a single word. A struct tagged `yaml:",inline"` has its fields in place of itself. A field
// tagged `secret:"true"` never has its value shown, and one
// tagged `secret:"url"` has the password within it masked; both may be written
// as file:/path, which is replaced with the content of that file.
//
// Nothing here reads the environment or keeps state: variables and files come
// through Options. A call is safe beside any other call.
package strictyaml

import (
	"fmt"
	"io"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// MaxBytes bounds the size of a document.
	MaxBytes = 1 << 20
	// maxNodes bounds the values that are decoded, so that aliases of aliases
	// cannot multiply a small document into an endless one.
	maxNodes = 250_000
	// maxMistakes bounds the report.
	maxMistakes = 100
)

// Mistake is one thing that is wrong in a document.
type Mistake struct {
	// Line and Column count from 1; 0 is unknown.
	Line, Column int
	// Key is the path of the key, such as rules[2].cache.ttl, or empty.
	Key string
	// Meant is the path that an unknown key was probably meant to be, or empty.
	Meant string
	// Value is the text that was found, with secrets masked. It is empty when
	// there is none to show.
	Value string
	// Message says what is wrong, Remedy what to write instead.
	Message, Remedy string
}

// Position is a place in a document. Both count from 1.
type Position struct{ Line, Column int }

// Options are what a document may refer to. The zero value refers to nothing.
type Options struct {
	// Default gives the value that an element of a list of structs starts from,
	// of the type t, or nil for the zero value.
	Default func(t reflect.Type) any
	// Lookup gives the value of a variable for ${NAME}. Without it, none is set.
	Lookup func(name string) (string, bool)
	// ReadFile reads a file for file:/path. Without it, none can be read.
	ReadFile func(path string) ([]byte, error)
}

// Result is what Decode found beside the values themselves.
type Result struct {
	// Positions holds the place of the value of each key path that was present.
	Positions map[string]Position
	// Variables holds each name that a ${NAME} referred to.
	Variables map[string]bool
	// Mistakes is in the order of the document, as far as it was read.
	Mistakes []Mistake
	// Unreadable says that the document is not YAML, or not a mapping, so that
	// nothing was decoded.
	Unreadable bool
}

// At gives the place of the value at path or, when the path is absent, of the
// nearest mapping or list around it. The zero Position is an empty document.
func (r Result) At(path string) Position {
	for path != "" {
		if p, ok := r.Positions[path]; ok {
			return p
		}
		path = Parent(path)
	}
	return r.Positions[""]
}

// Parent gives the path of the mapping or list that holds path.
func Parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if strings.HasSuffix(path, `"]`) { // a quoted map key may hold dots and brackets
		i = strings.LastIndex(path, `["`)
	}
	return path[:max(i, 0)]
}

// Decode reads the document in data into the struct that into points to. Keys
// that are absent, and values that are mistakes, leave the struct as it was; a
// list or mapping that is present replaces what was there.
func Decode(data []byte, into any, opts Options) Result {
	d := &decoder{opts: opts, res: Result{Positions: map[string]Position{}, Variables: map[string]bool{}}}
	root := d.parse(data)
	if root == nil {
		return d.res
	}
	if resolve(root).Kind != yaml.MappingNode {
		d.add(root, Mistake{Message: "the document is a " + kindName(root) + ", not a mapping", Remedy: "write it as \"key: value\" lines"})
		d.res.Unreadable = true
		return d.res
	}
	d.value(root, reflect.ValueOf(into).Elem(), place{})
	return d.res
}

// parse gives the root of the only document, or nil when there is none to
// decode.
func (d *decoder) parse(data []byte) *yaml.Node {
	if len(data) > MaxBytes {
		d.fatal(Mistake{Message: fmt.Sprintf("the document has more than %d bytes", MaxBytes), Remedy: "split off what is not configuration"})
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err == io.EOF {
		return nil
	} else if err != nil {
		d.fatal(syntaxMistake(data, err))
		return nil
	}
	if err := dec.Decode(&second); err == nil {
		d.fatal(Mistake{
			Line: second.Line, Column: second.Column,
			Message: "a second document begins here", Remedy: "keep one document in the file, and remove the --- line",
		})
		return nil
	} else if err != io.EOF {
		d.fatal(syntaxMistake(data, err))
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil
	}
	return root
}

// fatal records a mistake that leaves nothing to decode.
func (d *decoder) fatal(m Mistake) {
	d.res.Unreadable = true
	d.res.Mistakes = append(d.res.Mistakes, m)
}
