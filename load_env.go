package pillion

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/joho/godotenv"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
)

const (
	// environment is the "file" of a mistake in a variable of the environment.
	environment = "environment"
	envPrefix   = "PILLION_"
	redisURL    = "REDIS_URL"
	maxDotEnv   = 64 << 10
)

// variable is one that is set, and where: in the .env file or the environment.
type variable struct{ name, value, file string }

// readVariables collects the .env file and, over it, the environment.
func (l *loader) readVariables() {
	l.vars = l.readDotEnv()
	for _, entry := range l.opts.Env {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" {
			l.vars[name] = variable{name, value, environment}
		}
	}
}

func (l *loader) readDotEnv() map[string]variable {
	vars := map[string]variable{}
	path := l.opts.DotEnv
	if path == "off" || path == "" && l.opts.File == "" {
		return vars
	}
	if path == "" {
		path = ".env"
	}
	data, err := readBounded(path, maxDotEnv)
	if errors.Is(err, fs.ErrNotExist) && l.opts.DotEnv == "" {
		return vars
	}
	if err != nil {
		l.add(Mistake{File: path, Message: "the .env file " + fileTrouble(err), Remedy: "name a file that exists and that this process may read"})
		return vars
	}
	if len(data) > maxDotEnv {
		l.add(Mistake{File: path, Message: fmt.Sprintf("the .env file has more than %d bytes", maxDotEnv), Remedy: "keep only variables in it"})
		return vars
	}
	values, err := godotenv.UnmarshalBytes(data)
	if err != nil { // its text holds the rest of the file, secrets included
		l.add(Mistake{File: path, Line: faultyDotEnvLine(string(data)), Message: "the .env file cannot be understood here", Remedy: "write NAME=value lines, and close each quote"})
		return vars
	}
	for name, value := range values {
		vars[name] = variable{name, value, path}
	}
	return vars
}

// faultyDotEnvLine gives the line behind the longest beginning of the file that
// can be parsed.
func faultyDotEnvLine(text string) int {
	lines := strings.SplitAfter(text, "\n")
	for n := min(len(lines), 1000) - 1; n > 0; n-- {
		if _, err := godotenv.Unmarshal(strings.Join(lines[:n], "")); err == nil {
			return n + 1
		}
	}
	return 1
}

// applyEnv sets every key that a variable names, and refuses the variables that
// name none.
func (l *loader) applyEnv() {
	keys := envKeys()
	given := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		if v, ok := l.variableFor(name); ok {
			l.checkVariable(v, name, keys[name], given)
		}
	}
	err := env.ParseWithOptions(&l.cfg, env.Options{Environment: given, Prefix: envPrefix, FuncMap: envParsers()})
	if err != nil { // checkVariable let a value through that the same parsers refuse here
		l.add(Mistake{File: environment, Message: "the variables cannot be applied", Remedy: "report this as a defect of pillion"})
	}
	l.refuseUnknown(keys)
}

// variableFor gives the variable that sets what name does. REDIS_URL stands in
// for PILLION_REDIS_URL; an empty one is not taken to be meant for pillion.
func (l *loader) variableFor(name string) (variable, bool) {
	v, ok := l.vars[name]
	if !ok && name == envPrefix+redisURL {
		v, ok = l.vars[redisURL]
		ok = ok && v.value != ""
	}
	return v, ok
}

