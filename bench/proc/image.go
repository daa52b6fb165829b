package proc

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ImageSize is the size of the image that the Dockerfile below root describes, with this
// program in it: of the files that its last stage copies, as one layer, and of that layer
// compressed, as registries keep it. No engine is needed: the licences are collected as the
// Dockerfile says, and what else is in it are files of the system, which are read on this machine.
func ImageSize(root, program string) (plain, packed int64, err error) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return 0, 0, err
	}
	files, err := lastStage(string(text))
	if err != nil {
		return 0, 0, fmt.Errorf("the Dockerfile: %w", err)
	}
	dir, err := os.MkdirTemp("", "licenses")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(dir)
	if files, err = built(files, root, string(text), program, dir); err != nil {
		return 0, 0, fmt.Errorf("the size of the image: %w", err)
	}
	var raw, compressed counter
	zip := gzip.NewWriter(&compressed)
	layer := tar.NewWriter(io.MultiWriter(&raw, zip))
	dirs := map[string]bool{}
	for _, f := range files {
		if err := f.add(layer, dirs); err != nil {
			return 0, 0, fmt.Errorf("the size of the image: %w", err)
		}
	}
	if err := layer.Close(); err != nil {
		return 0, 0, err
	}
	if err := zip.Close(); err != nil {
		return 0, 0, err
	}
	return raw.n, compressed.n, nil
}

// What the first stage of the Dockerfile makes.
const (
	builtProgram  = "/pillion"
	builtLicences = "/licenses"
)

// built names, in the place of what the first stage makes, the program and the licences,
// which it puts into a folder.
func built(files []copied, root, dockerfile, program, dir string) (out []copied, err error) {
	for _, f := range files {
		switch f.from {
		case builtProgram:
			out = append(out, copied{program, f.to})
		case builtLicences:
			if err := collectLicences(root, dockerfile, dir); err != nil {
				return nil, err
			}
			err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					out = append(out, copied{name, f.to + strings.TrimPrefix(name, dir)})
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		default:
			out = append(out, f)
		}
	}
	return out, nil
}

// collectLicences runs the command of the Dockerfile that does it.
func collectLicences(root, dockerfile, dir string) error {
	const place = `"` + builtLicences + `/`
	for line := range strings.Lines(strings.ReplaceAll(dockerfile, "\\\n", " ")) {
		step, ok := strings.CutPrefix(line, "RUN ")
		if !ok || !strings.Contains(step, place) {
			continue
		}
		cmd := exec.Command("sh", "-c", strings.ReplaceAll(step, place, `"$LICENSES/`))
		cmd.Dir, cmd.Env = root, append(os.Environ(), "LICENSES="+dir, "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("collecting the licences: %w: %s", err, out)
		}
		return nil
	}
	return fmt.Errorf("no RUN of the Dockerfile makes %s", builtLicences)
}

// copied is a COPY of one file.
type copied struct{ from, to string }

// lastStage gives the files that the last stage adds to nothing.
func lastStage(dockerfile string) (files []copied, err error) {
	base := ""
	for line := range strings.Lines(dockerfile) {
		words := append(strings.Fields(line), "")
		switch adds := slices.Contains([]string{"COPY", "ADD", "RUN"}, words[0]); {
		case words[0] == "FROM":
			base, files = words[len(words)-2], nil
		case base != "scratch" || !adds:
		case len(words) == 5 && words[0] == "COPY" && words[1] == "--from=build":
			files = append(files, copied{words[2], words[3]})
		default:
			return nil, fmt.Errorf("%q adds to the image what is not counted", strings.TrimSpace(line))
		}
	}
	if base != "scratch" || len(files) == 0 {
		return nil, errors.New("its last stage is not FROM scratch with files of the stage build")
	}
	return files, nil
}

// add writes the file, after the folders that it is the first in.
func (c copied) add(layer *tar.Writer, dirs map[string]bool) error {
	for i, r := range c.to {
		dir := strings.TrimPrefix(c.to[:i], "/")
		if r != '/' || dir == "" || dirs[dir] {
			continue
		}
		dirs[dir] = true
		if err := layer.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	f, err := os.Open(c.from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = layer.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(strings.TrimPrefix(c.to, "/")), Mode: 0o755, Size: info.Size()})
	if err != nil {
		return err
	}
	_, err = io.Copy(layer, f)
	return err
}

// counter counts what is written to it.
type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
