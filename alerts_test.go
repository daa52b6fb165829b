package pillion

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alertRules is a file of alerting rules, and alertCases one of their tests.
type alertRules struct {
	Groups []struct {
		Rules []struct{ Alert, Expr string }
	}
}

type alertCases struct {
	Tests []struct {
		InputSeries []struct{ Series string }    `yaml:"input_series"`
		Cases       []struct{ Alertname string } `yaml:"alert_rule_test"`
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readText(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// Alerting rules ask for metrics, labels and values of labels that there are: one that asks
// for others never fires, and nothing says so. promtool knows the rest.
func TestAlertsAskForWhatThereIs(t *testing.T) {
	var rules alertRules
	readYAML(t, "deploy/prometheus/alerts.yaml", &rules)
	var cases alertCases
	readYAML(t, "deploy/prometheus/alerts_test.yaml", &cases)
	var tested, asked []string
	for _, c := range cases.Tests {
		for _, s := range c.InputSeries {
			asked = append(asked, s.Series)
		}
		for _, a := range c.Cases {
			tested = append(tested, a.Alertname)
		}
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			asked = append(asked, r.Expr)
			if !slices.Contains(tested, r.Alert) {
				t.Errorf("alerts_test.yaml has no case of %s", r.Alert)
			}
		}
	}
	if len(tested) < 10 {
		t.Fatalf("there are %d alerts", len(tested))
	}
	page, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range asked {
		for _, problem := range metricProblems(text, string(page)) {
			t.Errorf("%s: %s", text, problem)
		}
	}
}

// metricProblems says which of the metrics in an expression do not exist, by code and by
// documentation.
func metricProblems(expr, page string) (out []string) {
	labels := make(map[string][]string)
	for _, m := range metricTexts() {
		labels["pillion_"+m[0]] = append(m[2:], "job", "instance")
	}
	matcher := regexp.MustCompile(`(\w+)(=~?)"([^"]*)"`)
	for _, m := range regexp.MustCompile(`(pillion_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(expr, -1) {
		known, ok := labels[m[1]]
		if !ok {
			out = append(out, "there is no metric "+m[1])
			continue
		}
		_, row, _ := strings.Cut(page, "| `"+m[1]+"` |")
		row, _, _ = strings.Cut(row, "\n")
		for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(known, l[1]) {
				out = append(out, m[1]+" has no label "+l[1])
			}
			free := slices.Contains([]string{"job", "instance", "queue", "upstream"}, l[1])
			if !free && l[2] == "=" && !strings.Contains(row, "`"+l[3]+"`") {
				out = append(out, m[1]+" is never "+l[1]+"="+l[3])
			}
		}
	}
	return out
}

func TestMetricProblems(t *testing.T) {
	page := "| `pillion_queue_tasks` | `queue`, `state` | `ready` |\n"
	for expr, want := range map[string]int{
		`pillion_queue_tasks{state="ready"}`: 0, `pillion_queue_tasks{queue="x", job="y"}`: 0, `a > pillion_queue_task`: 1,
		`pillion_queue_tasks{state="redy"}`: 1, `pillion_queue_tasks{stat="ready"}`: 1, `pillion_queue_tasks{class="x"} + pillion_x`: 3,
	} {
		if got := metricProblems(expr, page); len(got) != want {
			t.Errorf("%s: %q, want %d", expr, got, want)
		}
	}
}
