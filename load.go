package pillion

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
)

// LoadOptions says where the configuration comes from. The zero value gives the
// defaults.
type LoadOptions struct {
	// File is the path of the YAML file. When empty, there is none.
	File string
	// Data is the content of the YAML file, in place of reading File, which then
	// only names it in messages.
	Data []byte
	// Env holds the environment as "NAME=value", such as os.Environ gives. Load
	// looks at no other.
	Env []string
	// DotEnv is the path of a .env file, which must exist. When empty, Load reads
	// .env in the working directory if File is set and there is one. "off" reads none.
	DotEnv string
	// AllowEnv names variables that begin with PILLION_ and that Load must not
	// refuse, because the program itself reads them.
	AllowEnv []string
}

// Load builds a configuration: the defaults, then the YAML file, then the .env
// file, then the environment, each over the ones before. It checks the result
// as Validate does. The error is a *ConfigError with every mistake of all of them.
func Load(opts LoadOptions) (Config, error) {
	l := &loader{opts: opts, cfg: Default(), fromEnv: map[string]variable{}}
	l.readVariables()
	l.readYAML()
	l.applyEnv()
	l.sessionDefaults()
	if !l.yaml.Unreadable {
		l.validate()
	}
	err := newConfigError(l.fileName(), l.mistakes)
	if err == nil {
		return l.cfg, nil
	}
	if mistakes := (*ConfigError)(nil); errors.As(err, &mistakes) && !l.suspect("admin.listen") {
		mistakes.AdminListen = l.cfg.Admin.Listen
	}
	return Config{}, err
}

// loader holds one call of Load.
type loader struct {
	opts LoadOptions
	cfg  Config
	// vars holds what is set in the .env file and in the environment.
	vars map[string]variable
	// fromEnv maps the path of each key that a variable set to that variable.
	fromEnv  map[string]variable
	yaml     strictyaml.Result
	mistakes []Mistake
	// bad holds the keys that have a mistake already. What Validate finds there
	// only follows from it.
	bad []string
}

func (l *loader) fileName() string {
	if l.opts.File == "" && l.opts.Data != nil {
		return "configuration"
	}
	return l.opts.File
}

func (l *loader) add(m Mistake, badKeys ...string) {
	l.mistakes = append(l.mistakes, m)
	for _, k := range badKeys {
		if k != "" {
			l.bad = append(l.bad, k)
		}
	}
}

func (l *loader) readYAML() {
	data := l.opts.Data
	if data == nil {
		if l.opts.File == "" {
			return
		}
		var err error
		if data, err = readBounded(l.opts.File, strictyaml.MaxBytes); err != nil {
			l.yaml.Unreadable = true
			l.add(Mistake{File: l.opts.File, Message: "the configuration file " + fileTrouble(err), Remedy: "name a file that exists and that this process may read"})
			return
		}
	}
	l.yaml = strictyaml.Decode(data, &l.cfg, strictyaml.Options{
		Default: elementDefault,
		Lookup: func(name string) (string, bool) {
			v, ok := l.vars[name]
			return v.value, ok
		},
		ReadFile: readSecretFile,
	})
	for _, m := range l.yaml.Mistakes {
		l.add(Mistake{
			File: l.fileName(), Line: m.Line, Column: m.Column,
			Key: m.Key, Value: m.Value, Message: m.Message, Remedy: m.Remedy,
		}, m.Key, m.Meant)
	}
}

// elementDefault gives what an entry of a list in the file starts from.
func elementDefault(t reflect.Type) any {
	if t == reflect.TypeFor[queueagent.Config]() {
		return queueagent.Default()
	}
	if t == reflect.TypeFor[upstream.Named]() {
		return upstream.DefaultNamed()
	}
	return nil
}

// validate adds what is wrong with the values, at the places they came from.
func (l *loader) validate() {
	v := newValidator(&l.cfg)
	v.isSet = l.isSet
	v.suspect = l.suspect
	v.run()
	for _, m := range v.mistakes {
		if !l.suspect(m.Key) {
			l.mistakes = append(l.mistakes, l.locate(m))
		}
	}
}

// suspect says whether the key, one around it or one within it has a mistake already.
func (l *loader) suspect(key string) bool {
	for _, b := range l.bad {
		if within(b, key) || within(key, b) {
			return true
		}
	}
	return false
}

// within says whether key is outer or lies within it.
func within(key, outer string) bool {
	if len(key) <= len(outer) {
		return key == outer
	}
	return key[:len(outer)] == outer && (key[len(outer)] == '.' || key[len(outer)] == '[')
}

// locate fills in where the value at m.Key came from.
func (l *loader) locate(m Mistake) Mistake {
	if from, ok := l.fromEnv[m.Key]; ok {
		m.File, m.Key = from.file, from.name
		return m
	}
	m.File = l.fileName()
	for key := m.Key; key != ""; key = strictyaml.Parent(key) {
		if p, ok := l.yaml.Positions[key]; ok {
			m.Line, m.Column = p.Line, p.Column
			break
		}
	}
	return m
}

// readBounded reads a file of at most limit bytes, and one byte more of a
// larger one, so that its reader sees that it is.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

func readSecretFile(path string) ([]byte, error) {
	return readBounded(path, strictyaml.MaxSecret)
}

func fileTrouble(err error) string {
	var pathError *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.As(err, &pathError):
		return fmt.Sprintf("cannot be read (%s)", pathError.Err)
	}
	return fmt.Sprintf("cannot be read (%s)", err)
}
