package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const module = "module github.com/pillion-proxy/pillion\n"

// FindRoot gives the folder of pillion's own module: the one given, or the nearest
// above the working directory.
func FindRoot(given string) (string, error) {
	dir, err := filepath.Abs(given)
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), module) {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("--root %s: neither it nor a folder above has the go.mod of pillion: name a checkout of pillion", given)
		}
		dir = up
	}
}

// BuildPillion builds the program as a release is built.
func BuildPillion(ctx context.Context, root, dir string) (string, error) {
	path := filepath.Join(dir, "pillion")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-pgo=cmd/pillion/release.pgo", "-ldflags", "-s -w -X main.version="+describe(ctx, root), "-o", path, "./cmd/pillion")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pillion: %w\n%s", err, out)
	}
	return path, nil
}

// describe names the version as the Makefile does.
func describe(ctx context.Context, root string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return "dev"
	}
	return strings.TrimSpace(string(out))
}

// PillionSpec says how to run pillion.
type PillionSpec struct {
	Path     string // the program
	Dir      string // where its configuration is written
	Config   string // text
	Redis    string // host:port
	Upstream string // URL; empty for none
	Cores    []int
	Env      []string
}

// Prepare writes the configuration and says how to start pillion on free addresses.
func (s PillionSpec) Prepare() (spec Spec, addr, admin string, err error) {
	if addr, err = FreeAddr(); err != nil {
		return spec, "", "", err
	}
	if admin, err = FreeAddr(); err != nil {
		return spec, "", "", err
	}
	config := filepath.Join(s.Dir, "pillion.yaml")
	if err := os.WriteFile(config, []byte(s.Config), 0o600); err != nil {
		return spec, "", "", err
	}
	env := append([]string{"PILLION_LISTEN=" + addr, "PILLION_ADMIN_LISTEN=" + admin, "REDIS_URL=redis://" + s.Redis}, s.Env...)
	if s.Upstream != "" {
		env = append(env, "PILLION_UPSTREAM_URL="+s.Upstream)
	}
	return Spec{Name: "pillion", Path: s.Path, Dir: s.Dir, Cores: s.Cores, Args: []string{"run", "--config", config}, Env: env}, addr, admin, nil
}

// StartPillion runs pillion and waits until it is ready.
func StartPillion(ctx context.Context, s PillionSpec) (*Process, error) {
	spec, _, admin, err := s.Prepare()
	if err != nil {
		return nil, err
	}
	p, err := Start(spec)
	if err != nil {
		return nil, err
	}
	if err := p.WaitHTTP(ctx, "http://"+admin+"/readyz"); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// PillionVersion asks the program for its version.
func PillionVersion(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "pillion "), nil
}
