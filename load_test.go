package pillion

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy/upstream"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/units"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata/check")

// loadCheckFile loads a file of testdata/check. A file of the same name that
// ends in .vars is its environment.
func loadCheckFile(t *testing.T, path string) (Config, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".vars")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return Load(LoadOptions{
		File: filepath.Base(path), Data: data, DotEnv: "off",
		Env: strings.Split(string(env), "\n"), AllowEnv: []string{"PILLION_CONFIG"},
	})
}

func TestBrokenConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/check/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("found %d broken configurations (%v), want at least 30", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			_, err := loadCheckFile(t, file)
			var config *ConfigError
			if !errors.As(err, &config) {
				t.Fatalf("got error %v, want a *ConfigError", err)
			}
			checkMistakes(t, config)
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			got := config.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// checkMistakes checks what every message must hold.
func checkMistakes(t *testing.T, err *ConfigError) {
	t.Helper()
	for _, m := range err.Mistakes {
		if m.Message == "" || m.Remedy == "" || m.File == "" {
			t.Errorf("mistake without message, remedy or file: %#v", m)
		}
		if text := m.String(); strings.Contains(text, "hunter2") || strings.Contains(text, "\n") {
			t.Errorf("mistake shows a secret, or has more than one line: %s", text)
		}
	}
}

func TestGoodConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/check/good/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d good configurations (%v), want at least 10", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			cfg, err := loadCheckFile(t, file)
			if err != nil {
				t.Fatal(err)
			}
			sameAfterDump(t, cfg)
		})
	}
}

// sameAfterDump checks that a written configuration reads back as it was.
func sameAfterDump(t *testing.T, cfg Config) {
	t.Helper()
	data, err := cfg.YAML()
	if err != nil {
		t.Fatal(err)
	}
	again := loadUnchecked(t, data)
	if !reflect.DeepEqual(cfg, again) {
		t.Errorf("dump changes the configuration:\n%s\ngot  %+v\nwant %+v", data, again, cfg)
	}
}

// loadUnchecked decodes without Validate: a dump writes out the default URL, which
// Validate would take for a second topology.
func loadUnchecked(t *testing.T, data []byte) Config {
	t.Helper()
	l := &loader{opts: LoadOptions{File: "dump.yaml", Data: data, DotEnv: "off"}, cfg: Default(), fromEnv: map[string]variable{}}
	l.readVariables()
	l.readYAML()
	if len(l.mistakes) > 0 {
		t.Fatalf("the dump has mistakes: %v\n%s", l.mistakes, data)
	}
	return l.cfg
}

