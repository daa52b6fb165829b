package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a report with a test of every sort.
func sample() *report {
	return &report{from: copyRepository, title: "the repository, abc of 2026", Suites: []suite{
		{ID: "a", Name: "A", Tests: []test{
			{ID: "a-pass", Name: "passes", Kind: kindRequired, Verdict: "pass"},
			{ID: "a-fail", Name: "is <b> | c", Kind: kindRequired, Verdict: "fail", Reason: "Assertion: Response 2 comes from cache"},
			{ID: "a-setup", Name: "s", Kind: kindRequired, Verdict: "setup_fail", Reason: "Setup: no"},
			{ID: "a-dep", Name: "d", Kind: kindOptimal, Verdict: "dependency_fail"},
			{ID: "a-yes", Name: "y", Kind: kindCheck, Verdict: "yes"},
			{ID: "a-no", Name: "n", Kind: kindCheck, Verdict: "no", Reason: "Assertion: x"},
		}},
		{ID: "t", Name: "T", Targeted: true, Tests: []test{
			{ID: "t-pass", Kind: kindRequired, Verdict: "pass"},
			{ID: "t-opt", Kind: kindOptimal, Verdict: "optional_fail", Reason: "Assertion: y"},
		}},
	}}
}

func TestCountKeepsKindsAndTargetedFieldsApart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		chosen func(suite) bool
		kind   string
		want   string
	}{
		{"required", anySuite, kindRequired, "2/4"},
		{"required core", coreSuite, kindRequired, "1/3"},
		{"required targeted", targetedSuite, kindRequired, "1/1"},
		{"a failed dependency has not passed", anySuite, kindOptimal, "0/2"},
		{"checks", anySuite, kindCheck, "1/2"},
		{"none", targetedSuite, kindCheck, "–"},
	} {
		if got := sample().count(tt.chosen, tt.kind).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestFailedKeepsTheSuitesOrder(t *testing.T) {
	var ids []string
	for _, f := range sample().failed(kindRequired) {
		ids = append(ids, f.ID)
	}
	if got := strings.Join(ids, " "); got != "a-fail a-setup" {
		t.Errorf("failed: %s", got)
	}
}

func TestValidRefusesWhatItCannotCount(t *testing.T) {
	if err := sample().valid(); err != nil {
		t.Errorf("sample: %v", err)
	}
	for name, bad := range map[string]*report{
		"empty":   {},
		"kind":    {Suites: []suite{{Tests: []test{{ID: "x", Kind: "vital", Verdict: "pass"}}}}},
		"verdict": {Suites: []suite{{Tests: []test{{ID: "x", Kind: kindCheck}}}}},
	} {
		if bad.valid() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEnoughNamesWhatIsMissing(t *testing.T) {
	if err := enough([]*report{sample()}, minimum{copyRepository: 2, copyNPM: 99}, nil); err != nil {
		t.Errorf("2 required: %v", err)
	}
	err := enough([]*report{sample()}, minimum{copyRepository: 3}, minimum{copyRepository: 1})
	if err == nil || !strings.Contains(err.Error(), "2 of 4 required") || !strings.Contains(err.Error(), "0 of 2 optimal") {
		t.Errorf("3 required, 1 optimal: %v", err)
	}
}

func TestMinimumIsForEveryCopyOrForEach(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"150", "repository=150,npm=150"},
		{"npm=146,repository=160", "repository=160,npm=146"},
		{"npm=146", "npm=146"},
		{"100,npm=90", "repository=100,npm=90"},
		{"", "error"}, {"x", "error"}, {"-1", "error"}, {"npm=", "error"}, {"pypi=3", "error"},
	} {
		m := minimum{}
		got := "error"
		if err := m.Set(tt.text); err == nil {
			got = m.String()
		}
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestDeviationsMustNameFailingTests(t *testing.T) {
	for _, tt := range []struct {
		id   string
		fine bool
	}{{"a-fail", true}, {"a-dep", true}, {"a-pass", false}, {"a-unknown", false}} {
		if err := (deviations{tt.id: "why"}).check([]*report{sample()}); (err == nil) != tt.fine {
			t.Errorf("%s: %v", tt.id, err)
		}
	}
}

// project makes a root that holds one file of conformance/.
func project(t *testing.T, name, text string) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, "conformance", name), text)
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReadDeviations(t *testing.T) {
	for text, want := range map[string]int{"# none\n{}\n": 0, "": 0, "a-fail: Because.\n": 1} {
		if d, err := readDeviations(project(t, "deviations.yaml", text)); err != nil || len(d) != want {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	if _, err := readDeviations(t.TempDir()); err == nil || !strings.Contains(err.Error(), "-root") {
		t.Errorf("absent: %v", err)
	}
	if d, err := readDeviations(".."); err != nil {
		t.Errorf("the project's own: %v, %v", d, err)
	}
}

func TestReadPublished(t *testing.T) {
	p, err := readPublished("..")
	if err != nil {
		t.Fatalf("the project's own: %v", err)
	}
	if want := (scores{150, 98, 10, 7}); p.Tests != want || p.Commit == "" || p.Date == "" || p.Source != suiteURL {
		t.Errorf("the project's own: %+v", p)
	}
	for _, other := range p.Peers {
		if other.Name == "" || other.Version == "" || other.Required == 0 {
			t.Errorf("an entry of peers.yaml is incomplete: %+v", other)
		}
	}
	for text, want := range map[string]string{
		"tests: {required: 5}\npeers: [{name: x, required: 6}]": "x passes 6 of 5",
		"peers: [{nom: x}]": "nom",
	} {
		if _, err := readPublished(project(t, "peers.yaml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// others is a table of one other cache.
func others() published {
	return published{
		Commit: "abc", Date: "2026-01-02", Tests: scores{150, 98, 10, 7},
		Peers: []peer{{Name: "other", Version: "1.2", scores: scores{99, 59, 0, 3}}},
	}
}

func TestMarkdownShowsTotalsFailuresAndReasons(t *testing.T) {
	npm := sample()
	npm.from, npm.title = copyNPM, "the package on npm, 1"
	p := page{reports: []*report{sample(), npm}, why: deviations{"a-fail": "On purpose."}, others: others(), version: "v9"}
	text := string(p.markdown())
	for _, want := range []string{
		"| **pillion** v9 | 1/3 | 0/1 | 1/1 | 0/1 |",
		"| other 1.2 | 99/150 | 59/98 | 0/10 | 3/7 |",
		"as of commit abc of 2026-01-02",
		"| `a-fail` | is &lt;b> \\| c | Assertion: Response 2 comes from cache | On purpose. |",
		"| `a-setup` | s | setup_fail; Setup: no |  |",
		"passes, but a test that it depends on fails",
		"`Surrogate-Control` required",
		"was of the repository, abc of 2026, and the package on npm, 1.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, text)
		}
	}
	if n := strings.Count(text, "| other "); n != 1 {
		t.Errorf("the other cache is named %d times, want 1: its results are of the repository's tests", n)
	}
}

func TestMarkdownOfOneCopySaysSo(t *testing.T) {
	npm := sample()
	npm.from, npm.title = copyNPM, "the package on npm, 1"
	text := string(page{reports: []*report{npm}, others: others(), version: "v9"}.markdown())
	if !strings.Contains(text, "was of the package on npm, 1, alone.") {
		t.Error("the page does not say that one copy ran alone")
	}
	if strings.Contains(text, "| other ") {
		t.Error("results of the repository's tests are set beside those of the package")
	}
}

func TestPublishWritesThePageAlsoWhenTooFewPass(t *testing.T) {
	root := t.TempDir()
	r := &runner{options: options{root: root, doc: "page.md", minRequired: minimum{copyRepository: 4}}, stdout: io.Discard}
	// One copy alone does not make a deviation wrong.
	p := page{reports: []*report{sample()}, why: deviations{"a-pass": "x"}, version: "v9"}
	if err := r.publish(p); err == nil || strings.Contains(err.Error(), "deviations") {
		t.Errorf("one copy: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(root, "page.md")); err != nil || !bytes.Contains(data, []byte("v9")) {
		t.Errorf("the page: %v:\n%s", err, data)
	}
	p.reports = append(p.reports, sample())
	if err := r.publish(p); err == nil || !strings.Contains(err.Error(), "a-pass passes") {
		t.Errorf("both copies: %v", err)
	}
}

func TestChooseCopiesTheCheckout(t *testing.T) {
	checkout := t.TempDir()
	write(t, filepath.Join(checkout, "tests", "index.mjs"), "tests")
	for _, tt := range []struct{ suite, dir, want string }{
		{"all", "", "npm"},
		{"all", checkout, "repository npm"},
		{copyRepository, checkout, "repository"},
		{copyNPM, checkout, "npm"},
	} {
		write(t, filepath.Join(checkout, "test-engine", "a.mjs"), "engine")
		r := &runner{options: options{suite: tt.suite, suiteDir: tt.dir}, work: t.TempDir()}
		chosen, err := r.choose(t.Context(), "npm-dir")
		if err != nil {
			t.Fatalf("%s, %q: %v", tt.suite, tt.dir, err)
		}
		var names []string
		for _, c := range chosen {
			names = append(names, c.name)
			if c.name != copyRepository {
				continue
			}
			if data, err := os.ReadFile(filepath.Join(c.dir, "tests", "index.mjs")); err != nil || string(data) != "tests" {
				t.Errorf("%s: the copy has %q, %v", tt.suite, data, err)
			}
			if c.title != "the repository, of an unknown commit" {
				t.Errorf("title %q", c.title)
			}
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s, %q: %s, want %s", tt.suite, tt.dir, got, tt.want)
		}
	}
	r := &runner{options: options{suite: "all", suiteDir: t.TempDir()}, work: t.TempDir()}
	if _, err := r.choose(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "test-engine") {
		t.Errorf("a folder that is no checkout: %v", err)
	}
}

func TestVersionOf(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pillion")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho pillion v1.2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if v, err := versionOf(t.Context(), program); err != nil || v != "v1.2" {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := versionOf(t.Context(), program+"-absent"); err == nil || !strings.Contains(err.Error(), "-pillion") {
		t.Errorf("absent: %v", err)
	}
}

func TestPrintReport(t *testing.T) {
	var b bytes.Buffer
	printReport(&b, sample(), deviations{"a-fail": "On purpose."})
	for _, want := range []string{"2 required tests did not pass", "2 optimal tests did not pass", "on purpose: On purpose."} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, &b)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args string
		fine bool
	}{
		{"", true}, {"-suite npm -min-required 3", true}, {"-suite neither", false},
		{"-suite repository", false}, {"-suite repository -suite-dir d -min-optimal npm=1", true}, {"extra", false}, {"-min-required x", false},
	} {
		if _, err := parse(strings.Fields(tt.args), io.Discard); (err == nil) != tt.fine {
			t.Errorf("%q: %v", tt.args, err)
		}
	}
}

func TestAnnouncedFindsTheURLInPieces(t *testing.T) {
	var rest bytes.Buffer
	a := &announced{found: make(chan string, 1), rest: &rest}
	for _, piece := range []string{"Listening on ht", "tp://127.0.0.1:5/\nfirst", " second\n"} {
		if n, err := a.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatalf("write %q: %d, %v", piece, n, err)
		}
	}
	if url := <-a.found; url != "http://127.0.0.1:5" {
		t.Errorf("url %q", url)
	}
	if rest.String() != "first second\n" {
		t.Errorf("rest %q", rest.String())
	}
}

func TestStopEndsAProcessAndReportsOneThatEndedBefore(t *testing.T) {
	p, err := begin("cat", exec.Command("cat"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.stop(); err != nil {
		t.Errorf("a running process: %v", err)
	}
	p, err = begin("sh", exec.Command("sh", "-c", "echo broken >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.exited
	if err := p.stop(); err == nil || !strings.Contains(err.Error(), "broken") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("a process that ended early: %v", err)
	}
}

func TestTailIsBounded(t *testing.T) {
	l := new(tail)
	for range 100 {
		_, _ = l.Write(bytes.Repeat([]byte("x"), 4096))
	}
	_, _ = l.Write([]byte("end"))
	if s := l.String(); len(s) > 64<<10 || !strings.HasSuffix(s, "end") {
		t.Errorf("%d bytes are kept", len(s))
	}
}

func TestComplaintsAreTheLastLinesThatAreNotNews(t *testing.T) {
	bad := "{\"level\":\"warn\"}\n"
	log := "{\"level\":\"info\"}\n{\"level\":\"error\"}\n" + strings.Repeat(bad, 19) + "{\"level\":\"debug\"}\n"
	if got, want := complaints(log), "{\"level\":\"error\"}\n"+strings.Repeat(bad, 19); got != want {
		t.Errorf("got %s", got)
	}
	if got := complaints(log + bad); got != strings.Repeat(bad, 20) {
		t.Errorf("not the last 20: %s", got)
	}
	if got := complaints("{\"level\":\"info\"}\n{\"level\":\"warn\",\"message\":\"request\"}\n"); got != "" {
		t.Errorf("news: %s", got)
	}
}
