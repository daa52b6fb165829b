package pillion

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-proxy/pillion/proxy"
	"github.com/pillion-proxy/pillion/queueagent"
	"github.com/pillion-proxy/pillion/redisconn"
	"github.com/pillion-proxy/pillion/rules"
	"github.com/pillion-proxy/pillion/sessioncheck"
)

func TestDefaultsAreValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

// TestValidate covers configurations that a program builds, without a file.
// The files of testdata/check cover the rest.
func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no sources", func(c *Config) { c.Session.Sources = nil },
			"session.sources: is an empty list: name where the session id is, such as [{cookie: session_id}]"},
		{"no user", func(c *Config) { c.Session.User = "" },
			"session.user: is not set: name the session field that identifies the user, such as user_id"},
		{"redis url and cluster", func(c *Config) { c.Redis.URL = "redis://u:hunter2@h:1"; c.Redis.Cluster = []string{"h:2"} },
			`redis.url: "redis://u:***@h:1" is set beside redis.cluster: keep one of the two`},
		{"cluster and sentinel", func(c *Config) {
			c.Redis.Cluster = []string{"h:2"}
			c.Redis.Sentinel = redisconn.Sentinel{Master: "m", Addresses: []string{"h:3"}}
		}, "redis.cluster: is set beside redis.sentinel.master: keep one of the two"},
		{"queue without its defaults", func(c *Config) {
			c.Queues = []queueagent.Config{{Name: "q", List: "q", Webhook: queueagent.Webhook{URL: "http://h/"}}}
		}, `queues[0].pop: is not set: write left or right
queues[0].webhook.timeout: "0s" is not more than zero: write a positive duration, such as 30s
queues[0].concurrency: "0" is out of range: write a whole number from 1 to 10000
queues[0].lease: "0s" is not more than zero: write a positive duration, such as 30s
queues[0].retry.max_attempts: "0" is less than 1: write 1 for no second attempt, or more
queues[0].retry.max_abandons: "0" is less than 1: write how often an agent may die on a task, such as 5
queues[0].retry.min: "0s" is not more than zero: write a positive duration, such as 30s
queues[0].retry.max: "0s" is not more than zero: write a positive duration, such as 30s
queues[0].max_payload: "0B" is out of range: write a size from 1B to 256MiB`},
		{"jitter", func(c *Config) {
			c.Rules = []proxy.Rule{{Name: "a", Match: rules.Match{Path: "/a"}}}
			c.Rules[0].Cache.Jitter = 101
		}, `rules[0].cache.jitter: "101%" is out of range: write a percentage from 0% to 100%`},
		{"optional with require", func(c *Config) {
			c.Rules = []proxy.Rule{{Match: rules.Match{Path: "/a"}}}
			c.Rules[0].Session = sessioncheck.Policy{Mode: sessioncheck.ModeOptional, Require: map[string][]string{"role": {"a"}}}
		}, "rules[0].session.require: is set, but mode is optional: write mode: required, or remove one of the two"},
		{"token", func(c *Config) { c.Admin.Token = "hunter2 " },
			`admin.token: "***" has a space or a character outside ASCII: write letters, digits and signs only`},
		{"token on a wildcard", func(c *Config) { c.Admin.Listen = ":9900" },
			`admin.token: is not set, while other machines can reach admin.listen ":9900": set it, such as by PILLION_ADMIN_TOKEN, or listen on 127.0.0.1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			tt.change(&c)
			if err := c.Validate(); err == nil || err.Error() != tt.want {
				t.Errorf("got:\n%v\nwant:\n%s", err, tt.want)
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	tests := map[string]func(*Config){
		"loopback names": func(c *Config) { c.Admin.Listen = "localhost:9900"; c.Listen = "[::1]:9901" },
		"IPv6 loopback":  func(c *Config) { c.Admin.Listen = "[::1]:9900" },
		"any port twice": func(c *Config) { c.Listen = "127.0.0.1:0"; c.Admin.Listen = "127.0.0.1:0" },
		"open with a token": func(c *Config) {
			c.Admin.Listen, c.Admin.Token = "0.0.0.0:9900", "secret"
		},
		"same port, other address": func(c *Config) { c.Listen = "10.0.0.1:9900" },
		"cluster tag in the key":   func(c *Config) { c.Session.Key = "{app}:session:{id}" },
		"no identity":              func(c *Config) { c.Session.Identity = nil },
		"rediss by address":        func(c *Config) { c.Redis.URL = "rediss://:secret@[fd00::1]:6380/15" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			c := Default()
			change(&c)
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTLSFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, "a")
	_, other := writePair(t, dir, "b")
	tests := []struct {
		name, want string
		tls        redisconn.TLS
	}{
		{"good", "", redisconn.TLS{CA: cert, Cert: cert, Key: key, ServerName: "redis.internal"}},
		{"not a pair", "redis.tls.cert: \"" + cert + `" and redis.tls.key are not a certificate and its private key: name PEM-encoded files that belong together`,
			redisconn.TLS{Cert: cert, Key: other}},
		{"no certificate", "redis.tls.ca: \"" + key + `" is a file without a certificate: name a file of PEM-encoded certificates`, redisconn.TLS{CA: key}},
		{"key alone", "redis.tls.cert: is not set, while redis.tls.key is set: name the file of the private key's certificate", redisconn.TLS{Key: key}},
		{"missing", `redis.tls.key: "/nonexistent" is a file that does not exist: name the PEM-encoded file`, redisconn.TLS{Cert: cert, Key: "/nonexistent"}},
		{"directory", `redis.tls.ca: "/" is a file that cannot be read (is a directory): name a PEM-encoded file that this process may read`, redisconn.TLS{CA: "/"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			c.Redis.URL = "rediss://h:1"
			c.Redis.TLS = tt.tls
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func writePair(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(suffix, kind string, data []byte) string {
		path := filepath.Join(dir, name+suffix)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write(".pem", "CERTIFICATE", cert), write(".key", "EC PRIVATE KEY", der)
}

// FuzzLoad: whatever the file and the environment hold, Load ends in a
// configuration or in mistakes that show no secret.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/check/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "PILLION_REDIS_URL=redis://u:p@h")
	}
	f.Fuzz(func(t *testing.T, data []byte, env string) {
		token := "PILLION_ADMIN_TOKEN=hunter2 \n"
		cfg, err := Load(LoadOptions{File: "c.yaml", Data: data, DotEnv: "off", Env: append(strings.Split(env, "\n"), token)})
		if err == nil || strings.Contains(err.Error(), "hunter2") && !strings.Contains(string(data)+env, "hunter2") {
			t.Errorf("got %+v, %v", cfg.Admin, err)
		}
	})
}
