package pillion

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// manifest is what the tests look at of a Kubernetes object.
type manifest struct {
	Kind       string
	Metadata   struct{ Name string }
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		ScaleTargetRef  struct{ Name string } `yaml:"scaleTargetRef"`
		MinReplicaCount int                   `yaml:"minReplicaCount"`
		Triggers        []struct{ Metadata map[string]string }
		Template        struct {
			Spec struct {
				Grace int `yaml:"terminationGracePeriodSeconds"`
			}
		}
	}
}

// kubernetesConfig loads the configuration in the ConfigMap, with a secret for webhooks.
func kubernetesConfig(t *testing.T, secret string) (Config, error) {
	t.Helper()
	data := readManifests(t, "deploy/kubernetes/pillion.yaml")["ConfigMap"].Data["config.yaml"]
	return Load(LoadOptions{File: "config.yaml", Data: []byte(data), DotEnv: "off", Env: []string{
		"REDIS_URL=redis://:p@redis:6379/0", "PILLION_ADMIN_TOKEN=0123456789abcdef0123456789abcdef", "WEBHOOK_SECRET=" + secret,
	}})
}

const goodSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

func readManifests(t *testing.T, path string) map[string]manifest {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]manifest)
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var m manifest
		if err := dec.Decode(&m); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out[m.Kind] = m
	}
}

// The configuration in the ConfigMap works with a Secret that was filled in, is refused
// with the one that is shown, and fits in the pod's time to end.
func TestKubernetesManifest(t *testing.T) {
	objects := readManifests(t, "deploy/kubernetes/pillion.yaml")
	cfg, err := kubernetesConfig(t, goodSecret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubernetesConfig(t, objects["Secret"].StringData["WEBHOOK_SECRET"]); err == nil {
		t.Error("it is accepted with the secret of the manifest")
	}
	const preStop, application, spare = 5 * time.Second, 20 * time.Second, 5 * time.Second
	got := time.Duration(objects["Deployment"].Spec.Template.Spec.Grace) * time.Second
	if want := preStop + application + cfg.Server.ShutdownTimeout + spare; got != want {
		t.Errorf("the pod has %s to end, want %s", got, want)
	}
}

// The autoscaler asks for metrics that there are, of queues that there are.
func TestKubernetesAutoscaler(t *testing.T) {
	objects := readManifests(t, "deploy/kubernetes/pillion.yaml")
	cfg, err := kubernetesConfig(t, goodSecret)
	if err != nil {
		t.Fatal(err)
	}
	var queues, metrics []string
	for _, q := range cfg.Queues {
		queues = append(queues, q.Name)
	}
	for _, m := range metricTexts() {
		metrics = append(metrics, "pillion_"+m[0])
	}
	scaler := readManifests(t, "deploy/kubernetes/keda.yaml")["ScaledObject"].Spec
	if scaler.ScaleTargetRef.Name != objects["Deployment"].Metadata.Name {
		t.Errorf("it scales %q", scaler.ScaleTargetRef.Name)
	}
	if scaler.MinReplicaCount < 1 || len(scaler.Triggers) == 0 {
		t.Errorf("it has %d triggers and leaves %d pods", len(scaler.Triggers), scaler.MinReplicaCount)
	}
	query := regexp.MustCompile(`^max\((\w+)\{queue="([^"]*)"(?:, state="(\w+)")?\}\)$`)
	for _, trigger := range scaler.Triggers {
		q := query.FindStringSubmatch(trigger.Metadata["query"])
		if q == nil {
			t.Errorf("what does %q ask for?", trigger.Metadata["query"])
			continue
		}
		if !slices.Contains(metrics, q[1]) || !slices.Contains(queues, q[2]) {
			t.Errorf("%q: there is no such metric or queue", trigger.Metadata["query"])
		}
		if q[3] != "" && q[3] != "ready" {
			t.Errorf("%q: there is no such state", trigger.Metadata["query"])
		}
	}
}
