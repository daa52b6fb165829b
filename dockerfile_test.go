package pillion

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ignored is a .dockerignore; the last pattern that matches a path, or a folder that it
// is in, decides.
type ignored []ignorePattern

type ignorePattern struct {
	match *regexp.Regexp
	keep  bool // it begins with "!"
}

// parseIgnored takes the patterns that have no classes and no escapes.
func parseIgnored(t *testing.T, text string) (out ignored) {
	t.Helper()
	wildcards := strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.ContainsAny(line, `[\`) {
			t.Fatalf(".dockerignore: this test does not know what %q means", line)
		}
		pattern, keep := strings.CutPrefix(line, "!")
		pattern = path.Clean(strings.TrimPrefix(pattern, "/"))
		re := regexp.MustCompile("^" + wildcards.Replace(regexp.QuoteMeta(pattern)) + "(/.*)?$")
		out = append(out, ignorePattern{re, keep})
	}
	return out
}

func (ig ignored) drops(name string) (drop bool) {
	for _, p := range ig {
		if p.match.MatchString(name) {
			drop = !p.keep
		}
	}
	return drop
}

// buildContext copies what an engine gets of this folder.
func buildContext(t *testing.T, ig ignored) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		slashed := filepath.ToSlash(name)
		switch {
		case err != nil:
			return err
		case name == ".git" || name == "tmp" || name == "bin": // large, or in the hands of others
			return skip(d)
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		case ig.drops(slashed) || !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, name), data, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func skip(d fs.DirEntry) error {
	if d.IsDir() {
		return fs.SkipDir
	}
	return nil
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// runStep is a command of the Dockerfile, with another place for what it makes.
func runStep(t *testing.T, containing, place, instead string) string {
	t.Helper()
	joined := strings.ReplaceAll(readText(t, "Dockerfile"), "\\\n", " ")
	for line := range strings.Lines(joined) {
		step, ok := strings.CutPrefix(line, "RUN ")
		if ok && strings.Contains(step, containing) {
			if !strings.Contains(step, place) {
				t.Fatalf("Dockerfile: %q has no %q", step, place)
			}
			return strings.ReplaceAll(step, place, instead)
		}
	}
	t.Fatalf("Dockerfile: no RUN with %s", containing)
	return ""
}

// TestDockerfileBuilds builds as an engine would, which sees only what .dockerignore
// leaves of the tree.
func TestDockerfileBuilds(t *testing.T) {
	text := readText(t, ".dockerignore")
	for _, tc := range []struct{ more, want string }{
		{"", ""},
		// It fails when something is left out that the program consists of.
		{"rules", "pillion/rules"},
		{"**/*.lua", "no matching files found"},
		{"internal/d*", "pillion/internal/demo"},
		{"go.mod", "go.mod"},
	} {
		t.Run("without "+tc.more, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "pillion")
			cmd := exec.Command("sh", "-c", runStep(t, "go build", "-o /pillion ", `-o "$PROGRAM" `))
			cmd.Dir = buildContext(t, parseIgnored(t, text+"\n"+tc.more))
			cmd.Env = append(os.Environ(), "PROGRAM="+program, "VERSION=v1.2.3", "TARGETOS=", "TARGETARCH=", "GOWORK=off")
			out, err := cmd.CombinedOutput()
			if tc.want != "" {
				if err == nil || !strings.Contains(string(out), tc.want) {
					t.Errorf("%v, want a failure that names %q:\n%s", err, tc.want, out)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if out, err := exec.Command(program, "version").Output(); err != nil || string(out) != "pillion v1.2.3\n" {
				t.Errorf("the program says %q, %v", out, err)
			}
		})
	}
}

// The image has the licence of each module that is in the program.
func TestDockerfileCopiesLicences(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sh", "-c", runStep(t, "licen[cs]e", `"/licenses/`, `"$LICENSES/`))
	cmd.Env = append(os.Environ(), "LICENSES="+dir, "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	list, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/pillion").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range append(strings.Fields(string(list)), "go") {
		found, err := filepath.Glob(filepath.Join(dir, module, "[Ll][Ii][Cc][Ee][Nn][CcSs]*"))
		if err != nil || len(found) == 0 {
			t.Errorf("no licence of %s, %v", module, err)
		}
	}
}

func TestDockerignore(t *testing.T) {
	ig := parseIgnored(t, readText(t, ".dockerignore"))
	for name, want := range map[string]bool{
		".env": true, ".env.local": true, "cmd/pillion/.env": true, "tls.key": true, "cmd/certs/tls.key": true, "tls.pem": true, "cmd/certs/tls.pem": true,
		".git/config": true, "README.md": true, "internal/demo/NOTES.md": true, "run_test.go": true,
		"proxy/testdata/a/b.json": true, "bench/main.go": true,
		"go.mod": false, "go.sum": false, "cmd/pillion/main.go": false, "cache/lua/put.lua": false, "internal/redisproc/redisproc.go": false,
	} {
		if got := ig.drops(name); got != want {
			t.Errorf("%s: ignored %t, want %t", name, got, want)
		}
	}
	ig = parseIgnored(t, "/a*/\n!ab\nx/**/y\n?.c\n")
	for name, want := range map[string]bool{
		"a": true, "abc/d": true, "ab/c": false, "b/a": false, "x/y": true, "x/1/2/y/z": true, "x/1": false, "u.c": true, "uu.c": false,
	} {
		if got := ig.drops(name); got != want {
			t.Errorf("%s: ignored %t, want %t", name, got, want)
		}
	}
}

// The image of the compiler has no other version at hand than its own.
func TestDockerfileHasTheGoOfTheModule(t *testing.T) {
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readText(t, "go.mod"))
	got := regexp.MustCompile(`(?m)^FROM .*\bgolang:(\d+\.\d+) `).FindStringSubmatch(readText(t, "Dockerfile"))
	if want == nil || got == nil || got[1] != want[1] {
		t.Errorf("Dockerfile builds with golang:%q, go.mod says %q", got, want)
	}
}
