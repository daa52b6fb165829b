package tasks

import (
	goflag "flag"
	"io/fs"
	"os"
	"strings"
	"testing"
)

var update = goflag.Bool("update", false, "copy the heads of the scripts into the documentation")

// docPage shows the heads of the scripts.
const docPage = "../../docs/queues.md"

// scriptsDoc gives, for each script, the comment that it begins with.
func scriptsDoc(t *testing.T) string {
	t.Helper()
	files, err := fs.Glob(scriptFiles, "scripts/*.lua")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var b strings.Builder
	for _, file := range files {
		text, err := scriptFiles.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("### " + strings.TrimPrefix(file, "scripts/") + "\n\n```text\n")
		for line := range strings.Lines(string(text)) {
			comment, ok := strings.CutPrefix(line, "--")
			if !ok {
				break
			}
			b.WriteString(strings.TrimPrefix(comment, " "))
		}
		b.WriteString("```\n\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// What the documentation says of the scripts' keys, arguments and replies is what they say.
// `go test ./queueagent/tasks -run Documented -update` copies it.
func TestScriptsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(docPage)
	if err != nil {
		t.Fatal(err)
	}
	const last = "a test compares them.\n\n"
	before, got, ok := strings.Cut(string(page), last)
	if !ok {
		t.Fatalf("%s has no section Scripts", docPage)
	}
	want := scriptsDoc(t)
	if *update {
		if err := os.WriteFile(docPage, []byte(before+last+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s has other texts than the scripts: run go test ./queueagent/tasks -run Documented -update", docPage)
	}
}
