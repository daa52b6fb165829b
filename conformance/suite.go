package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The copies of the suite.
const (
	copyRepository = "repository"
	copyNPM        = "npm"

	suiteURL      = "https://github.com/http-tests/cache-tests"
	npmVersion    = "0.4.5"
	undiciVersion = "7.4.0" // the repository's tests of interim responses use it
)

func copies() []string { return []string{copyRepository, copyNPM} }

//go:embed driver.mjs origin.mjs
var files embed.FS

// suiteCopy is a copy of the suite that can be run.
type suiteCopy struct {
	name   string // copyRepository or copyNPM
	title  string // for readers: which tests these are
	dir    string
	server string // the suite's origin
}

// install puts the suite's package and what the suite needs into the user's cache
// folder, once, and the scripts of this program, with a copy of the user's checkout,
// into work. It gives the copies of the suite that the options choose.
func (r *runner) install(ctx context.Context) ([]suiteCopy, error) {
	for _, tool := range []string{"node", "npm", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not on PATH: install it (the suite needs Node.js 20 or later)", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	modules := filepath.Join(cache, "pillion", "conformance-"+npmVersion+"-"+undiciVersion)
	if err := npmInstall(ctx, modules); err != nil {
		return nil, err
	}
	if err := os.CopyFS(r.work, files); err != nil {
		return nil, err
	}
	// node finds undici in the folders above the file that imports it.
	if err := os.Symlink(filepath.Join(modules, "node_modules"), filepath.Join(r.work, "node_modules")); err != nil {
		return nil, err
	}
	return r.choose(ctx, filepath.Join(modules, "node_modules", "http-cache-tests"))
}

// choose gives the copies to run, that of the repository first.
func (r *runner) choose(ctx context.Context, npmDir string) ([]suiteCopy, error) {
	var chosen []suiteCopy
	if r.suiteDir != "" && r.suite != copyNPM {
		dir := filepath.Join(r.work, "suite")
		if err := copyCheckout(dir, r.suiteDir); err != nil {
			return nil, err
		}
		chosen = append(chosen, suiteCopy{
			name: copyRepository, title: "the repository, " + commitOf(ctx, r.suiteDir),
			dir: dir, server: filepath.Join(dir, "test-engine", "server", "server.mjs"),
		})
	}
	if r.suite != copyRepository {
		chosen = append(chosen, suiteCopy{
			name: copyNPM, title: "the package on npm, " + npmVersion,
			dir: npmDir, server: filepath.Join(npmDir, "server", "server.mjs"),
		})
	}
	return chosen, nil
}

// copyCheckout copies what a run needs of the user's checkout, so that the packages
// which the suite imports need not be installed there.
func copyCheckout(to, from string) error {
	for _, folder := range []string{"test-engine", "tests"} {
		source := filepath.Join(from, folder)
		if info, err := os.Stat(source); err != nil || !info.IsDir() {
			return fmt.Errorf("-suite-dir %s has no folder %s: give a checkout of %s", from, folder, suiteURL)
		}
		if err := os.CopyFS(filepath.Join(to, folder), os.DirFS(source)); err != nil {
			return fmt.Errorf("-suite-dir %s: %w", from, err)
		}
	}
	return nil
}

// commitOf names the commit of a checkout: "b55b8bd of 2026-07-20". A folder that git
// does not know, or that was changed, says so: its results are then not the suite's.
func commitOf(ctx context.Context, dir string) string {
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		return "of an unknown commit"
	}
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("log", "-1", "--abbrev=7", "--format=%h of %cs")
	if err != nil {
		return "of an unknown commit"
	}
	if changed, err := git("status", "--porcelain", "--", "tests", "test-engine"); err != nil || changed != "" {
		return commit + ", with changes"
	}
	return commit
}

// npmInstall fills dir. It installs beside it and renames, so that a run that was
// broken off leaves no half of an installation to be taken for a whole one.
func npmInstall(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), "installing-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half)
	if err := os.WriteFile(filepath.Join(half, "package.json"), []byte(`{"private": true}`), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact",
		"http-cache-tests@"+npmVersion, "undici@"+undiciVersion)
	cmd.Dir = half
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("npm install of http-cache-tests %s: %w:\n%s", npmVersion, err, out.Bytes())
	}
	if err := os.Rename(half, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