func TestLoadNothingGivesDefaults(t *testing.T) {
	cfg, err := Load(LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(cfg, Default()) {
		t.Errorf("got %+v, want the defaults", cfg)
	}
}

func TestLayers(t *testing.T) {
	dotEnv := filepath.Join(t.TempDir(), "env")
	text := "PILLION_REDIS_TIMEOUT=300ms\nPILLION_LOG_LEVEL=warn\nexport PILLION_SESSION_KEY='${x}{id}'\n"
	if err := os.WriteFile(dotEnv, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := Load(LoadOptions{
		Data:   []byte("redis: { timeout: 200ms, max_staleness: 2s }\nlog: { level: debug, access: all }\nsession: { sliding: true }"),
		DotEnv: dotEnv,
		Env:    []string{"PILLION_LOG_LEVEL=error", "PILLION_CACHE_MEMORY=32MiB", "PILLION_SESSION_SLIDING=false", "PILLION_SERVER_TRUSTED_PROXIES=10.0.0.0/8, fd00::/8"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Redis.Timeout = 300 * time.Millisecond
	want.Redis.MaxStaleness = 2 * time.Second
	want.Log = LogConfig{Level: "error", Access: "all", Sample: 1}
	want.Cache.Memory = 32 * units.MiB
	want.Session.Sliding = false
	want.Session.Key = "${x}{id}"
	want.Server.TrustedProxies = []string{"10.0.0.0/8", "fd00::/8"}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

func TestEmptyVariableClears(t *testing.T) {
	cfg, err := Load(LoadOptions{
		Data: []byte("redis: { url: \"redis://a:1\", cluster: [\"b:2\"] }\nadmin: { token: x }\nserver: { trusted_proxies: [10.0.0.0/8] }"),
		Env:  []string{"PILLION_REDIS_URL=", "PILLION_ADMIN_TOKEN=", "PILLION_SERVER_TRUSTED_PROXIES=", "REDIS_URL=redis://c:3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Redis.URL != "" || cfg.Admin.Token != "" || cfg.Server.TrustedProxies != nil {
		t.Errorf("got url %q, token %q, proxies %v, want all empty", cfg.Redis.URL, cfg.Admin.Token, cfg.Server.TrustedProxies)
	}
}

func TestRedisURL(t *testing.T) {
	const file = "redis: { url: \"redis://file:1\" }"
	tests := []struct {
		name, want string
		env        []string
	}{
		{"file alone", "redis://file:1", nil},
		{"over the file", "redis://env:2", []string{"REDIS_URL=redis://env:2"}},
		{"empty is not meant", "redis://file:1", []string{"REDIS_URL="}},
		{"the longer name wins", "redis://own:3", []string{"PILLION_REDIS_URL=redis://own:3", "REDIS_URL=redis://env:2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := Load(LoadOptions{Data: []byte(file), Env: tt.env})
			if err != nil || cfg.Redis.URL != tt.want {
				t.Errorf("got %q (%v), want %q", cfg.Redis.URL, err, tt.want)
			}
		})
	}
}

func TestDefaultURLGivesWayToCluster(t *testing.T) {
	data := []byte("redis: { cluster: [\"10.0.0.1:6379\"] }")
	if _, err := Load(LoadOptions{Data: data}); err != nil {
		t.Errorf("cluster alone: %v", err)
	}
	_, err := Load(LoadOptions{Data: data, Env: []string{"REDIS_URL=redis://u:hunter2@h:1"}})
	want := `environment: REDIS_URL: "redis://u:***@h:1" is set beside redis.cluster: keep one of the two`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestSecretsFromFilesAndVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(LoadOptions{
		Data: []byte(`
admin: { token: "file:` + path + `" }
queues: [ { name: q, list: q, webhook: { url: "http://h/", secret: "${SECRET}$$" } } ]
`),
		Env: []string{"SECRET=from-env", "PILLION_REDIS_URL=file:" + path, "PILLION_REDIS_PREFIX=file:x"},
	})
	want := `environment: PILLION_REDIS_URL: "***" has none of the schemes redis, rediss and unix: ` +
		`write redis://user:password@host:6379/0, rediss:// for TLS, or unix:///path/to/socket`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	cfg, err := Load(LoadOptions{
		Data: []byte(`
admin: { token: "file:` + path + `" }
redis: { prefix: "file:x" }
queues: [ { name: q, list: q, webhook: { url: "http://h/", secret: "${SECRET}$$" } } ]
`),
		Env: []string{"SECRET=from-env"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Admin.Token != "from-file" || cfg.Queues[0].Webhook.Secret != "from-env$" || cfg.Redis.Prefix != "file:x" {
		t.Errorf("got token %q, secret %q, prefix %q", cfg.Admin.Token, cfg.Queues[0].Webhook.Secret, cfg.Redis.Prefix)
	}
	if q := queueagent.Default(); cfg.Queues[0].Lease != q.Lease || !reflect.DeepEqual(cfg.Queues[0].Retry, q.Retry) {
		t.Errorf("the queue lost its defaults: %+v", cfg.Queues[0])
	}
}

func TestUnknownVariables(t *testing.T) {
	accepted := []string{
		"PILLION_SERVICE_HOST=10.0.0.1", "PILLION_SERVICE_PORT=80", "PILLION_SERVICE_PORT_ADMIN=9900", "PILLION_PORT=tcp://10.0.0.1:80",
		"PILLION_PORT_80_TCP_ADDR=10.0.0.1", "PILLION_ADMIN_SERVICE_HOST=10.0.0.2", "PILLION_ADMIN_PORT=tcp://10.0.0.2:9900",
		"PILLION_ADMIN_PORT_9900_TCP=tcp://10.0.0.2:9900", "PILLION_MINE=1", "PILLION_SECRET_OF_MINE=x", "OTHER=1",
	}
	data := []byte("admin: { token: \"${PILLION_SECRET_OF_MINE}\" }")
	if _, err := Load(LoadOptions{Data: data, Env: accepted, AllowEnv: []string{"PILLION_MINE"}}); err != nil {
		t.Errorf("got %v, want no mistake", err)
	}
	refused := []string{"PILLION_LISTN=:1", "PILLION_ADMIN_PORT=9900", "PILLION_listen=:1", "PILLION_=1", "PILLION_QUEUES_0_NAME=x"}
	for _, entry := range refused {
		_, err := Load(LoadOptions{Env: []string{entry}})
		name, value, _ := strings.Cut(entry, "=")
		if err == nil || !strings.Contains(err.Error(), "environment: "+name+": unknown variable: ") || strings.Contains(err.Error(), value+" ") {
			t.Errorf("%s: got %v", entry, err)
		}
	}
}

func TestDotEnvMistakes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, ".env")
	tests := []struct{ name, text, want string }{
		{"unknown", "PILLION_LISTN=:1\n", ": PILLION_LISTN: unknown variable: did you mean PILLION_LISTEN?"},
		{"malformed", "PILLION_REDIS_TIMEOUT=soon\n", `: PILLION_REDIS_TIMEOUT: "soon" is not a duration: write a number with a unit, such as 30s, 5m or 1h`},
		{"syntax", "A=1\nB='x\ny'\n-hunter2-\nC=2\n", ":4: the .env file cannot be understood here: write NAME=value lines, and close each quote"},
		{"quote", "A=1\nB=\"hunter2\n", ":2: the .env file cannot be understood here: write NAME=value lines, and close each quote"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(LoadOptions{DotEnv: path}); err == nil || err.Error() != path+tt.want {
				t.Errorf("got  %v\nwant %s", err, path+tt.want)
			}
		})
	}
	missing := filepath.Join(dir, "missing")
	if _, err := Load(LoadOptions{DotEnv: missing}); err == nil || !strings.HasPrefix(err.Error(), missing+": the .env file does not exist: ") {
		t.Errorf("missing: got %v", err)
	}
}

func TestDotEnvInWorkingDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{".env": "PILLION_LISTEN=:7000\n", "c.yaml": "log: { level: warn }\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for dotEnv, want := range map[string]string{"": ":7000", "off": ":8080"} {
		cfg, err := Load(LoadOptions{File: "c.yaml", DotEnv: dotEnv})
		if err != nil || cfg.Listen != want || cfg.Log.Level != "warn" {
			t.Errorf("DotEnv %q: got listen %q, level %q (%v), want %q, warn", dotEnv, cfg.Listen, cfg.Log.Level, err, want)
		}
	}
	if err := os.Remove(".env"); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(LoadOptions{File: "c.yaml"}); err != nil {
		t.Errorf("without .env: %v", err)
	}
}

func TestLoadMissingFile(t *testing.T) {
	_, err := Load(LoadOptions{File: "missing.yaml", Env: []string{"PILLION_LISTN=:1"}})
	want := "missing.yaml: the configuration file does not exist: name a file that exists and that this process may read\n" +
		"environment: PILLION_LISTN: unknown variable: did you mean PILLION_LISTEN?"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestMistakesOfAllLayersTogether(t *testing.T) {
	dotEnv := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(dotEnv, []byte("PILLION_LOG_LEVEL=loud\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(LoadOptions{
		File: "c.yaml", Data: []byte("cache:\n  memory: 1KiB\n  max_ttl: soon\n"),
		DotEnv: dotEnv, Env: []string{"PILLION_LISTEN=8080"},
	})
	var config *ConfigError
	if !errors.As(err, &config) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, m := range config.Mistakes {
		got = append(got, filepath.Base(m.File)+" "+m.Key)
	}
	want := []string{"c.yaml cache.memory", "c.yaml cache.max_ttl", "env PILLION_LOG_LEVEL", "environment PILLION_LISTEN"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestUpstreamEntries: what an entry starts from, and that the environment of the main
// one leaves it alone.
func TestUpstreamEntries(t *testing.T) {
	cfg, err := Load(LoadOptions{
		Data:   []byte("upstreams:\n  - {name: reports, url: \"http://a\", timeouts: {idle: 5m}}\n"),
		DotEnv: "off", Env: []string{"PILLION_UPSTREAM_TIMEOUT_CONNECT=7s", "PILLION_UPSTREAM_URL=http://b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := upstream.DefaultNamed()
	want.Name, want.URL, want.Timeouts.Idle = "reports", "http://a", 5*time.Minute
	if len(cfg.Upstreams) != 1 || cfg.Upstreams[0] != want {
		t.Errorf("got %+v, want %+v", cfg.Upstreams, want)
	}
}