// checkVariable puts the value into given, or records why it cannot be. It sets
// the key itself when the value is empty, which the env package would pass over.
func (l *loader) checkVariable(v variable, name string, key strictyaml.Field, given map[string]string) {
	fail := func(value string, p strictyaml.Problem) {
		l.add(Mistake{File: v.file, Key: v.name, Value: strictyaml.Mask(key.Secret, value), Message: p.Message, Remedy: p.Remedy}, key.Name)
	}
	if v.value == "" {
		if !canBeEmpty(key.Type) {
			fail("", strictyaml.Problem{Message: "is empty", Remedy: "give it a value, or unset it"})
			return
		}
		reflect.ValueOf(&l.cfg).Elem().FieldByIndex(key.Index).SetZero()
		l.fromEnv[key.Name] = v
		return
	}
	text := v.value
	if key.Secret != "" {
		var p *strictyaml.Problem
		if text, p = strictyaml.ReadSecret(text, readSecretFile); p != nil {
			fail("", *p)
			return
		}
	}
	if p := strictyaml.SetText(reflect.New(key.Type).Elem(), text); p != nil {
		fail(text, *p)
		return
	}
	given[name] = text
	l.fromEnv[key.Name] = v
}

func canBeEmpty(t reflect.Type) bool {
	return t.Kind() == reflect.String || t.Kind() == reflect.Slice
}

// envKeys maps the name of each variable to the key that it sets.
func envKeys() map[string]strictyaml.Field {
	out := map[string]strictyaml.Field{}
	for _, f := range strictyaml.Keys(reflect.TypeFor[Config]()) {
		if f.Env != "" {
			out[envPrefix+f.Env] = f
		}
	}
	return out
}

// envParsers makes the env package read values exactly as the YAML decoder does.
func envParsers() map[reflect.Type]env.ParserFunc {
	out := map[reflect.Type]env.ParserFunc{}
	for _, t := range []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[time.Duration](), reflect.TypeFor[[]string](),
	} {
		out[t] = func(text string) (any, error) {
			v := reflect.New(t).Elem()
			if p := strictyaml.SetText(v, text); p != nil {
				return nil, errors.New(p.Message)
			}
			return v.Interface(), nil
		}
	}
	return out
}

// serviceLink matches what Kubernetes sets in every container of a namespace
// that has a service called pillion, or pillion-something.
func serviceLink(name, value string) bool {
	if ok, _ := regexp.MatchString(`^PILLION_(SERVICE_HOST|SERVICE_PORT.*|PORT|PORT_.*)$`, name); ok {
		return true
	}
	ok, _ := regexp.MatchString(`^PILLION_\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`, name)
	return ok || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// refuseUnknown finds the misspelt: a variable that nothing reads would leave
// its key as it was, without a word.
func (l *loader) refuseUnknown(keys map[string]strictyaml.Field) {
	var bare []string // without the prefix, which would count as agreement
	for name := range keys {
		bare = append(bare, strings.TrimPrefix(name, envPrefix))
	}
	slices.Sort(bare)
	for _, name := range slices.Sorted(maps.Keys(l.vars)) {
		_, known := keys[name]
		if known || !strings.HasPrefix(name, envPrefix) || serviceLink(name, l.vars[name].value) ||
			slices.Contains(l.opts.AllowEnv, name) || l.yaml.Variables[name] {
			continue
		}
		m := Mistake{File: l.vars[name].file, Key: name, Message: "unknown variable"}
		if near := strictyaml.Nearest(strings.TrimPrefix(name, envPrefix), bare); near != "" {
			m.Remedy = fmt.Sprintf("did you mean %s%s?", envPrefix, near)
		} else if key := fileOnlyKey(name); key != "" {
			m.Remedy = fmt.Sprintf("set %s in the configuration file", key)
		} else {
			m.Remedy = "unset it, or give it a name that does not begin with " + envPrefix
		}
		l.add(m)
	}
}

// fileOnlyKey gives the key that a variable seems to be meant for and that only
// the file can set, such as rules.
func fileOnlyKey(name string) string {
	for _, f := range strictyaml.Keys(reflect.TypeFor[Config]()) {
		asEnv := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, ".", "_"))
		fileOnly := f.Env == "" && f.Type.Kind() != reflect.Struct
		if fileOnly && (name == asEnv || strings.HasPrefix(name, asEnv+"_")) {
			return f.Name
		}
	}
	return ""
}
