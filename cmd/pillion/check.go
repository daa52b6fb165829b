package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pillion-proxy/pillion"
)

func (p *program) checkCommand() *cobra.Command {
	var file string
	var show bool
	cmd := &cobra.Command{
		Use:   "check [FILE or FOLDER …]",
		Short: "Check configurations and list every mistake in them; exit 0 when there is none",
		Long: "Check a configuration, or several: of a folder, every .yaml and .yml file in it.\n" +
			"Exit 0 when none has a mistake; else each is listed with file, line, column, key, value and remedy.",
	}
	p.configFlag(cmd, &file)
	cmd.Flags().BoolVar(&show, "print", false, "print the configuration in effect, secrets left out")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if file != "" || len(args) == 0 {
			args = append([]string{file}, args...)
		}
		return p.checkAll(args, show)
	}
	return cmd
}

// checkAll checks every file, and every configuration in every folder.
func (p *program) checkAll(paths []string, show bool) error {
	bad := false
	for _, path := range paths {
		files, err := configurations(path)
		if err != nil {
			return err
		}
		for _, file := range files {
			err := p.check(file, show)
			if exit := (exitError{}); err != nil && !errors.As(err, &exit) {
				return err
			}
			bad = bad || err != nil
		}
	}
	if bad {
		return exitError{1}
	}
	return nil
}

// configurations gives the files that a path stands for.
func configurations(path string) ([]string, error) {
	st, err := os.Stat(path)
	if path == "" || err != nil || !st.IsDir() {
		return []string{path}, nil // what is wrong with it, check says
	}
	var files []string
	for _, pattern := range []string{"*.yaml", "*.yml"} {
		found, err := filepath.Glob(filepath.Join(path, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no .yaml or .yml file: name a configuration, or a folder of them", path)
	}
	slices.Sort(files)
	return files, nil
}

func (p *program) check(file string, show bool) error {
	cfg, name, err := p.load(file)
	var mistakes *pillion.ConfigError
	if errors.As(err, &mistakes) {
		for _, m := range mistakes.Mistakes {
			fmt.Fprintln(p.stderr, m.String())
		}
		return exitError{1}
	}
	if err != nil {
		return err
	}
	if show {
		text, err := cfg.Redacted().YAML()
		if err != nil {
			return err
		}
		_, err = p.stdout.Write(text)
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s: ok, %d rules, %d queues\n", name, len(cfg.Rules), len(cfg.Queues))
	return err
}

func (p *program) versionCommand() *cobra.Command {
	cmd := plain(&cobra.Command{Use: "version", Short: "Print the version"})
	cmd.RunE = func(*cobra.Command, []string) error {
		_, err := fmt.Fprintln(p.stdout, "pillion", version)
		return err
	}
	return cmd
}
