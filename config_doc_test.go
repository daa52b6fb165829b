package pillion

import (
	"encoding"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/internal/strictyaml"
	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

func TestExampleLoads(t *testing.T) {
	cfg, err := Load(LoadOptions{File: "config.yaml", DotEnv: "off"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	cfg.Rules, cfg.Queues = nil, nil
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("config.yaml does not show the defaults: got %+v\nwant %+v", cfg, want)
	}
}

// TestExampleIsComplete switches on the settings that are commented out, and
// expects every key that a configuration can have.
func TestExampleIsComplete(t *testing.T) {
	data, err := os.ReadFile("config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	data = regexp.MustCompile(`(?m)^(\s*)#([^ \n])`).ReplaceAll(data, []byte("$1$2"))
	cfg := Default()
	res := strictyaml.Decode(data, &cfg, strictyaml.Options{})
	for _, m := range res.Mistakes {
		t.Errorf("line %d: %s: %s", m.Line, m.Key, m.Message)
	}
	index := regexp.MustCompile(`\[\d+\]`)
	present := map[string]bool{}
	for path := range res.Positions {
		present[index.ReplaceAllString(path, "[]")] = true
	}
	for _, f := range documentedKeys() {
		if !present[f.Name] {
			t.Errorf("config.yaml does not show %s", f.Name)
		}
	}
}

// documentedKeys are all keys, without those that an entry of upstreams has in common
// with upstream.
func documentedKeys() (out []strictyaml.Field) {
	common := map[string]bool{}
	for _, f := range strictyaml.Keys(reflect.TypeFor[upstream.Config]()) {
		common["upstreams[]."+f.Name] = true
	}
	for _, f := range strictyaml.Keys(reflect.TypeFor[Config]()) {
		if !common[f.Name] {
			out = append(out, f)
		}
	}
	return out
}

// TestReference compares the tables of docs/configuration.md with the structs:
// key, type, default and variable. With -update it rewrites these four. The
// meanings, and which keys there are, are written by hand.
func TestReference(t *testing.T) {
	const file = "docs/configuration.md"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range documentedKeys() {
		if f.Type.Kind() != reflect.Struct {
			want[f.Name] = referenceRow(f)
		}
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		out.WriteString(checkReferenceLine(t, line, want))
	}
	for name := range want {
		t.Errorf("%s has no row for %s", file, name)
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// checkReferenceLine takes the key of a table's row out of want, and gives the
// line as it should be.
func checkReferenceLine(t *testing.T, line string, want map[string]string) string {
	t.Helper()
	cells := strings.Split(line, " | ")
	name, isRow := strings.CutPrefix(cells[0], "| `")
	if !isRow || len(cells) != 5 {
		return line
	}
	name = strings.TrimSuffix(name, "`")
	row, ok := want[name]
	if !ok {
		t.Errorf("row for %s, which is no key or has a row already", name)
		return line
	}
	delete(want, name)
	if got := strings.Join(cells[:4], " | "); got != row && !*update {
		t.Errorf("got row\n%s\nwant\n%s", got, row)
	}
	if meaning := strings.TrimRight(cells[4], " |\n"); meaning == "" {
		t.Errorf("row for %s has no meaning", name)
	}
	return row + " | " + cells[4]
}

func referenceRow(f strictyaml.Field) string {
	name := "—"
	if f.Env != "" {
		name = "`" + envPrefix + f.Env + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s", f.Name, strictyaml.TypeName(f.Type), referenceDefault(f), name)
}

func referenceDefault(f strictyaml.Field) string {
	text := ""
	switch rest, inQueue := strings.CutPrefix(f.Name, "queues[]."); {
	case inQueue:
		q := queueagent.Default()
		for _, k := range strictyaml.Keys(reflect.TypeFor[queueagent.Config]()) {
			if k.Name == rest {
				text = defaultText(reflect.ValueOf(q).FieldByIndex(k.Index))
			}
		}
	case f.Index != nil:
		text = defaultText(reflect.ValueOf(Default()).FieldByIndex(f.Index))
	}
	if text == "" {
		return "—"
	}
	return "`" + text + "`"
}

func defaultText(v reflect.Value) string {
	switch d := v.Interface().(type) {
	case time.Duration:
		return strictyaml.Duration(d)
	case encoding.TextMarshaler:
		text, _ := d.MarshalText()
		return string(text)
	case map[string]string:
		return "{" + strings.ReplaceAll(strings.Trim(fmt.Sprint(d), "map[]"), ":", ": ") + "}"
	case []sessioncheck.Source:
		var out []string
		for _, s := range d {
			if s.Header != "" {
				out = append(out, "{header: "+s.Header+"}")
			} else {
				out = append(out, "{cookie: "+s.Cookie+"}")
			}
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	if (v.Kind() == reflect.Slice || v.Kind() == reflect.Map) && v.Len() == 0 {
		return ""
	}
	return fmt.Sprint(v.Interface())
}
